"""`lineament models`: what can be named with --model."""

from __future__ import annotations

from typing import Any

import typer

from lineament.cli import options
from lineament.errors import ModelFileError


def command(json_file: options.JsonFile = None) -> None:
    """List the models that can be named with --model: where each came from, file, size, architecture, measured
    accuracy, licence in short.

    Accuracy is of labels as given on CelebA's official validation images (people left out of the fit): stored crops,
    faces detected, and detected at half size with a cut frame. Speed is faces per second of the network, as a multiple
    of `default`'s in the same run: the card says where.
    """
    from rich.table import Table

    from lineament.cli.output import show, write_json
    from lineament.runtime.registry import list_models

    rows = []
    for entry in list_models():
        try:
            rows.append(_row(entry))
        except ModelFileError as error:  # a stranger's file in a folder of LINEAMENT_MODELS
            typer.echo(f"Not listed: {error}", err=True)
    if json_file is not None:
        write_json(rows, json_file)
        return
    if not rows:
        typer.echo("No model is shipped in this installation. Give --model the path of an ONNX file.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for column in (
        "name",
        "id",
        "precision",
        "MB",
        "accuracy",
        "detected",
        "half size",
        "speed",
        "architecture",
        "from",
        "licence",
    ):
        number = column in ("MB", "accuracy", "detected", "half size", "speed")
        table.add_column(column, justify="right" if number else "left", no_wrap=column in ("name", "id"))
    for row in rows:
        views, speed = row["views"], row["speed"].get("onnx", {}).get("times_default")
        texts = [
            row["name"],
            row["id"],
            row["precision"],
            f"{row['bytes'] / 1e6:.1f}",
            _percent(views.get("stored", row["mean_accuracy"])),
            _percent(views.get("detect")),
            _percent(views.get("half")),
            "-" if speed is None else f"{speed:.1f} x",
            row["architecture"],
            row["origin"],
            short_licence(row["licence"]),
        ]
        table.add_row(*texts)
    show(table, [], to_stderr=False, quiet=False)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def short_licence(sentence: str) -> str:
    """Return what a licence comes down to; the whole sentence is in `--json` and in the card.

    >>> short_licence("for research only; CelebA is non-commercial research data")
    'research only'
    """
    return sentence.partition(";")[0].removeprefix("for ").strip()


def _row(entry: Any) -> dict[str, Any]:
    from lineament.runtime.network import model_id
    from lineament.runtime.onnx_file import read_card

    card = read_card(entry.path)
    measured = (card.document.get("metrics") or {}).get("official_val", {})
    return {
        "name": entry.name, "id": model_id(card), "precision": entry.precision, "bytes": entry.path.stat().st_size,
        "file": str(entry.path), "origin": entry.origin, "sha256": card.file_sha256,
        "architecture": card.document["architecture"], "licence": card.document["licence"],
        "attributes": len(card.attributes), "mean_accuracy": measured.get("mean_accuracy"),
        "views": card.document.get("views") or {}, "speed": card.document.get("speed") or {},
        "intended_use": card.document["intended_use"],
    }  # fmt: skip
