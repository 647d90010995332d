"""Overlapping tiles of a large photo, so that its smallest faces are seen at the photo's own scale in bounded memory.

    photo (H,W,3) -> rows x columns of tiles, neighbours sharing `overlap` pixels -> tiles that are not plain

Convention: every box of at most `overlap` pixels in height and width lies whole in at least one tile. Larger faces
belong to the coarser passes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lineament.types import UInt8

SIDE = 1536
"""Longest side of a tile. Smaller ones repeat more of their overlaps, larger ones need more memory; the time per pixel
is the same within a tenth."""

PLAIN = 8
"""A tile whose brightest and darkest value lie at most this many levels apart, in each colour, is one plain colour: no
face can be seen in it."""


class Tile(NamedTuple):
    """A part of a photo: pixels[y1:y2, x1:x2]."""

    x1: int
    y1: int
    x2: int
    y2: int

    def of(self, pixels: UInt8) -> UInt8:
        """Return the tile's pixels, a view."""
        return pixels[self.y1 : self.y2, self.x1 : self.x2]


def spans(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Return the fewest spans (first, last + 1) of at most `side` that cover `length`; neighbours share at least
    `overlap`.

    Args: overlap must be less than side.

    >>> spans(100, 60, 20), spans(50, 60, 20)
    ([(0, 60), (40, 100)], [(0, 50)])
    """
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = np.floor(np.linspace(0, length - size, count)).astype(int).tolist()
    return [(start, start + size) for start in starts]


def cut(size: tuple[int, int], overlap: int, side: int = SIDE) -> list[Tile]:
    """Return the tiles of a photo of size (h, w), row by row; a tile may be twice as long as the overlap: bounded
    work."""
    side = max(side, 2 * overlap)
    rows, columns = (spans(length, side, overlap) for length in size)
    return [Tile(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]


def is_plain(pixels: UInt8) -> bool:
    """Return whether a part of a photo (h,w,3) is one plain colour, within `PLAIN` levels.

    >>> is_plain(np.full((4, 4, 3), 90, np.uint8)), is_plain(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    (True, False)
    """
    reach = pixels.max(0).max(0).astype(int) - pixels.min(0).min(
        0
    )  # axis by axis: a hundred times faster than both at once
    return bool((reach <= PLAIN).all())
