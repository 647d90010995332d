"""A Pillow image that came out of another call: whether its EXIF turn is still to be applied is told by the camera's
own sides."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lineament.images import load_image


def photo(*, sides: bool) -> Image.Image:
    """A landscape JPEG whose EXIF says: turn by 270 degrees, and, with `sides`, that the camera stored 40x20."""
    exif = Image.Exif()
    exif[0x0112] = 6
    if sides:
        exif[0x8769] = {0xA002: 40, 0xA003: 20}  # whole: Pillow 10.4 writes no IFD that was only added to
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", exif=exif, quality=95)
    return Image.open(io.BytesIO(out.getvalue()))


@pytest.mark.parametrize("sides", [False, True])
def test_one_that_was_turned_is_not_turned_again(sides: bool) -> None:
    turned = load_image(photo(sides=sides).transpose(Image.Transpose.ROTATE_270))
    assert (turned.width, turned.height) == (20, 40)
    assert turned.note is not None
    assert turned.pixels[2, 10, 0] > 200, "white on top, as the camera's owner sees it"


def test_one_that_was_only_converted_is_still_to_turn_where_its_sides_say_so() -> None:
    upright = load_image(photo(sides=True).convert("RGB"))
    assert (upright.width, upright.height, upright.note) == (20, 40, None)
    assert upright.pixels[2, 10, 0] > 200
    unsure = load_image(photo(sides=False).convert("RGB"))
    assert unsure.note is not None, "nothing tells, so the note does"
