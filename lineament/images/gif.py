"""GIF: the first frame, cut out of the file; what follows it, and every comment, is never parsed.

Source: GIF89a specification, CompuServe 1990.
"""

from __future__ import annotations

from lineament.errors import EmptyError, TruncatedError, UnreadableError
from lineament.images.formats import Container

MAX_BLOCKS = 1 << 20
ANIMATED = "first frame of an animation"
_IMAGE, _EXTENSION, _TRAILER, _CONTROL = 0x2C, 0x21, 0x3B, 0xF9


def walk(data: bytes) -> Container:
    """Return a GIF of the first frame only. size: the union of the logical screen and the frame, as decoders draw it.

    Raises: TruncatedError where the first frame is not whole; EmptyError; UnreadableError.
    """
    at = 13 + _palette(_byte(data, 10))
    head, control = data[:at], b""
    while _byte(data, at) == _EXTENSION:
        end = _blocks(data, at + 2)
        if _byte(data, at + 1) == _CONTROL:
            control = data[at:end]
        at = end
    if data[at] != _IMAGE:
        raise (
            EmptyError("A GIF without a frame.")
            if data[at] == _TRAILER
            else UnreadableError("A damaged GIF: no frame where one belongs.")
        )
    start = at + 10 + _palette(_byte(data, at + 9))
    end = _blocks(data, start + 1)
    size = _size(data, at)
    return Container("GIF", head + control + data[at:end] + b";", size, ANIMATED if _another(data, end) else None)


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise TruncatedError("The GIF ends before its first frame does.")
    return data[at]


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _blocks(data: bytes, at: int) -> int:
    """Return where a chain of sub-blocks ends."""
    for _ in range(MAX_BLOCKS):
        length = _byte(data, at)
        at += 1 + length
        if length == 0:
            return at
    raise UnreadableError("A GIF of more blocks than any encoder writes.")


def _numbers(data: bytes, at: int, count: int) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "little") for i in range(at, at + 2 * count, 2)]


def _size(data: bytes, at: int) -> tuple[int, int]:
    left, top, width, height = _numbers(data, at + 1, 4)
    if width == 0 or height == 0:
        raise EmptyError(f"A GIF frame of {width} x {height} pixels.")
    screen = _numbers(data, 6, 2)
    return max(screen[0], left + width), max(screen[1], top + height)


def _another(data: bytes, at: int) -> bool:
    """Whether a second frame begins after `at`; what is behind the first frame may be damaged, which is no concern
    here."""
    try:
        while _byte(data, at) == _EXTENSION:
            at = _blocks(data, at + 2)
        return data[at] == _IMAGE
    except (TruncatedError, UnreadableError):
        return False
