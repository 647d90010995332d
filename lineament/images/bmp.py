"""BMP: the size of the picture, and a cap on its run-length kind, which Pillow decodes pixel by pixel in Python.

Source: Microsoft, "Bitmap storage" (BITMAPCOREHEADER and BITMAPINFOHEADER).
"""

from __future__ import annotations

import struct

from lineament.errors import EmptyError, TooLargeError, TruncatedError
from lineament.images.formats import Container

MAX_RUN_LENGTH_PIXELS = 4_000_000
_RUN_LENGTH = (1, 2)


def walk(data: bytes) -> Container:
    """Return the BMP as a container with its size.

    Raises: TruncatedError (shorter than its header), EmptyError (zero width or height), TooLargeError (a large
        run-length picture).
    """
    try:
        (header,) = struct.unpack_from("<I", data, 14)
        width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
        (compression,) = struct.unpack_from("<I", data, 30) if header >= 40 else (0,)
    except struct.error as error:
        raise TruncatedError("The BMP ends inside its header.") from error
    if width == 0 or height == 0:
        raise EmptyError(f"A BMP of {width} x {height} pixels.")
    size = abs(width), abs(height)
    if compression in _RUN_LENGTH and size[0] * size[1] > MAX_RUN_LENGTH_PIXELS:
        raise TooLargeError(
            f"A run-length BMP of more than {MAX_RUN_LENGTH_PIXELS} pixels would take too long. Save it as PNG."
        )
    return Container("BMP", data, size)
