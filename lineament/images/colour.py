"""Colour conversion: any Pillow mode to 8-bit sRGB, alpha over white, 16-bit and float levels scaled, colour profiles
applied. What was done is said.

Nothing is guessed: levels whose white cannot be known are refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from lineament.errors import UnsupportedError

ALPHA, SIXTEEN, FLOATS, PROFILE = (
    "transparency laid over white",
    "16-bit levels reduced to 8",
    "float levels 0..1",
    "colour profile converted to sRGB",
)
MAX_PROFILE = 1 << 22
SAME = 2
"""A profile that moves no probe colour by more than these 8-bit levels is sRGB for our purpose, whatever it calls
itself."""

_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}
_BAD_PROFILE = (ImageCms.PyCMSError, OSError, ImportError, ValueError, TypeError)
"""What ImageCms raises for a damaged profile, or (ImportError) in a Pillow built without LittleCMS."""


def to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Return a loaded picture as an RGB one, and notes on what was done.

    Convention: 16-bit levels become round(v / 257); floats 0..1 become round(255 v); alpha is composited over white.
    Raises: UnsupportedError for levels whose white is unknown.
    """
    notes: list[str] = []
    image = _eight_bits(image, notes)
    image, alpha = _split_alpha(image)
    rgb = _to_srgb(image, notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        white = Image.new("RGB", rgb.size, (255, 255, 255))
        white.paste(rgb, mask=alpha)
        return white, [*notes, ALPHA]
    return rgb, notes


def _eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Return pictures of deep grey levels as 8-bit grey ones, any other picture as it is."""
    if not image.mode.startswith(("I", "F")):
        return image
    levels = np.asarray(image)
    inverted = (
        getattr(image, "tag_v2", {}).get(262) == 0
    )  # TIFF's WhiteIsZero, which Pillow applies to 8-bit levels only
    low, high = levels.min(), levels.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # false for NaN too
            raise UnsupportedError(
                "A float picture with levels outside 0..1: its white is unknown. Scale it to 8 bits."
            )
        notes.append(FLOATS)
        grey = np.rint((1 - levels if inverted else levels) * np.float32(255)).astype(np.uint8)
    else:
        if low < 0 or high > 65535:
            raise UnsupportedError(
                "A 32-bit picture with levels outside 0..65535: its white is unknown. Scale it to 8 bits."
            )
        white = _white(image, int(high), notes)
        wide = levels.astype(np.uint32)
        grey = (((white - wide if inverted else wide) * 510 + white) // (2 * white)).astype(
            np.uint8
        )  # round(255 v / white)
    result = Image.fromarray(grey)
    result.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    key = image.info.get("transparency")
    if isinstance(key, int):
        result.putalpha(Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8)))
    return result


def _white(image: Image.Image, high: int, notes: list[str]) -> int:
    """Return the level of white of a picture of 16-bit words: what its file says, or 65535 where its levels fit that.

    Scanners and cameras write 10, 12 or 14 bits into 16. TIFF's BitsPerSample and MaxSampleValue say so, the latter
    where it is all ones (others are the largest level used, which says nothing about white). Raises: UnsupportedError
    where nothing says it and the levels fit in 12 bits.
    """
    tags = getattr(image, "tag_v2", {})
    said = [_number(tags.get(281)), (1 << _number(tags.get(258))) - 1 if 8 < _number(tags.get(258)) <= 16 else 0]
    white = next((value for value in said if 255 < value < 65535 and value & (value + 1) == 0), 65535)
    if white < 65535:
        if high > white:
            raise UnsupportedError(
                f"A picture whose file says that {white} is white, with levels up to {high}. Scale it to 8 bits."
            )
        notes.append(f"{white.bit_length()}-bit levels reduced to 8")
        return white
    check_depth(high, notes)
    notes.append(SIXTEEN)
    return white


def check_depth(high: int, notes: list[str]) -> None:
    """Add a note, or raise, where 16-bit levels end so low that their white is likely not 65535. All black is black.

    Raises: UnsupportedError where they fit in 12 bits.
    """
    if 0 < high <= 4095:
        raise UnsupportedError(
            f"16-bit levels of which none is above {high}: fewer bits inside 16, and no tag says how many. Scale it to "
            "the whole range, or to 8 bits."
        )
    if 4095 < high <= 16383:
        notes.append(f"no level above {high} of 65535: darker than it was if its white is 14 bits")


def _number(value: Any) -> int:
    """Return a TIFF tag's first number, 0 where it has none."""
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) and 0 <= first < 1 << 32 else 0


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the picture without its alpha (L, RGB, CMYK, LAB ...) and the alpha, None where there is none."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        whole = image.convert("RGBA")
        plain = whole.convert("RGB")
        plain.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
        return plain, whole.getchannel("A")
    return image, None


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    profile = image.info.get("icc_profile")
    base = image if image.mode in ("RGB", "L", "CMYK", "LAB") else image.convert("RGB")
    transform = None
    if isinstance(profile, bytes) and _SPACES.get(profile[16:20]) == base.mode and len(profile) <= MAX_PROFILE:
        transform = _transform(profile, base.mode)
    if transform is not None:
        notes.append(PROFILE)
    elif base.mode == "LAB":
        transform = _lab()
    if transform is None:  # convert() copies even what is RGB already: 35 ms and 48 MB at 12 megapixels
        return base if base.mode == "RGB" else base.convert("RGB")
    return _apply(transform, base)


def _apply(transform: Any, image: Image.Image) -> Image.Image:
    result = Image.new("RGB", image.size)
    transform.apply(image, result)
    return result


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any | None:
    """Return what takes this profile's colours to sRGB; None where the profile is damaged, or is sRGB already."""
    import io

    try:
        transform = _build(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
    except _BAD_PROFILE:
        return None
    probes = _probes(mode)
    moved = np.asarray(_apply(transform, probes)).astype(int) - np.asarray(probes.convert("RGB"))
    return None if mode in ("RGB", "L") and int(np.abs(moved).max()) <= SAME else transform


@lru_cache(maxsize=1)
def _lab() -> Any:
    return _build(ImageCms.createProfile("LAB"), "LAB")


def _build(profile: Any, mode: str) -> Any:
    """Return the transform browsers use: relative colorimetric, with black point compensation."""
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _probes(mode: str) -> Image.Image:
    """Return a small picture with colours from the whole range of a mode."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    bands = len(mode)
    grid = np.stack(np.meshgrid(*[steps] * bands, indexing="ij"), axis=-1).reshape(1, -1, bands)
    return Image.frombytes(mode, (grid.shape[1], 1), grid.tobytes())
