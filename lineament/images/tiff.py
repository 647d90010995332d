"""TIFF: the first page, checked before libtiff sees it: its tags, its strips and tiles, all inside the file and of sane
size.

Source: TIFF revision 6.0; BigTIFF as in libtiff.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lineament.errors import EmptyError, TooLargeError, TruncatedError, UnreadableError, UnsupportedError
from lineament.images.formats import Container

MAX_PARTS = 1 << 18
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_KIND, _WIDTH, _HEIGHT, _OFFSETS, _ROWS, _COUNTS = 254, 256, 257, 273, 278, 279
_SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _DNG = 277, 284, 322, 323, 324, 325, 50706
PAGES = "first page of several"


@dataclass(frozen=True)
class _Page:
    """The first directory: tag -> (type, count, where its values lie)."""

    data: bytes
    order: str
    tags: dict[int, tuple[int, int, int]]
    following: int

    def values(self, tag: int) -> tuple[int, ...]:
        """Return a tag's whole numbers, () where it is missing or of no such type."""
        kind, count, at = self.tags.get(tag, (0, 0, 0))
        code = _CODES.get(kind)
        return struct.unpack_from(f"{self.order}{count}{code}", self.data, at) if code and count <= MAX_PARTS else ()

    def first(self, tag: int, default: int) -> int:
        return (self.values(tag) or (default,))[0]


def walk(data: bytes, max_pixels: int) -> Container:
    """Return the TIFF as a container: size from its first directory, every strip or tile inside the file.

    Raises: TruncatedError, EmptyError, TooLargeError (a tile beyond `max_pixels`), UnsupportedError (camera raw),
        UnreadableError.
    """
    if data[8:10] == b"CR":
        raise UnsupportedError("A camera raw file is not decoded. Convert it to JPEG.")
    page = _first_page(data)
    if _DNG in page.tags or page.first(_KIND, 0) & 1:
        raise UnsupportedError(
            "A camera raw file (its first page is only a preview) is not decoded. Convert it to JPEG."
        )
    size = page.first(_WIDTH, -1), page.first(_HEIGHT, -1)
    if 0 in size:
        raise EmptyError(f"A TIFF of {size[0]} x {size[1]} pixels.")
    if min(size) < 0:
        raise UnreadableError("A damaged TIFF: it does not say its size.")
    if size[0] * size[1] <= max_pixels:  # otherwise the caller refuses it by its size
        _check_parts(page, size, max_pixels)
    return Container("TIFF", data, size, PAGES if page.following else None)


def _first_page(data: bytes) -> _Page:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\x00", b"\x00+")
    word, short, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    try:
        (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + short, data, start)
        at = start + struct.calcsize(order + short)
        if count > 4096:
            raise UnreadableError("A damaged TIFF: more tags than any encoder writes.")
        tags = dict(_entry(data, order + "HH" + word, at + i * entry) for i in range(count))
        (following,) = struct.unpack_from(order + word, data, at + count * entry)
    except (struct.error, OverflowError) as error:
        raise TruncatedError("The TIFF ends before the list of its tags.") from error
    if sum(_BYTES.get(kind, 1) * number for kind, number, _ in tags.values()) > 2 * len(data) + 4096:
        raise UnreadableError("A damaged TIFF: its tags claim more than the file holds.")
    return _Page(data, order, tags, following)


def _entry(data: bytes, layout: str, at: int) -> tuple[int, tuple[int, int, int]]:
    tag, kind, count = struct.unpack_from(layout, data, at)
    where, inline = at + struct.calcsize(layout), 8 if layout.endswith("Q") else 4
    length = _BYTES.get(kind, 1) * count
    if length > inline:
        (where,) = struct.unpack_from(layout[0] + layout[-1], data, where)
    if where + max(length, inline if length <= inline else 0) > len(data):
        raise TruncatedError("The TIFF ends before the value of one of its tags.")
    return tag, (kind, count, where)


def _check_parts(page: _Page, size: tuple[int, int], max_pixels: int) -> None:
    """Raise unless there are as many strips or tiles as the size needs, all inside the file."""
    tiled = _TILE_OFFSETS in page.tags
    offsets = page.values(_TILE_OFFSETS if tiled else _OFFSETS)
    counts = page.values(_TILE_COUNTS if tiled else _COUNTS)
    across, down = (
        (page.first(_TILE_WIDTH, 0), page.first(_TILE_HEIGHT, 0))
        if tiled
        else (size[0], min(page.first(_ROWS, size[1]), size[1]))
    )
    if across <= 0 or down <= 0 or not offsets:
        raise UnreadableError("A damaged TIFF: no strip or tile of it can be found.")
    if across * down > max(max_pixels, 1 << 20):
        raise TooLargeError(f"A TIFF tile of {across} x {down} pixels, beyond the cap of {max_pixels}.")
    needed = -(-size[0] // across) * -(-size[1] // down)
    if page.first(_PLANAR, 1) == 2:
        needed *= page.first(_SAMPLES, 1)
    if needed > MAX_PARTS:
        raise UnreadableError("A TIFF in more strips or tiles than any encoder writes.")
    if len(offsets) < needed or (counts and (len(counts) < needed or 0 in counts[:needed])):
        raise TruncatedError("The TIFF lacks some of its strips or tiles.")
    if any(
        start + length > len(page.data) for start, length in zip(offsets, counts or (0,) * len(offsets), strict=False)
    ):
        raise TruncatedError("The TIFF ends before its picture does.")
