"""JPEG completeness check: every segment there, every scan begun that the picture needs, and an end marker where it
ends.

Pillow alone is not enough. libjpeg only warns (and Pillow hides it) where a scan is cut short and an end marker
follows: the rest of the picture is then mid-grey, or stays blurred in a progressive file.
Source: ITU-T T.81, annex B (markers) and annex G (progressive scans).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lineament.errors import EmptyError, TruncatedError, UnreadableError, UnsupportedError
from lineament.images.formats import Container

MAX_SEGMENTS = 20_000
MAX_SCANS = 100
"""More scans than any encoder writes: libjpeg would decode the whole picture once for each."""

_NOISE = b"\xb6\x5b" + bytes((37 * i * i + 11 * i + 5) % 251 for i in range(4096))
FILLER = _NOISE + b"".join(bytes([0xFF, 0xD0 + i % 8]) + _NOISE[:256] for i in range(16))
"""What a decoder that finished its scan skips, and one that did not takes for picture: noise, then restart intervals of
noise.

It begins with a one bit, since libjpeg pads with zeros: the two must never agree."""

_SOF = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_HUFFMAN = {0xC0, 0xC1, 0xC2}
_DECODED = _HUFFMAN | {0xC9, 0xCA}
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_EOI, _SOS, _DNL = 0xD9, 0xDA, 0xDC


@dataclass
class _Walk:
    size: tuple[int, int] | None = None
    sof: int = 0
    segments: int = 0
    scans: int = 0
    components: tuple[int, ...] = ()
    levels: dict[tuple[int, int], int] = field(
        default_factory=dict
    )  # (component, coefficient) -> lowest bit that has been sent


def walk(data: bytes) -> Container:
    """Return the JPEG as a container: size from the frame header, completeness checked.

    Raises: TruncatedError, EmptyError (zero width or height), UnsupportedError (lossless or 12 bit), UnreadableError.
    """
    state, at = _Walk(), 2
    while True:
        marker, at = _next_marker(data, at)
        if marker == _EOI:
            break
        at = _segment(data, marker, at, state)
    if state.size is None or not state.scans:
        raise UnreadableError("A JPEG without a picture in it.")
    _check_scans(state)
    end = at - 2 if state.sof in _HUFFMAN else None
    return Container("JPEG", data, state.size, scan_end=end, progressive=state.sof == 0xC2)


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at or after `at` and where its segment begins; other bytes before it are skipped, as decoders
    do."""
    found = _MARKER.search(data, at)
    if found is None:
        raise TruncatedError("The JPEG ends before its end marker.")
    return data[found.end() - 1], found.end()


def _segment(data: bytes, marker: int, at: int, state: _Walk) -> int:
    """Read one segment into `state` and return where the next marker is looked for."""
    if marker in (0x01, 0xD8):  # no length follows
        return at
    length = int.from_bytes(data[at : at + 2], "big")
    body = data[at + 2 : at + length]
    if at + length > len(data) or at + 2 > len(data):
        raise TruncatedError("The JPEG ends inside a header segment.")
    state.segments += 1
    if length < 2 or state.segments > MAX_SEGMENTS:
        raise UnreadableError("A damaged JPEG: its header segments make no sense.")
    if marker in _SOF:
        _frame(marker, body, state)
    elif marker == _SOS:
        _scan(body, state)
    return at + length


def _frame(marker: int, body: bytes, state: _Walk) -> None:
    if state.size is not None or len(body) < 6 or body[5] == 0 or len(body) < 6 + 3 * body[5]:
        raise UnreadableError("A damaged JPEG: its frame header makes no sense.")
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if width == 0 or height == 0:
        raise EmptyError(f"A JPEG of {width} x {height} pixels.")
    if marker not in _DECODED or body[0] != 8:
        raise UnsupportedError(
            "A lossless, hierarchical or 12-bit JPEG is not decoded. Save it as an ordinary JPEG or a PNG."
        )
    state.size, state.sof, state.components = (width, height), marker, tuple(body[6 : 6 + 3 * body[5] : 3])


def _scan(body: bytes, state: _Walk) -> None:
    state.scans += 1
    if state.scans > MAX_SCANS:
        raise UnreadableError(
            f"A JPEG of more than {MAX_SCANS} scans: no encoder writes that; it is made to exhaust decoders."
        )
    if not body or len(body) < 4 + 2 * body[0]:
        raise UnreadableError("A damaged JPEG: its scan header makes no sense.")
    first, last, low = body[-3], min(body[-2], 63), body[-1] & 15
    if state.sof not in (0xC2, 0xCA):
        first, last, low = 0, 63, 0
    for component in body[1 : 1 + 2 * body[0] : 2]:
        for coefficient in range(first, last + 1):
            state.levels[component, coefficient] = low


def _check_scans(state: _Walk) -> None:
    """Raise TruncatedError unless every component's average is sent to the last bit, and every coefficient begun is
    finished."""
    missing = [component for component in state.components if state.levels.get((component, 0)) != 0]
    if missing or any(state.levels.values()) or not _detail(state):
        raise TruncatedError("The JPEG ends before its last scan.")


def _detail(state: _Walk) -> bool:
    """Whether the first component has all of its detail; chroma without detail is a legal choice of an encoder."""
    return all((state.components[0], coefficient) in state.levels for coefficient in range(64))


def with_filler(container: Container) -> bytes:
    """Return the file with bytes put between its last scan and its end marker: the picture is the same if, and only if,
    the scan was whole."""
    end = container.scan_end or 0
    coded = container.data[:end].rstrip(b"\xff")  # a cut in the middle of an escaped byte leaves half of it
    return coded + FILLER + container.data[end:]
