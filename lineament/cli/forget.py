"""`lineament forget`: photos out of an index, so that nothing of them is left in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineament.cli import EXIT_FAILED_INPUTS, options


def command(
    db: Annotated[Path, typer.Argument(metavar="DB", help="An index made by `lineament index`.")],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|FOLDER...", help="Photos, or folders with all below; they need not exist any more."
        ),
    ],
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Take photos out of an index: its file is written anew without their names, hashes and probabilities, and replaces
    the old one at once.

    The photos themselves are not touched: delete them too, or the next `lineament index` of their folder takes them in
    again. Exit status: 0 done, 2 wrong usage or the index is in use, 3 one of the names is not in the index (the others
    are forgotten).
    """
    from lineament.search.erase import forget
    from lineament.visual.contact_sheet import visible

    done = forget(db, names, threads=threads)
    if not quiet:
        typer.echo(
            f"{done.photos} photos with {done.faces} faces forgotten; nothing of them is left in {db}.", err=True
        )
    for name in done.unknown:
        typer.echo(f"Not in the index: {visible(name)}", err=True)
    if done.unknown:
        raise typer.Exit(EXIT_FAILED_INPUTS)
