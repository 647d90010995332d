"""`lineament export`: a trained run becomes one ONNX file with its card inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineament.errors import MissingExtraError


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or its model.safetensors.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="ONNX file to write (X.onnx); X.card.json is written beside it."),
    ],
    name: Annotated[str | None, typer.Option("--name", help="Name shown in records; by default the run's own.")] = None,
) -> None:
    """Export a training run to one ONNX file with its card inside; refuses if the file answers differently from the
    network."""
    try:
        from lineament.export.onnx_export import export
    except ImportError as error:
        raise MissingExtraError(str(error.name), "train") from error
    card = export(run, out, name=name)
    typer.echo(
        f"{out} ({out.stat().st_size / 1e6:.1f} MB, {len(card.attributes)} attributes, SHA-256 {card.file_sha256})",
        err=True,
    )
