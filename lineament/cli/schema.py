"""`lineament schema`: the JSON Schema of a record."""

from __future__ import annotations

import typer


def command() -> None:
    """Print the JSON Schema of a record (one line of JSONL)."""
    from importlib.resources import files

    typer.echo(files("lineament").joinpath("record.schema.json").read_bytes(), nl=False)
