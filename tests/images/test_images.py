"""The decoder: every odd file has its outcome, orientation and modes agree with NumPy, nothing partial passes for
whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import odd_parts as parts
import pytest
from odd_files import BYTES, Odd, table
from PIL import Image, ImageCms, ImageOps

from lineament.errors import (
    ImageError,
    TruncatedError,
    UnreadableError,
    UnsupportedError,
    UsageError,
)
from lineament.images import load_image
from lineament.images.colour import ALPHA, FLOATS, PROFILE, SIXTEEN


@pytest.fixture
def photo() -> Any:
    return parts.photo()


@pytest.mark.parametrize("odd", table(), ids=lambda odd: odd.kind)
def test_every_odd_file_has_its_outcome(odd: Odd, tmp_path: Path) -> None:
    path = odd.make(tmp_path)
    if odd.expected == "ok":
        found = load_image(path)
        assert (found.width, found.height) == odd.size
        assert found.pixels.dtype == np.uint8
        assert found.pixels.shape[2] == 3
        assert found.pixels.flags.c_contiguous
        return
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert caught.value.code == odd.expected
    assert str(caught.value).encode("utf-8")  # printable, whatever the name


def test_the_table_is_long_and_its_kinds_differ() -> None:
    kinds = [odd.kind for odd in table()]
    assert len(kinds) == len(set(kinds)) >= 100
    assert {odd.expected for odd in table()} >= {"ok", "unreadable", "truncated", "unsupported", "too_large", "empty"}


@pytest.mark.parametrize("kind", [kind for kind, row in BYTES.items() if row[0] == "ok"])
def test_path_bytes_and_file_object_agree(kind: str, tmp_path: Path) -> None:
    data = BYTES[kind][3]()
    (tmp_path / "f").write_bytes(data)
    by_path = load_image(tmp_path / "f")
    for source in (data, bytearray(data), io.BytesIO(data)):
        found = load_image(source)
        np.testing.assert_array_equal(found.pixels, by_path.pixels)
        assert found.note == by_path.note


# Orientation: EXIF says where the stored picture's row 0 and column 0 lie in the upright one.


UPRIGHT = {
    1: lambda s: s, 2: lambda s: s[:, ::-1], 3: lambda s: s[::-1, ::-1], 4: lambda s: s[::-1],
    5: lambda s: s.swapaxes(0, 1), 6: lambda s: np.rot90(s, -1), 7: lambda s: s[::-1, ::-1].swapaxes(0, 1),
    8: lambda s: np.rot90(s),
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(format: str, orientation: int, photo: Any) -> None:
    stored = Image.fromarray(photo)
    lossless = {"lossless": True} if format == "WEBP" else {}
    turned = {"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": parts.exif(orientation)}
    plain = load_image(parts.encode(stored, format, **lossless)).pixels
    found = load_image(parts.encode(stored, format, **lossless, **turned)).pixels
    np.testing.assert_array_equal(found, UPRIGHT[orientation](plain))


def test_orientation_of_a_pillow_image_is_applied_once(photo: Any) -> None:
    for format in ("JPEG", "TIFF"):
        options = {"tiffinfo": {274: 6}} if format == "TIFF" else {"exif": parts.exif(6)}
        data = parts.encode(None, format, **options)
        np.testing.assert_array_equal(load_image(Image.open(io.BytesIO(data))).pixels, load_image(data).pixels)
    assert load_image(Image.fromarray(photo)).pixels.shape == photo.shape


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_a_pillow_image_that_was_turned_is_taken_as_it_stands(turn: Image.Transpose, photo: Any) -> None:
    """Pillow keeps the tag in what its calls return, so it says nothing about them; `ImageOps.exif_transpose` takes it
    away."""
    data = parts.encode(None, "JPEG", exif=parts.exif(6))
    turned = Image.open(io.BytesIO(data)).transpose(turn)
    found = load_image(turned)
    np.testing.assert_array_equal(found.pixels, np.asarray(turned))
    assert "as it stands" in str(found.note)
    upright = load_image(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(upright.pixels, load_image(data).pixels)
    assert upright.note is None
    assert load_image(Image.fromarray(photo).transpose(turn)).note is None


def test_what_is_closed_is_called_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(parts.encode(None, "JPEG"))
    with path.open("rb") as file:
        unread, image = Image.open(file), Image.open(path)
    loaded = Image.open(path)
    loaded.load()
    for picture in (image, loaded):
        picture.close()
    for source in (file, unread, image, loaded):
        with pytest.raises(UsageError, match="closed"):
            load_image(source)


def test_what_a_reader_complains_of_is_told(tmp_path: Path) -> None:
    class Refusing:
        def read(self, size: int) -> bytes:
            raise ValueError("my own reason")

    with pytest.raises(UnreadableError, match="my own reason"):
        load_image(Refusing())
    path = tmp_path / "a.jpg"
    path.write_bytes(parts.encode(None, "JPEG"))
    with path.open(encoding="utf-8") as text, pytest.raises(UsageError, match="binary mode"):
        load_image(text)


def over_white(rgb: Any, alpha: Any) -> Any:
    weight = alpha[..., None] / 255
    return rgb * weight + 255 * (1 - weight)


def _alpha(photo: Any) -> Any:
    return np.linspace(0, 255, photo.shape[1]).astype(np.uint8)[None].repeat(photo.shape[0], 0)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "La", "RGBa"])
def test_alpha_is_laid_over_white(mode: str, photo: Any) -> None:
    alpha = _alpha(photo)
    rgba = Image.fromarray(np.dstack([photo, alpha]))
    if mode in ("LA", "La"):
        image = Image.merge("LA", [Image.fromarray(photo[..., 0]), Image.fromarray(alpha)]).convert(mode)
        rgb = photo[..., :1].repeat(3, 2)
    elif mode == "PA":
        image = Image.fromarray(photo).convert("P").convert("PA")
        image.putalpha(Image.fromarray(alpha))
        rgb = np.asarray(Image.fromarray(photo).convert("P").convert("RGB"))
    else:
        image, rgb = rgba.convert(mode), photo
    found = load_image(image)
    assert np.abs(found.pixels - over_white(rgb, alpha)).max() <= (1.01 if mode in ("LA", "RGBA", "PA") else 255 / 64)
    assert found.note == ALPHA
    assert (found.pixels[:, 0] == 255).all()


def test_opaque_alpha_changes_nothing_and_is_not_noted(photo: Any) -> None:
    found = load_image(Image.fromarray(photo).convert("RGBA"))
    np.testing.assert_array_equal(found.pixels, photo)
    assert found.note is None


def test_palette_with_transparent_colours(photo: Any) -> None:
    image = Image.fromarray(photo).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    index = np.asarray(image)
    one = load_image(parts.encode(image, "PNG", transparency=5)).pixels
    many = load_image(parts.encode(image, "PNG", transparency=bytes([255, 128, 0] + [255] * 13))).pixels
    rgb = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(one, np.where((index == 5)[..., None], 255, rgb))
    np.testing.assert_array_equal(many[index == 2], np.full((int((index == 2).sum()), 3), 255))
    assert np.abs(many[index == 1] - (rgb[index == 1] * (128 / 255) + 127)).max() <= 1.01


def test_transparent_key_colour(photo: Any) -> None:
    grey = photo[..., 0]
    found = load_image(parts.encode(grey, "PNG", transparency=int(grey[0, 0])))
    np.testing.assert_array_equal(found.pixels[..., 1], np.where(grey == grey[0, 0], 255, grey))


def test_grey_and_bilevel(photo: Any) -> None:
    grey = photo[..., 1]
    np.testing.assert_array_equal(load_image(Image.fromarray(grey)).pixels, grey[..., None].repeat(3, 2))
    bits = load_image(Image.fromarray(grey > 100)).pixels
    np.testing.assert_array_equal(bits, np.where(grey > 100, 255, 0)[..., None].repeat(3, 2))


def test_cmyk_is_ink_on_white(photo: Any) -> None:
    cmyk = np.asarray(Image.fromarray(photo).convert("CMYK")).copy()
    cmyk[..., 3] = 40
    ink = cmyk.astype(float)
    expected = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    np.testing.assert_allclose(
        load_image(parts.encode(Image.fromarray(cmyk, "CMYK"), "TIFF")).pixels, expected, atol=1.5
    )
    through_jpeg = load_image(
        parts.encode(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100)
    ).pixels  # stored inverted, as Adobe does
    assert np.abs(through_jpeg - expected).mean() < 3


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "LAB"])
def test_other_colour_spaces_come_back(mode: str, photo: Any) -> None:
    image = Image.fromarray(photo)
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    found = load_image(image if mode == "LAB" else image.convert(mode)).pixels
    assert np.abs(found.astype(int) - photo).mean() < 2.5


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_sixteen_bits_are_scaled_not_cut(kind: str) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = Image.frombytes("I;16" if kind == "<u2" else "I;16B", (256, 256), levels.astype(kind).tobytes())
    expected = np.rint(levels / 257).astype(np.uint8)
    for source in (image, parts.encode(image, "TIFF")):
        found = load_image(source)
        np.testing.assert_array_equal(found.pixels, expected[..., None].repeat(3, 2))
        assert found.note == SIXTEEN
    np.testing.assert_array_equal(load_image(parts.encode(levels, "PNG")).pixels[..., 0], expected)
    np.testing.assert_array_equal(load_image(Image.fromarray(levels.astype(np.int32))).pixels[..., 0], expected)


def test_sixteen_bit_white_is_zero() -> None:
    data = parts.grey_tiff(20, 5, t258=(3, 1, 16), t262=(3, 1, 0), t279=(4, 1, 200)) + bytes(range(150))
    stored = np.frombuffer(data[200:400], "<u2").reshape(5, 20)
    np.testing.assert_array_equal(load_image(data).pixels[..., 0], np.rint((65535 - stored.astype(int)) / 257))


def test_floats_need_a_known_white(photo: Any) -> None:
    unit = (photo[..., 0] / 255).astype(np.float32)
    found = load_image(Image.fromarray(unit))
    np.testing.assert_array_equal(found.pixels[..., 0], photo[..., 0])
    assert found.note == FLOATS
    for wrong in (unit * 255, unit - 1, np.where(unit > 0.5, np.nan, unit).astype(np.float32)):
        with pytest.raises(UnsupportedError, match="8 bits"):
            load_image(Image.fromarray(wrong))
    with pytest.raises(UnsupportedError, match="8 bits"):
        load_image(Image.fromarray(np.full((4, 4), 70000, np.int32)))


def test_foreign_profile_is_converted_and_srgb_left_alone(photo: Any) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = load_image(parts.encode(None, "PNG", icc_profile=srgb))
    np.testing.assert_array_equal(same.pixels, photo)
    assert same.note is None
    other = load_image(parts.encode(None, "PNG", icc_profile=parts.other_profile()))
    assert np.abs(other.pixels.astype(int) - photo[..., [1, 0, 2]]).max() <= 2  # red and green primaries exchanged
    assert other.note == PROFILE
    np.testing.assert_array_equal(load_image(parts.encode(None, "PNG", icc_profile=b"\x00" * 200)).pixels, photo)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("gif_animated", "first frame of an animation"), ("png_animated", "first frame of an animation"),
        ("webp_of_50000_frames", "first frame of an animation"), ("tiff_of_two_pages", "first page of several"),
        ("gif", None), ("webp", None), ("tiff", None), ("png", None), ("jpeg", None),
    ],
)  # fmt: skip
def test_the_first_of_several_is_taken_and_said(kind: str, note: str | None) -> None:
    found = load_image(BYTES[kind][3]())
    assert found.note == note
    if kind in ("png_animated", "tiff_of_two_pages"):
        np.testing.assert_array_equal(found.pixels, parts.photo())


def test_smaller_decoding_of_large_jpegs() -> None:
    large = np.tile(parts.photo(), (4, 6, 1))  # 960 x 800
    data = parts.encode(large, exif=parts.exif(6))
    whole, small = load_image(data), load_image(data, max_side=300)
    assert whole.full_size is None
    assert small.full_size == (whole.width, whole.height) == (800, 960)
    assert (small.width, small.height) == (400, 480)
    means = whole.pixels.reshape(480, 2, 400, 2, 3).mean((1, 3))
    assert np.abs(means - small.pixels).mean() < 3
    assert load_image(data, max_side=960).full_size is None
    assert load_image(parts.encode(large, "PNG"), max_side=300).full_size is None
    with pytest.raises(TruncatedError):
        load_image(data[: len(data) // 2] + b"\xff\xd9", max_side=300)


def test_heif_needs_its_plug_in(monkeypatch: pytest.MonkeyPatch, photo: Any) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo)).save(buffer, quality=90)
    assert np.abs(load_image(buffer.getvalue()).pixels.astype(int) - photo).mean() < 6
    with pytest.raises(TruncatedError):
        load_image(buffer.getvalue()[:-100])
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UnsupportedError, match=r"lineament\[heif\]"):
        load_image(buffer.getvalue())


def test_decoding_leaves_pillow_as_it_was() -> None:
    before = dict(Image.OPEN)
    load_image(parts.encode())
    assert before == dict(Image.OPEN)
