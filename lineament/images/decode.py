"""Decoding: a picture file's bytes to a loaded Pillow image, whole or not at all.

Every file is walked before Pillow sees it (size, completeness), and only the plug-in of the format its content shows is
ever run.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageFile, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from lineament.errors import (
    EmptyError,
    ImageError,
    TooLargeError,
    TruncatedError,
    UnreadableError,
    UnsupportedError,
    UsageError,
)
from lineament.images import bmp, gif, jpeg, png, tiff, webp_heif
from lineament.images.colour import check_depth
from lineament.images.formats import Container

FAILURES = (
    # said on purpose by plug-ins about damaged files
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error,
    # slip out of header parsing
    TypeError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError, AssertionError,
    SystemError, RuntimeError,  # C codecs: a wrong tile, WebP, AVIF and HEIF decoders
    MemoryError, Image.DecompressionBombError,
)  # fmt: skip
"""Every exception Pillow and its plug-ins were seen, or are written, to raise for a hostile file. Nothing else is
caught."""

_OPENERS: dict[str, Callable[[Any], Image.Image]] = {
    "JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile, "GIF": GifImageFile, "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
}  # fmt: skip
_CUT = ("truncated", "not enough image data", "not large enough")
_KIND = (
    "unknown pixel mode",
    "not supported",
    "not yet supported",
    "unsupported",
    "cannot handle",
    "unknown data organization",
)
SMALL = 1 << 18
"""A JPEG cut short ends in mid-grey, but for the one block of 16 x 16 the cut fell in. Up to this many pixels that
block is looked for too."""

SEVERAL = {
    "HEIF": "main picture of several",
    "AVIF": "first frame of an animation",
    "WEBP": "first frame of an animation",
}


def walk(data: bytes, kind: str, max_pixels: int) -> Container:
    """Return the file as a checked container, its header read by our own parser. Raises: as the walker of its
    format."""
    if kind in ("AVIF", "HEIF"):
        _optional(
            kind
        )  # first: where the plug-in is missing, that is what the user must know, whatever else is wrong with the file
        return webp_heif.walk_media(data, kind)
    if kind == "TIFF":
        return tiff.walk(data, max_pixels)
    walkers = {"JPEG": jpeg.walk, "PNG": png.walk, "WEBP": webp_heif.walk_webp, "GIF": gif.walk, "BMP": bmp.walk}
    return walkers[kind](data)


def decode(
    data: bytes, kind: str, max_pixels: int, max_side: int | None = None
) -> tuple[Image.Image, Container, tuple[int, int]]:
    """Return the loaded first picture of a file, its container and the size its header says.

    Args: kind: one of `formats.DECODED`; max_pixels: checked before any pixel is decoded; max_side: a JPEG may come at
        1/2, 1/4 or 1/8 of its size as long as its longer side keeps this many pixels.
    Raises: ImageError, one of its subclasses; UsageError where the program has told Pillow to accept cut files.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UsageError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True: Pillow would pass cut pictures off as whole ones. Set it to "
            "False."
        )
    container = walk(data, kind, max_pixels)
    if container.size is not None:
        check_size(container.size, max_pixels)
    image = _open(container)
    size = image.size
    check_size(size, max_pixels)
    _load(image, max_side)
    _check_whole(image, container, max_side)
    return image, _depth_checked(image, container), size


def _depth_checked(image: Image.Image, container: Container) -> Container:
    """Return the container, with a note where colours of 16-bit words, of which Pillow keeps the upper byte, end
    suspiciously low.

    Raises: UnsupportedError where they fit in 12 bits: what Pillow keeps is nearly black.
    """
    if container.format == "PNG":
        deep = container.data[24] == 16
    else:
        bits = getattr(image, "tag_v2", {}).get(258, ())
        deep = bool(bits) and set(bits if isinstance(bits, tuple) else (bits,)) == {16}
    if not deep or image.mode.startswith(("I", "F")):
        return container
    bands = [band for band in image.split() if band.mode == "L"][: 3 if len(image.getbands()) >= 3 else 1]
    high = max((int(np.asarray(band).max()) for band in bands), default=0)
    notes = [] if container.note is None else [container.note]
    check_depth(high << 8 | 255 if high else 0, notes)
    return replace(container, note="; ".join(notes) or None)


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise EmptyError or TooLargeError unless a picture of `size` may be decoded."""
    width, height = size
    if width <= 0 or height <= 0:
        raise EmptyError(f"A picture of {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooLargeError(
            f"{width} x {height} pixels are more than the cap of {max_pixels}. Raise max_pixels if it is a photo."
        )


def as_image_error(error: BaseException) -> ImageError:
    """Return what a failure of Pillow means, as one of our errors."""
    text = str(error).lower()
    if isinstance(error, (MemoryError, Image.DecompressionBombError)):
        return TooLargeError("Decoding needs more memory than there is.")
    if any(word in text for word in _CUT):
        return TruncatedError("The file ends before its picture does.")
    if any(word in text for word in _KIND):
        return UnsupportedError(f"This kind of picture is not decoded ({error}). Save it as an ordinary JPEG or PNG.")
    return UnreadableError("The picture is damaged and cannot be decoded.")


def _open(container: Container) -> Image.Image:
    opener = _OPENERS.get(container.format) or _optional(container.format)
    try:
        return opener(io.BytesIO(container.data))
    except FAILURES as error:
        raise as_image_error(error) from error


def _optional(kind: str) -> Callable[[Any], Image.Image]:
    """Return the opener of a format that not every installation decodes. Raises: UnsupportedError naming what to
    install."""
    if kind == "AVIF":
        if not features.check("avif"):
            raise UnsupportedError("AVIF needs Pillow 11.3 or newer. Install it with: pip install --upgrade pillow")
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnsupportedError(
            "HEIC and HEIF need a plug-in. Install it with: pip install 'lineament[heif]'"
        ) from error
    opener: Callable[[Any], Image.Image] = HeifImageFile
    return opener


def _load(image: Image.Image, max_side: int | None) -> None:
    try:
        if max_side is not None and isinstance(image, JpegImageFile):
            scale = max_side / max(image.size)
            image.draft(None, (max(1, int(image.width * scale)), max(1, int(image.height * scale))))  # type: ignore[no-untyped-call, unused-ignore]
        image.load()
    except FAILURES as error:
        raise as_image_error(error) from error


def _check_whole(image: Image.Image, container: Container, max_side: int | None) -> None:
    """Raise TruncatedError where Pillow filled in what it did not find. Only where that is possible is the file looked
    at again."""
    if container.format not in ("JPEG", "PNG"):
        return
    corner = image.getpixel((image.width - 1, image.height - 1))
    levels = set(corner) if isinstance(corner, tuple) else {corner}
    if container.format == "PNG":
        if (levels == {0} or image.info.get("interlace")) and not png.has_all_rows(container.data):
            raise TruncatedError("The PNG's picture data end before its last row.")
    elif container.scan_end is not None and (
        container.progressive or levels <= {127, 128} or image.width * image.height <= SMALL
    ):
        again = _open(Container("JPEG", jpeg.with_filler(container)))
        _load(again, max_side)
        if again.tobytes() != image.tobytes():
            raise TruncatedError("The JPEG's last scan ends before its picture does.")
