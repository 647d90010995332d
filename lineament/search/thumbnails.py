"""Results for people: face thumbnails, a table for the terminal, a contact sheet as one PNG.

Convention: whatever comes from outside (file names above all) goes through `visible` first, so that no name can move the cursor, forge a
line, turn text around or hide; HTML escapes on top of that (`search/gallery.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineament.errors import ImageError
from lineament.search.bursts import RankedShot
from lineament.search.index import Hit, SearchResult

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.table import Table

MARGIN = 0.35
"""How much of the face's size a thumbnail shows around it, on each side."""
CAPTION = 20


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a face, or the reason why there is none."""

    image: Image | None
    note: str | None = None


def visible(text: str) -> str:
    """Return text in which every unprintable character (control, direction mark, lone surrogate) is a backslash escape.

    >>> visible("a\\x1b[31m\\u202egpj.exe\\udcff é")
    'a\\\\x1b[31m\\\\u202egpj.exe\\\\udcff é'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text)


def thumbnail(hit: Hit, size: int) -> Thumbnail:
    """Return the face of a hit as a square of `size` pixels, cut from the photo as it is now; photos that changed are not shown."""
    image, note = _photo(hit.path, hit.size, hit.mtime_ns)
    if image is None:
        return Thumbnail(None, note)
    x1, y1, x2, y2 = hit.box_xyxy
    half = (0.5 + MARGIN) * max(x2 - x1, y2 - y1, 1.0)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    box = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
    return Thumbnail(image.crop(box).resize((size, size), resample=3))  # type: ignore[arg-type]


def photo_thumbnail(path: str, size: int) -> Thumbnail:
    """Return a whole photo, at most `size` pixels long."""
    image, note = _photo(path, max_side=size)
    if image is not None:
        image.thumbnail((size, size))
    return Thumbnail(image, note)


def _photo(path: str, size: int | None = None, mtime_ns: int | None = None, max_side: int | None = None) -> tuple[Image | None, str | None]:
    from PIL import Image

    from lineament.images import load_image

    try:
        seen = os.stat(path)  # noqa: PTH116
        if size is not None and (seen.st_size, seen.st_mtime_ns) != (size, mtime_ns):
            return None, "changed since it was indexed"
        return Image.fromarray(load_image(path, max_side=max_side).pixels), None
    except (ImageError, OSError):
        return None, "the file is gone or cannot be read"


def table(found: SearchResult, *, columns: int = 6) -> Table:
    """Return the hits as a table: rank, score, file, face and the probabilities of the attributes that the query names."""
    from rich.table import Table
    from rich.text import Text

    named = [name for name in found.mentioned if name in _shown(found)][:columns]
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("#", "Score", *named):
        rows.add_column(title, justify="right", no_wrap=True)
    rows.add_column("Face", justify="right")
    rows.add_column("Photo", overflow="fold")
    for rank, hit in enumerate(found.hits, 1):
        numbers = [str(rank), f"{hit.score:.3f}", *(f"{hit.attributes[name]:.2f}" for name in named), str(hit.face)]
        rows.add_row(*numbers, Text(visible(hit.path)))
    return rows


def burst_table(groups: Iterable[Sequence[RankedShot]]) -> Table:
    """Return bursts as a table, the best shot of each first."""
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Burst", "Place", "Score", "Everyone smiles", "Eyes open", "Faces"):
        rows.add_column(title, justify="right")
    rows.add_column("Photo", overflow="fold")
    for number, group in enumerate(groups, 1):
        for place, entry in enumerate(group, 1):
            style = "bold" if place == 1 else "dim"
            numbers = (f"{value:.3f}" for value in (entry.score, entry.smiling, entry.eyes_open))
            rows.add_row(str(number), str(place), *numbers, str(entry.faces), Text(visible(entry.shot.path)), style=style)
    return rows


def _shown(found: SearchResult) -> frozenset[str]:
    return frozenset(found.hits[0].attributes) if found.hits else frozenset()


def contact_sheet(captioned: Sequence[tuple[str, Thumbnail]], *, size: int = 160, columns: int = 8) -> Image:
    """Return thumbnails on one picture, in rows, each with its caption under it; a note stands where a photo cannot be shown."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(columns, len(captioned)))
    lines = max(1, -(-len(captioned) // columns))
    sheet = Image.new("RGB", (columns * size, lines * (size + CAPTION)), "#202020")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (caption, thumb) in enumerate(captioned):
        x, y = i % columns * size, i // columns * (size + CAPTION)
        if thumb.image is None:
            draw.multiline_text((x + 6, y + size // 2 - 14), (thumb.note or "").replace(" ", "\n", 1), fill="#b0b0b0", font=font)
        else:
            sheet.paste(thumb.image, (x + (size - thumb.image.width) // 2, y + (size - thumb.image.height) // 2))
        draw.text((x + 4, y + size + 2), caption, fill="#f0f0f0", font=font)
    return sheet


def hit_captions(found: SearchResult, *, size: int = 160) -> list[tuple[str, Thumbnail]]:
    """Return what a contact sheet of hits shows: rank and score under each face."""
    return [(f"{rank}   {hit.score:.3f}", thumbnail(hit, size)) for rank, hit in enumerate(found.hits, 1)]


def burst_captions(groups: Iterable[Sequence[RankedShot]], *, size: int = 160) -> list[tuple[str, Thumbnail]]:
    """Return what a contact sheet of bursts shows: burst, place and score under each photo."""
    return [
        (f"{number}.{place}   {entry.score:.3f}", photo_thumbnail(entry.shot.path, size))
        for number, group in enumerate(groups, 1)
        for place, entry in enumerate(group, 1)
    ]
