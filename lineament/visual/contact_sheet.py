"""Contact sheets: many small pictures with a caption each, in one PNG that says what it shows and when it was made.

    tiles (picture or file, caption) + heading -> heading, rows of tiles -> Image

Convention: what comes from outside (file names above all) goes through `visible` first, so that no name can move a
cursor, forge a line or hide. Pillow only, with the font it carries; letters that the font lacks are drawn as its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lineament.errors import ImageError
from lineament.images import load_image
from lineament.visual.stylesheet import colour

_GAP, _MARGIN, _TEXT, _TITLE = 10, 20, 13, 22
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def visible(text: str) -> str:
    """Return text in which every unprintable character (control, direction mark, lone surrogate) is a backslash escape.

    >>> visible("a\\x1b[31m\\u202egpj.exe\\udcff é")
    'a\\\\x1b[31m\\\\u202egpj.exe\\\\udcff é'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text
    )


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, or the reason why there is none."""

    image: Image.Image | None
    note: str | None = None


@dataclass(frozen=True)
class Tile:
    """One cell of a sheet: a thumbnail, a file or its encoded bytes; and at most two short lines of text."""

    picture: Thumbnail | Path | bytes
    caption: str


def photo_of(picture: Path | bytes | str, *, max_side: int | None = None) -> Thumbnail:
    """Return a whole picture as it is decoded, or why it cannot be shown."""
    try:
        return Thumbnail(Image.fromarray(load_image(picture, max_side=max_side).pixels))
    except (ImageError, OSError):
        return Thumbnail(None, "the file is gone or cannot be read")


def fitted(picture: Path | bytes, size: tuple[int, int]) -> Image.Image:
    """Return a picture shrunk to fit `size` (width, height), centred on a quiet ground; the ground alone if it cannot
    be read."""
    canvas = Image.new("RGB", size, colour("sunken"))
    photo = photo_of(picture, max_side=max(size)).image
    if photo is not None:
        photo.thumbnail(size, Image.Resampling.LANCZOS)
        canvas.paste(photo, ((size[0] - photo.width) // 2, (size[1] - photo.height) // 2))
    return canvas


def contact_sheet(
    tiles: Sequence[Tile],
    *,
    title: str,
    facts: Sequence[str] = (),
    size: tuple[int, int] = (160, 160),
    columns: int = 8,
    day: date | None = None,
) -> Image.Image:
    """Return the sheet: title, facts and date on top, then the tiles row by row. No tile gives a sheet that says so.

    Args: title: what was asked (a query, a comparison); facts: lines under it, such as the index and the model; size:
        of a tile's picture, (width, height) pixels; day: the date to write, today where None.
    """
    columns = max(3, min(columns, len(tiles) or 1))
    head_font, font = ImageFont.load_default(_TITLE), ImageFont.load_default(_TEXT)
    width = 2 * _MARGIN + columns * (size[0] + _GAP) - _GAP
    lines = [*facts, f"{(day or date.today()).isoformat()}, made by Lineament"]
    heading = wrapped(visible(title), head_font, width - 2 * _MARGIN)
    below = [part for line in lines for part in wrapped(visible(line), font, width - 2 * _MARGIN)]
    top = _MARGIN + len(heading) * (_TITLE + 6) + len(below) * (_TEXT + 5) + _GAP
    row_height = size[1] + 2 * (_TEXT + 4) + _GAP + 6
    sheet = Image.new("RGB", (width, top + max(1, -(-len(tiles) // columns)) * row_height + _MARGIN), colour("paper"))
    draw, y = ImageDraw.Draw(sheet), _MARGIN
    for text, one, ink, step in [(t, head_font, "ink", _TITLE + 6) for t in heading] + [
        (t, font, "muted", _TEXT + 5) for t in below
    ]:
        draw.text((_MARGIN, y), text, fill=colour(ink), font=one)
        y += step
    for place, tile in enumerate(tiles):
        at = _MARGIN + place % columns * (size[0] + _GAP), top + place // columns * row_height
        _draw_tile(sheet, draw, tile, at, size, font)
    if not tiles:
        draw.text((_MARGIN, top), "Nothing to show.", fill=colour("muted"), font=font)
    return sheet


def _draw_tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, at: tuple[int, int], size: tuple[int, int], font: Font
) -> None:
    x, y = at
    draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), fill=colour("sunken"))
    thumb = tile.picture if isinstance(tile.picture, Thumbnail) else Thumbnail(fitted(tile.picture, size))
    if thumb.image is None:
        note = "\n".join(wrapped(visible(thumb.note or ""), font, size[0] - 12))
        draw.multiline_text((x + 6, y + size[1] // 2 - _TEXT), note, fill=colour("muted"), font=font)
    else:
        sheet.paste(thumb.image, (x + (size[0] - thumb.image.width) // 2, y + (size[1] - thumb.image.height) // 2))
    for row, line in enumerate(tile.caption.split("\n")[:2]):
        draw.text(
            (x, y + size[1] + 4 + row * (_TEXT + 4)),
            cut_to(visible(line), font, size[0]),
            fill=colour("muted" if row else "ink"),
            font=font,
        )


def cut_to(text: str, font: Font, width: float) -> str:
    """Return text cut with an ellipsis so that it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """Return the lines of text, broken between words so that each is at most `width` pixels wide; a longer word is
    cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(cut_to(word, font, width))
        else:
            lines[-1] = cut_to(longer, font, width)
    return lines
