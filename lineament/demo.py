"""The demonstration: the bundled portrait and a sample of many faces made from it, analysed, drawn and written out.

    python -m lineament.demo --out demo

Source: `astronaut.jpg` is NASA's portrait of Eileen Collins (1993), public domain, as scikit-image distributes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from lineament.types import UInt8

PORTRAIT = Path(__file__).resolve().parent / "weights" / "astronaut.jpg"
SAMPLE_SIDES = (512, 384, 320, 256, 192, 128)
_BACKGROUND = (196, 198, 204)


def portrait() -> Image.Image:
    """Return the bundled portrait, 512x512."""
    with Image.open(PORTRAIT) as picture:
        return picture.convert("RGB")


def mosaic(sides: Sequence[int], width: int = 1120) -> UInt8:
    """Return a photo with one face per side: the portrait at that many pixels, row by row, every second one mirrored.

    >>> mosaic([64, 32], 128).shape
    (64, 128, 3)
    """
    places, x, y, row_height = [], 0, 0, 0
    for side in sides:
        if x + side > width:
            x, y, row_height = 0, y + row_height, 0
        places.append((x, y, side))
        x, row_height = x + side, max(row_height, side)
    canvas = Image.new("RGB", (width, y + row_height), _BACKGROUND)
    face = portrait()
    for index, (left, top, side) in enumerate(places):
        one = face.resize((side, side), Image.Resampling.LANCZOS)
        canvas.paste(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if index % 2 else one, (left, top))
    return np.asarray(canvas, np.uint8)


def run(
    out: Annotated[Path, typer.Option(help="Where the pictures and records go.")] = Path("demo"),
    model: Annotated[str, typer.Option(help="Shipped model name or ONNX file.")] = "default",
) -> None:
    """Analyse the bundled portrait and a sample of many faces; print the table, write annotated PNG and JSON."""
    from lineament.api import load
    from lineament.cli.report_view import TableView

    out.mkdir(parents=True, exist_ok=True)
    loaded, show, written = load(model), TableView(), []
    for name, pixels in (("portrait", np.asarray(portrait(), np.uint8)), ("sample", mosaic(SAMPLE_SIDES))):
        report = loaded.analyze(pixels, channels="RGB", source_name=name)
        show(report)
        report.draw().save(out / f"{name}.png")
        (out / f"{name}.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        written += [out / f"{name}.png", out / f"{name}.json"]
    typer.echo(f"Model {loaded.id}. Written: " + ", ".join(str(path) for path in written))


if __name__ == "__main__":
    typer.run(run)
