"""WebP (RIFF), HEIF and AVIF (ISO media): containers of nested blocks that say their own length. A block beyond the end
is a cut file.

Source: RFC 9649 (WebP container); ISO/IEC 14496-12, 4.2 (boxes).
"""

from __future__ import annotations

from lineament.errors import TruncatedError, UnreadableError, UnsupportedError
from lineament.images.formats import Container

MAX_BLOCKS = 1 << 18
ZEROS = 64
"""At most 3 zero bytes ended any WebP tried (flat and noisy, up to 12 megapixels, quality 10 and 80)."""


def walk_webp(data: bytes) -> Container:
    """Return the WebP as a container: canvas size from its first chunk, nothing beyond the end of the file.

    Raises: TruncatedError, UnreadableError.
    """
    if len(data) < 30 or 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise TruncatedError("The WebP ends before its picture does.")
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        size = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    else:
        raise UnreadableError("A damaged WebP: it begins with no picture chunk.")
    if _filled_up(data):
        raise TruncatedError("The WebP's picture data end in nothing but zeros: a download that was never finished.")
    return Container("WEBP", data, size)


def _filled_up(data: bytes) -> bool:
    """Whether the still picture's own data end in zeros. libwebp decodes zeros as picture; encoders end with at most a
    few of them."""
    at = 12
    for _ in range(MAX_BLOCKS):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] in (b"VP8 ", b"VP8L"):
            return length > ZEROS and not any(data[at + 8 + length - ZEROS : at + 8 + length])
        at += 8 + length + length % 2
        if at >= len(data):
            break
    return False


def walk_media(data: bytes, kind: str) -> Container:
    """Return a HEIF or AVIF file as a container, every outermost box inside the file.

    Raises: TruncatedError, UnreadableError, UnsupportedError (a moving picture).
    """
    at, names = 0, set()
    for _ in range(MAX_BLOCKS):
        if at >= len(data):
            break
        length, names_at = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        length = int.from_bytes(data[at + 8 : at + 16], "big") if length == 1 else length or len(data) - at
        if at + max(length, 8) > len(data):
            raise TruncatedError(f"The {kind} file ends before its picture does.")
        if length < 8:
            raise UnreadableError(f"A damaged {kind} file: one of its boxes makes no sense.")
        names.add(names_at)
        at += length
    if b"meta" not in names:
        if b"moov" in names:
            raise UnsupportedError("A video is not a photo. Take a frame from it, or use the video command.")
        raise TruncatedError(f"The {kind} file ends before its picture begins.")
    return Container(kind, data)
