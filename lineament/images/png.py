"""PNG: the file reduced to the chunks that make the picture, each checked: Pillow skips the checksum of picture data,
shows what is missing as black, and text chunks can be bombs.

Source: W3C PNG specification (third edition), 5.3 chunk layout.
"""

from __future__ import annotations

import zlib

from lineament.errors import EmptyError, TruncatedError, UnreadableError
from lineament.images.formats import Container

MAX_CHUNKS = 1 << 18
MAX_PROFILE = 1 << 22
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"iCCP"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
ANIMATED = "first frame of an animation"


def walk(data: bytes) -> Container:
    """Return the PNG with only the chunks that matter: size from IHDR, checksums checked, complete up to IEND.

    Raises: TruncatedError, EmptyError (zero width or height), UnreadableError (damaged).
    """
    kept, at, animated, name = [data[:8]], 8, False, b""
    for _ in range(MAX_CHUNKS):
        name, end = _chunk(data, at)
        animated |= name == b"acTL" and int.from_bytes(data[at + 8 : at + 12], "big") > 1
        if name in _KEPT and _sound(data, name, at, end):
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    else:
        raise UnreadableError("A PNG of more chunks than any encoder writes.")
    return Container("PNG", b"".join(kept), _size(data), ANIMATED if animated else None)


def _chunk(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    name = data[at + 4 : at + 8]
    if at + 8 <= len(data) and not name.isalpha():
        raise UnreadableError("A damaged PNG: what should be a chunk is none.")
    if end > len(data):
        raise TruncatedError("The PNG ends before its last chunk.")
    return name, end


def _sound(data: bytes, name: bytes, at: int, end: int) -> bool:
    """Whether a chunk may go to Pillow: an unsound one that is not needed is dropped, one that is needed is an
    error."""
    good = zlib.crc32(memoryview(data)[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
    if name in _CRITICAL and not good:
        raise UnreadableError("A damaged PNG: the checksum of its picture data is wrong.")
    return good and (name != b"iCCP" or _small(data[at + 8 : end - 4]))


def _small(profile: bytes) -> bool:
    """Whether a compressed colour profile opens to a sane size: a megabyte of zeros packs into a kilobyte."""
    packed = profile.partition(b"\x00")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(packed, MAX_PROFILE)) < MAX_PROFILE
    except zlib.error:
        return False


def has_all_rows(data: bytes) -> bool:
    """Whether the compressed picture data of a walked PNG opens to as many bytes as its size needs, without keeping
    them."""
    width, height = _size(data)
    needed = _raw_bytes(width, height, data[24] * _BANDS.get(data[25], 1), data[28])
    stream, at, opened = zlib.decompressobj(), 8, 0
    while at < len(data) and opened < needed:
        name, end = _chunk(data, at)
        packed = data[at + 8 : end - 4] if name == b"IDAT" else b""
        while packed and opened < needed:
            opened += len(stream.decompress(packed, 1 << 20))
            packed = stream.unconsumed_tail
        at = end
    return opened >= needed


def _raw_bytes(width: int, height: int, bits: int, interlaced: int) -> int:
    """Return the length of the filtered rows: one filter byte and the packed pixels for each row of each pass."""
    total = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        across, rows = -(-(width - left) // right), -(-(height - top) // down)
        total += rows * (1 + -(-across * bits // 8)) if across > 0 and rows > 0 else 0
    return total


def _size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise UnreadableError("A damaged PNG: it does not begin with its header.")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if width == 0 or height == 0:
        raise EmptyError(f"A PNG of {width} x {height} pixels.")
    return width, height
