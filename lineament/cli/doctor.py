"""`lineament doctor`: is this installation sound?"""

from __future__ import annotations

from typing import Annotated

import typer

from lineament.cli import options


def command(
    model: options.Model = "default",
    json_file: options.JsonFile = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is wrong.")] = False,
) -> None:
    """Check versions, providers, weights and answers of this installation. Exit status 3 where something is wrong."""
    from dataclasses import asdict

    from lineament.cli import EXIT_FAILED_INPUTS
    from lineament.cli.output import write_json
    from lineament.doctor import examine

    marks = {True: "ok", False: "WRONG", None: "-"}
    to_stderr = json_file is not None and str(json_file) == "-"
    checks = []
    for check in examine(model):
        checks.append(check)
        if not quiet or check.ok is False:
            typer.echo(f"{marks[check.ok]:<6}{check.name:<22}{check.detail}", err=to_stderr)
    if json_file is not None:
        write_json([asdict(check) for check in checks], json_file)
    if any(check.ok is False for check in checks):
        raise typer.Exit(EXIT_FAILED_INPUTS)
