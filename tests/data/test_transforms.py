"""Augmentation against NumPy oracles: image, regions and points move together; a mirror swaps left and right, twice is
identity."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.config import AugmentConfig  # noqa: E402
from lineament.data.mirror import MIRROR  # noqa: E402
from lineament.data.regions import _INDEX  # noqa: E402
from lineament.data.transforms import Frame, augment, crop, mirror  # noqa: E402


def _frame(n: int = 4, h: int = 24, w: int = 20, points: int = 5) -> Frame:
    gen = torch.Generator().manual_seed(1)
    return Frame(
        torch.rand(n, 3, h, w, generator=gen) * 255,
        torch.rand(n, 2, h // 2, w // 2, generator=gen),
        torch.rand(n, points, 2, generator=gen),
    )


@pytest.mark.parametrize("pairs", MIRROR.values(), ids=map(str, MIRROR))
def test_mirror_tables_are_involutions(pairs: tuple[int, ...]) -> None:
    assert [pairs[i] for i in pairs] == list(range(len(pairs)))


@pytest.mark.parametrize("points", [68, 98, 468])
def test_mirror_tables_agree_with_the_parts_that_regions_are_drawn_from(points: int) -> None:
    """Regions name points by what they are, and were written down apart from these tables: brows and eyes change sides,
    the rest turns round."""
    index, pairs = {part: list(points) for part, points in _INDEX[points].items()}, MIRROR[points]
    for right, left in (("brow_right", "brow_left"), ("eye_right", "eye_left")):
        assert {pairs[i] for i in index[right]} == set(index[left])
    assert [pairs[i] for i in index["contour"]] == index["contour"][::-1]
    assert [pairs[i] for i in index["base"]] == index["base"][::-1]
    assert [pairs[i] for i in index["bridge"]] == index["bridge"]
    lips = index["lips"]
    assert (pairs[lips[0]], {pairs[i] for i in lips}) == (lips[len(lips) // 2], set(lips))


@pytest.mark.parametrize("points", sorted(MIRROR))
def test_mirror_twice_is_identity(points: int) -> None:
    frame, chosen = _frame(points=points), torch.tensor([True, False, True, True])
    twice = mirror(mirror(frame, chosen), chosen)
    assert torch.equal(twice.x, frame.x)
    assert torch.equal(twice.region, frame.region)
    torch.testing.assert_close(twice.landmarks, frame.landmarks)


def test_mirror_is_numpys_flip_and_swaps_the_eyes() -> None:
    frame = _frame()
    out = mirror(frame, torch.tensor([True, False, False, False]))
    np.testing.assert_array_equal(out.x[0].numpy(), frame.x[0].numpy()[..., ::-1])
    np.testing.assert_array_equal(out.x[1].numpy(), frame.x[1].numpy())
    right, left = frame.landmarks[0, 0], out.landmarks[0, 1]  # the right eye is now where a left eye is
    torch.testing.assert_close(left, torch.stack([1 - right[0], right[1]]))


def test_crop_is_a_slice_and_points_follow_the_pixels() -> None:
    frame = _frame(n=2)
    top, left = torch.tensor([3, 0]), torch.tensor([1, 4])
    out = crop(frame, (16, 12), top, left)
    for i, (t, s) in enumerate(((3, 1), (0, 4))):
        np.testing.assert_array_equal(out.x[i].numpy(), frame.x[i].numpy()[:, t : t + 16, s : s + 12])
        pixels = frame.landmarks[i].numpy() * [20, 24] - [s, t]
        np.testing.assert_allclose(out.landmarks[i].numpy() * [12, 16], pixels, atol=1e-4)


def test_regions_are_resampled_to_the_same_window() -> None:
    # A region that is a ramp of the frame's x stays the ramp of the pixels it is cut with.
    ramp = (torch.arange(40) + 0.5).expand(1, 1, 48, 40) / 40
    x = (torch.arange(40) + 0.5).expand(1, 3, 48, 40) / 40
    out = crop(Frame(x.clone(), ramp.clone()), (24, 20), torch.tensor([10]), torch.tensor([6]))
    resampled = torch.nn.functional.interpolate(out.region, (24, 20), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resampled[0, 0, :, 2:-2].numpy(), out.x[0, 0, :, 2:-2].numpy(), atol=1e-4)


def test_the_same_generator_gives_the_same_batch_and_another_does_not() -> None:
    settings = AugmentConfig(crop=(16, 12), brightness=0.2, contrast=0.1, erase=0.5)
    once, again, other = (augment(_frame(), settings, torch.Generator().manual_seed(seed)).x for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_nothing_switched_on_changes_nothing() -> None:
    frame = _frame()
    out = augment(frame, AugmentConfig(crop=None, flip=False, brightness=0.0), torch.Generator())
    assert torch.equal(out.x, frame.x)


def test_brightness_stays_within_its_spread() -> None:
    frame = Frame(torch.full((200, 3, 4, 4), 100.0))
    out = augment(frame, AugmentConfig(crop=None, flip=False, brightness=0.2), torch.Generator().manual_seed(0)).x[
        :, 0, 0, 0
    ]
    assert 80 <= float(out.min()) < 85
    assert 115 < float(out.max()) <= 120
