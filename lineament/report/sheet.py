"""Contact sheets: many small pictures with a caption each, in one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lineament.errors import ImageError
from lineament.images import load_image

TILE = (112, 137)
_CAPTION, _GAP = 30, 6


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: a file or its encoded bytes, and at most two short lines of text."""

    image: Path | bytes
    caption: str


def thumbnail(image: Path | bytes, size: tuple[int, int] = TILE) -> Image.Image:
    """Return a picture shrunk to fit `size`, centred on grey; plain grey if it cannot be read (its caption still says what it was)."""
    canvas = Image.new("RGB", size, (128, 128, 128))
    try:
        picture = Image.fromarray(load_image(image).pixels)
    except ImageError:
        return canvas
    picture.thumbnail(size, Image.Resampling.LANCZOS)
    canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return canvas


def contact_sheet(tiles: Sequence[Tile], columns: int = 10) -> Image.Image:
    """Return the sheet of tiles, row by row, numbered from 1. No tile gives a sheet of one empty cell."""
    rows = max(1, -(-len(tiles) // columns))
    across, down = TILE[0] + _GAP, TILE[1] + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for place, tile in enumerate(tiles):
        x, y = _GAP + place % columns * across, _GAP + place // columns * down
        sheet.paste(thumbnail(tile.image), (x, y))
        draw.multiline_text((x, y + TILE[1] + 2), f"{place + 1} {tile.caption}", fill="black", font=font, spacing=1)
    return sheet
