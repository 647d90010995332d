"""Properties of the decoder: whole or an error at any cut, an ImageError at worst for any damage, lossless formats come
back exactly."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import odd_parts as parts
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lineament.errors import ImageError
from lineament.images import load_image

MAX_PIXELS = 1_000_000
KINDS: dict[str, dict[str, object]] = {
    "jpeg": {"format": "JPEG", "quality": 90}, "jpeg_progressive": {"format": "JPEG", "progressive": True},
    "jpeg_restarts": {"format": "JPEG", "restart_marker_blocks": 2}, "png": {"format": "PNG"},
    "webp": {"format": "WEBP"}, "webp_lossless": {"format": "WEBP", "lossless": True}, "gif": {"format": "GIF"},
    "tiff": {"format": "TIFF"}, "tiff_lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "tiff_jpeg": {"format": "TIFF", "compression": "jpeg"}, "bmp": {"format": "BMP"}, "avif": {"format": "AVIF"},
}  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def encoded(kind: str) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """Return a small photo as a file, and the pixels of the whole of it."""
    data = parts.encode(parts.photo()[60:108:2, 40:100:2], **KINDS[kind])  # type: ignore[arg-type]
    return data, load_image(data).pixels


def outcome(data: bytes) -> npt.NDArray[np.uint8] | ImageError:
    try:
        return load_image(data, max_pixels=MAX_PIXELS).pixels
    except ImageError as error:
        return error


def whole_or_error(data: bytes, whole: npt.NDArray[np.uint8]) -> None:
    found = outcome(data)
    if isinstance(found, ImageError):
        assert found.code in ("truncated", "empty", "unreadable")
    else:
        np.testing.assert_array_equal(found, whole)


@each_kind
def test_no_cut_anywhere_gives_a_partial_picture(kind: str) -> None:
    data, whole = encoded(kind)
    for length in (*range(0, len(data), 1 + len(data) // 200), *range(len(data) - 60, len(data))):
        whole_or_error(data[:length], whole)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg_progressive", "jpeg_restarts"])
@given(missing=st.integers(1, 900))
@settings(max_examples=100)
def test_a_cut_jpeg_closed_by_an_end_marker_is_seen(kind: str, missing: int) -> None:
    data, whole = encoded(kind)
    whole_or_error(data[: -2 - missing] + b"\xff\xd9", whole)


@each_kind
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_any_flipped_bit_gives_pixels_or_an_image_error(kind: str, at: float, bit: int) -> None:
    data, _ = encoded(kind)
    where = int(at**2 * len(data))  # more of them in the headers
    found = outcome(parts.patch(data, where, bytes([data[where] ^ 1 << bit])))
    assert str(found) if isinstance(found, ImageError) else found.ndim == 3


@each_kind
@given(position=st.integers(0, 200), junk=st.binary(min_size=1, max_size=60))
@settings(max_examples=40)
def test_any_overwritten_header_gives_pixels_or_an_image_error(kind: str, position: int, junk: bytes) -> None:
    data, _ = encoded(kind)
    found = outcome(parts.patch(data, position, junk))
    assert str(found) if isinstance(found, ImageError) else found.ndim == 3


@given(data=st.binary(max_size=300))
@example(b"\xff\xd8\xff")
@example(b"RIFF\x04\x00\x00\x00WEBP")
@settings(max_examples=200)
def test_bytes_that_are_no_picture_are_an_image_error(data: bytes) -> None:
    for start in (
        b"",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"II*\x00",
        b"MM\x00+",
        b"\x89PNG\r\n\x1a\n",
        b"\x00\x00\x00\x18ftypavif",
    ):
        with pytest.raises(ImageError):
            load_image(start + data, max_pixels=MAX_PIXELS)


@given(
    pixels=arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
    format=st.sampled_from(["PNG", "BMP", "TIFF"]),
)
@settings(max_examples=100)
def test_lossless_formats_come_back_exactly(pixels: npt.NDArray[np.uint8], format: str) -> None:
    np.testing.assert_array_equal(load_image(parts.encode(pixels, format)).pixels, pixels)
    np.testing.assert_array_equal(load_image(np.ascontiguousarray(pixels[..., ::-1]), channels="BGR").pixels, pixels)


@given(
    pixels=arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40), st.just(3))),
    progressive=st.booleans(),
    quality=st.integers(5, 95),
)
@settings(max_examples=60)
def test_a_whole_jpeg_is_never_called_cut(pixels: npt.NDArray[np.uint8], progressive: bool, quality: int) -> None:
    data = parts.encode(pixels, progressive=progressive, quality=quality)
    assert load_image(data).pixels.shape == pixels.shape


@given(
    level=st.integers(0, 255),
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]),
    width=st.integers(1, 70),
    height=st.integers(1, 70),
)
@settings(max_examples=80)
def test_flat_pictures_are_whole(level: int, format: str, width: int, height: int) -> None:
    """Flat black, grey and white pictures look like what a decoder leaves where data is missing."""
    for progressive in (False, True) if format == "JPEG" else (False,):
        found = load_image(
            parts.encode(
                np.full((height, width, 3), level, np.uint8), format, **({"progressive": True} if progressive else {})
            )
        )
        assert found.pixels.shape == (height, width, 3)
