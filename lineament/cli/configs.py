"""`lineament configs`: what can be named with --config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lineament.cli import options


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print this one's file, to copy and change.")
    ] = None,
    json_file: options.JsonFile = None,
) -> None:
    """List the training configurations inside the package: name, network, layout of its data, what it costs, what was
    measured."""
    from rich.table import Table

    from lineament.cli.output import show, write_json
    from lineament.config import find_config, list_configs
    from lineament.errors import MissingExtraError

    if name is not None:
        typer.echo(find_config(name).read_text("utf-8"), nl=False)
        return
    try:
        rows = [_row(known, path) for known, path in list_configs().items()]
    except MissingExtraError as error:
        typer.echo(f"lineament: Names only. {error}", err=True)
        rows = [{"name": known, "file": str(path)} for known, path in list_configs().items()]
    if json_file is not None:
        write_json(rows, json_file)
        return
    table = Table(box=None, pad_edge=False)
    columns = {"name": "name", "network": "network", "trunk": "backbone", "data": "layout", "cost": "cost"}
    shown = [column for column, key in columns.items() if key in rows[0]]
    for column in shown:
        table.add_column(column, no_wrap=column == "name")
    for row in rows:
        table.add_row(*(str(row[columns[column]]) for column in shown))
    show(table, [], to_stderr=False, quiet=False)


def _row(name: str, path: Path) -> dict[str, Any]:
    from lineament.config import read_mapping

    record = read_mapping(path)
    model, data, claim = (record.get(section, {}) for section in ("model", "data", "claim"))
    return {
        "name": name, "file": str(path), "network": model.get("name",
        "region network" if "scale" in record else "baseline"),
        "backbone": model.get("backbone", "-"), "layout": data.get("layout", "-"), "source": claim.get("source", ""),
        "cost": claim.get("cost", ""), "expected": claim.get("expected", ""), "command": claim.get("command", ""),
    }  # fmt: skip
