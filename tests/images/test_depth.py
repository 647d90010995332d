"""Levels of 10, 12 and 14 bits inside 16: scaled where the file says it, refused or noted where nothing does; never
guessed."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from lineament.errors import UnsupportedError
from lineament.images import load_image

GREY = np.linspace(0, 255, 64 * 64).reshape(64, 64).round().astype(np.uint8)


def tiff(levels: np.ndarray, white: int | None = None, photometric: int = 1) -> bytes:
    tags = ImageFileDirectory_v2()
    if white is not None:
        tags[281] = white
    tags[262] = photometric
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint16)).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15])
def test_a_tag_says_where_white_is(bits: int) -> None:
    white = (1 << bits) - 1
    found = load_image(tiff(np.rint(GREY / 255 * white), white))
    assert found.note == f"{bits}-bit levels reduced to 8"
    np.testing.assert_array_equal(found.pixels[..., 0], GREY)
    inverted = load_image(tiff(white - np.rint(GREY / 255 * white), white, 0))
    np.testing.assert_array_equal(inverted.pixels[..., 0], GREY)


@pytest.mark.parametrize("bits", [10, 12])
def test_where_nothing_says_it_little_is_refused(bits: int) -> None:
    with pytest.raises(UnsupportedError, match="fewer bits inside 16"):
        load_image(tiff(np.rint(GREY / 255 * ((1 << bits) - 1))))
    with pytest.raises(UnsupportedError, match="fewer bits inside 16"):
        load_image(tiff(np.rint(GREY / 255 * 3000), 3000))  # the largest level used, not white
    with pytest.raises(UnsupportedError, match="4095 is white"):
        load_image(tiff(np.rint(GREY / 255 * 9000), 4095))


def test_a_quarter_of_the_range_is_noted_and_black_is_black() -> None:
    assert "darker than it was" in str(load_image(tiff(np.rint(GREY / 255 * 16383))).note)
    assert load_image(tiff(GREY * 257.0)).note == "16-bit levels reduced to 8"
    assert load_image(tiff(np.zeros((8, 8)))).pixels.max() == 0
    assert load_image(tiff(GREY * 257.0, 65535)).note == "16-bit levels reduced to 8"


def png16(levels: np.ndarray) -> bytes:
    """Return a 16-bit PNG of levels (H,W) grey or (H,W,3) colours, chunk by chunk: Pillow writes none in colour."""
    height, width = levels.shape[:2]
    rows = levels.astype(">u2").reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2 if levels.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_colours_and_pngs_too(shape: tuple[int, ...]) -> None:
    grey = np.broadcast_to(GREY.reshape(GREY.shape + (1,) * (len(shape) - 2)), shape).astype(np.float64)
    np.testing.assert_array_equal(load_image(png16(grey * 257)).pixels[..., 0], GREY)
    assert load_image(png16(np.zeros(shape))).pixels.max() == 0
    with pytest.raises(UnsupportedError, match="fewer bits inside 16"):
        load_image(png16(np.rint(grey / 255 * 4095)))
    assert "darker than it was" in str(load_image(png16(np.rint(grey / 255 * 16383))).note)
