"""`lineament index`: a folder of photos into a searchable file, doing only the work that changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineament.cli import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, options

if TYPE_CHECKING:
    from lineament.search.build import IndexSummary


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of photos, searched to any depth.")],
    db: Annotated[Path, typer.Option("--db", metavar="FILE", help="The index, a DuckDB file; made if it is not there.")],
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    with_: options.With = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare bytes, not only size and time, to find what changed.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try photos again that gave no answer.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Allow forgetting every photo, when the folder holds none of them any more.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Start over if the index was made with another model.")] = False,
    max_failed: Annotated[str, typer.Option("--max-failed", metavar="N|P%", help="More failed photos than this: exit status 3.")] = "0",
    quiet: options.Quiet = False,
) -> None:
    """Build a searchable index of the faces in a folder, or bring one up to date.

    Photos that did not change are skipped, changed and deleted ones are noticed; an interrupted run loses nothing and is continued by the
    same command. The index holds the probabilities of all attributes, boxes, keypoints and file hashes. It holds no picture and nothing
    that could tell who a person is, so an own attribute (--with) is answered from the photos, which --rebuild reads again. Exit status: 0 done,
    2 wrong usage, 3 more photos failed than --max-failed, 130 interrupted.
    """
    from lineament.api import load
    from lineament.runs.run import parse_max_failed
    from lineament.search.build import build_index

    too_many = parse_max_failed(max_failed)
    loaded = load(model, runtime=runtime, precision=precision, threads=threads, profile="all", with_=with_ or ())
    try:
        with _progress(quiet) as seen:
            summary = build_index(
                folder, db, loaded, verify=verify, retry_failed=retry_failed, prune=prune, rebuild=rebuild, threads=threads, progress=seen
            )
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was answered is kept; the same command goes on from there.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not quiet:
        for line in summary_lines(summary):
            typer.echo(line, err=True)
    if too_many(summary.failed, summary.added + summary.changed + summary.unchanged):
        raise typer.Exit(EXIT_FAILED_INPUTS)


def summary_lines(summary: IndexSummary) -> list[str]:
    """Return what a run did, in words."""
    from lineament.visual.contact_sheet import visible

    lines = [
        f"{summary.added} added, {summary.changed} changed, {summary.unchanged} unchanged, {summary.removed} removed; "
        f"{summary.known} of them known by their bytes. {summary.faces} faces, {summary.failed} photos without an answer."
    ]
    return lines + [f"Could not list {visible(name)}: its photos are kept as they were." for name in summary.unreadable_folders]


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what is told of progress: a bar on stderr where someone looks at it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("photos", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
