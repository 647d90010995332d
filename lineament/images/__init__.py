"""The only decoder: a photo in any form becomes upright 8-bit RGB pixels, whole, or one named error.

>>> load_image(np.zeros((2, 3, 3), np.uint8), channels="RGB").pixels.shape
(2, 3, 3)
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from PIL import Image

from lineament.errors import EmptyError, UsageError
from lineament.images.colour import to_rgb
from lineament.images.decode import FAILURES, SEVERAL, as_image_error, check_size, decode
from lineament.images.formats import sniff
from lineament.images.source import HEAD, FileBytes, Reader, read_stream, take
from lineament.types import DecodedImage, UInt8

__all__ = ["MAX_BYTES", "MAX_PIXELS", "load_image", "read_photo"]

MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 1024 * 1024
Channels = Literal["RGB", "BGR", "L"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769


def load_image(
    source: Any,
    *,
    channels: Channels | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    max_side: int | None = None,
) -> DecodedImage:
    """Decode one photo to upright RGB pixels.

    Convention: the format is told by content, never by name. EXIF orientation is applied, alpha laid over white, an
        embedded colour profile converted to sRGB; of an animation or a TIFF of many pages the first picture is taken.
        `note` says what was done, None if nothing. A Pillow image that is the result of another call, such as
        `transpose`, keeps the EXIF tag whether or not it was turned: it is taken as it stands, and the note says so,
        unless its EXIF shows that its sides are still those of the camera.
    Args:
        source: a path (str or Path), the file's bytes, a binary file object (read from where it stands), a Pillow
            image, or a uint8 array (H,W,3), or (H,W) with channels="L".
        channels: the order of an array's last axis, "RGB", "BGR" or "L"; required for arrays, refused for everything
        else.
        max_pixels: cap on width x height, checked from the header before anything is decoded.
        max_bytes: cap on the file's length.
        max_side: a larger JPEG may be decoded at 1/2, 1/4 or 1/8, never below this many pixels on its longer side;
            `full_size` of the result is then the upright (width, height) of the whole photo.
    Returns: DecodedImage; pixels (H,W,3) uint8 RGB, C-contiguous.
    Raises: UsageError for a call that cannot be right; else a subclass of ImageError: EmptyError, NotFoundError,
        NotAFileError, PermissionDeniedError, TooLargeError, TruncatedError, UnsupportedError, UnreadableError.
    """
    if isinstance(source, np.ndarray):
        return DecodedImage(_from_array(source, channels, max_pixels))
    if channels is not None:
        raise UsageError(
            f"channels={channels!r} is for NumPy arrays only; a {type(source).__name__} says its own channels. Leave "
            "it out."
        )
    if isinstance(source, Image.Image):
        return _from_pillow(source, max_pixels)
    data, kind = _read(source, max_bytes)
    image, container, size = decode(data, kind, max_pixels, max_side)
    several = SEVERAL.get(kind) if container.note is None and getattr(image, "n_frames", 1) > 1 else container.note
    return _finish(image, [several] if several else [], None if image.size in (size, size[::-1]) else size)


def read_photo(source: Any, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the bytes of a path or a file object, anything else as it is: what `load_image` can decode more than once.

    Raises: as `load_image` where the file cannot be read or is no picture.
    """
    if isinstance(source, (str, os.PathLike)) or (
        not isinstance(source, Image.Image) and callable(getattr(source, "read", None))
    ):
        return _read(source, max_bytes)[0]
    return source


def _read(source: Any, max_bytes: int) -> tuple[bytes, str]:
    """Return a source's bytes and format; what is no picture is refused by its first page."""
    if isinstance(source, (str, os.PathLike)):
        with FileBytes(source, max_bytes) as file:
            return _head_then_rest(file, max_bytes)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        kind = sniff(data[:HEAD])
        return take(_Nothing(), data, max_bytes), kind
    if callable(getattr(source, "read", None)):
        return _head_then_rest(source, max_bytes)
    raise UsageError(
        f"Cannot read a photo from {type(source).__name__}. Pass a path, bytes, a binary file object, a Pillow image "
        "or a NumPy array."
    )


class _Nothing:
    """The rest of bytes that are all there."""

    def read(self, size: int, /) -> bytes:
        return b""


def _head_then_rest(stream: Reader, max_bytes: int) -> tuple[bytes, str]:
    head = read_stream(stream, HEAD)
    if not head:
        raise EmptyError("Zero bytes. If the file object was read before, seek(0) first.")
    kind = sniff(head)
    return take(stream, head, max_bytes), kind


def _from_array(array: np.ndarray[Any, Any], channels: str | None, max_pixels: int) -> UInt8:
    """Return a copy of an array as RGB. Raises: UsageError naming the fix; EmptyError; TooLargeError."""
    if channels not in ("RGB", "BGR", "L"):
        raise UsageError(
            f'channels={channels!r}: say the order of an array, channels="RGB" (Pillow, imageio), "BGR" (OpenCV) or '
            '"L" (grey).'
        )
    if array.dtype != np.uint8:
        raise UsageError(
            f"An array must be uint8 with levels 0..255, not {array.dtype}. For floats 0..1: (255 * "
            "array).round().clip(0, 255).astype('uint8')."
        )
    if channels == "L":
        grey = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
        array = np.repeat(grey[:, :, None], 3, axis=2) if grey.ndim == 2 else array[None]
    if array.ndim != 3 or array.shape[2] != 3:
        shape = "(H,W) or (H,W,1)" if channels == "L" else "(H,W,3)"
        raise UsageError(
            f"An array with channels={channels!r} must be {shape}, not {array.shape}. Drop alpha with array[..., :3]."
        )
    check_size((array.shape[1], array.shape[0]), max_pixels)
    return np.array(array[..., ::-1] if channels == "BGR" else array, order="C")


def _from_pillow(image: Image.Image, max_pixels: int) -> DecodedImage:
    """Return the pixels of a Pillow image. Raises: UsageError for one that is closed, or whose file is; as
    `load_image`."""
    check_size(image.size, max_pixels)
    try:
        image.load()
        image.getpixel((0, 0))
    except FAILURES as error:
        if isinstance(error, ValueError) and "closed" in str(error):
            what = "The Pillow image is closed, or the file that it reads from is"
            raise UsageError(
                f"{what}. Pass it while both are open (or call its load() while they are), or pass the path."
            ) from error
        raise as_image_error(error) from error
    if image.format is not None or _orientation(image) not in _TURNS or _lies_as_stored(image):
        return _finish(image, [], None)
    derived = image.copy()
    derived.info.pop("exif", None)
    return _finish(
        derived,
        ["Pillow image taken as it stands: changed after it was opened, so its EXIF orientation was not applied"],
        None,
    )


def _lies_as_stored(image: Image.Image) -> bool:
    """Whether a derived image has the sides that its EXIF says the camera stored: then nobody has turned it yet, only
    converted it.

    Said only where turning would swap two different sides; most cameras write both (PixelXDimension, PixelYDimension).
    """
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        stored = tuple(exif.get_ifd(_EXIF_IFD).get(tag) for tag in (0xA002, 0xA003))
    except FAILURES:
        return False
    return _orientation(image) >= 5 and image.width != image.height and stored == image.size


def _finish(image: Image.Image, notes: list[str], size: tuple[int, int] | None) -> DecodedImage:
    """Return a loaded picture upright and in RGB. size: of the whole photo before turning, where a smaller one was
    decoded."""
    orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    try:
        rgb, done = to_rgb(image)
        if turn is not None:
            rgb = rgb.transpose(turn)
        pixels: UInt8 = np.ascontiguousarray(np.asarray(rgb))
    except FAILURES as error:
        raise as_image_error(error) from error
    if size is not None and orientation >= 5:  # the four that lay the picture on its side
        size = size[::-1]
    return DecodedImage(pixels, "; ".join([*notes, *done]) or None, size)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied, 1 where there is none or the EXIF is damaged (no reason
    to lose a photo).

    Only EXIF is asked, as browsers do, not XMP. TIFF keeps it among its own tags, which Pillow applies on loading and
    then removes.
    """
    try:
        exif = image.getexif() if image.format == "TIFF" else Image.Exif()
        if image.format != "TIFF" and isinstance(image.info.get("exif"), bytes):
            exif.load(image.info["exif"])
        found = exif.get(_ORIENTATION, 1)
    except FAILURES:
        return 1
    return found if isinstance(found, int) else 1
