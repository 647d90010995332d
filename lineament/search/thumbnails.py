"""Results for people: face thumbnails, a table for the terminal, contact sheets.

Convention: whatever comes from outside (file names above all) goes through `visible` first, so that no name can move
the cursor, forge a line, turn text around or hide; HTML escapes on top of that (`search/gallery.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lineament.inputs.item import SEPARATOR
from lineament.search.bursts import RankedShot
from lineament.search.index import Hit, SearchResult
from lineament.visual.contact_sheet import Thumbnail, Tile, contact_sheet, photo_of, visible

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.table import Table

MARGIN = 0.35
"""How much of the face's size a thumbnail shows around it, on each side."""


def thumbnail(hit: Hit, size: int) -> Thumbnail:
    """Return the face of a hit as a square of `size` pixels, cut from the photo as it is now; photos that changed are
    not shown."""
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


def _photo(
    path: str, size: int | None = None, mtime_ns: int | None = None, max_side: int | None = None
) -> tuple[Image | None, str | None]:
    try:
        seen = os.stat(path)  # noqa: PTH116
    except OSError:
        elsewhere = "://" in path or SEPARATOR in path
        return (
            None,
            "no file of its own: it lies in an archive, a table or a store"
            if elsewhere
            else "the file is gone or cannot be read",
        )
    if size is not None and (seen.st_size, seen.st_mtime_ns) != (size, mtime_ns):
        return None, "changed since it was indexed"
    found = photo_of(path, max_side=max_side)
    return found.image, found.note


def table(found: SearchResult, *, columns: int = 6) -> Table:
    """Return the hits as a table: rank, score, file, face and the probabilities of the attributes that the query
    names."""
    from rich.table import Table
    from rich.text import Text

    named = [name for name in found.mentioned if name in _shown(found)][:columns]
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("#", "Score", *named):
        rows.add_column(title, justify="right", no_wrap=True)
    rows.add_column("Face", justify="right")
    rows.add_column("Photo", overflow="fold")
    for rank, hit in found.numbered():
        numbers = [str(rank), f"{hit.score:.3f}", *(f"{hit.attributes[name]:.2f}" for name in named), str(hit.face)]
        rows.add_row(*numbers, Text(visible(hit.path)))
    return rows


def burst_table(groups: Iterable[Sequence[RankedShot]], offset: int = 0) -> Table:
    """Return bursts as a table, the best shot of each first; numbered on from `offset`."""
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Burst", "Place", "Score", "Everyone smiles", "Eyes open", "Faces"):
        rows.add_column(title, justify="right")
    rows.add_column("Photo", overflow="fold")
    for number, group in enumerate(groups, offset + 1):
        for place, entry in enumerate(group, 1):
            style = "bold" if place == 1 else "dim"
            numbers = (f"{value:.3f}" for value in (entry.score, entry.smiling, entry.eyes_open))
            rows.add_row(
                str(number), str(place), *numbers, str(entry.faces), Text(visible(entry.shot.path)), style=style
            )
    return rows


def _shown(found: SearchResult) -> frozenset[str]:
    return frozenset(found.hits[0].attributes) if found.hits else frozenset()


def hits_sheet(found: SearchResult, *, size: int = 160) -> Image:
    """Return hits as a contact sheet: the query, the index and the date on top, rank and score under each face."""
    tiles = [
        Tile(thumbnail(hit, size), f"{rank}   {hit.score:.3f}\n{Path(hit.path).name}") for rank, hit in found.numbered()
    ]
    facts = [
        f"{found.matched} faces in {found.photos} photos match, {found.shown}, best first. Index of "
        f"{found.indexed_faces} faces.",
        f"Model {found.model}, profile {found.profile}.",
    ]
    return contact_sheet(tiles, title=f"Search: {found.query or 'every face'}", facts=facts, size=(size, size))


def bursts_sheet(groups: Sequence[Sequence[RankedShot]], model: str, offset: int = 0, *, size: int = 160) -> Image:
    """Return bursts as a contact sheet: burst, place and score under each photo."""
    tiles = [
        Tile(
            photo_thumbnail(entry.shot.path, size),
            f"{number}.{place}   {entry.score:.3f}\n{Path(entry.shot.path).name}",
        )
        for number, group in enumerate(groups, offset + 1)
        for place, entry in enumerate(group, 1)
    ]
    fact = (
        f"{len(groups)} bursts; the photo where everyone most likely smiles with open eyes stands first in each. Model "
        f"{model}."
    )
    return contact_sheet(tiles, title="Best shots", facts=[fact], size=(size, size))
