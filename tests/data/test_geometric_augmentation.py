"""The face turned, scaled and shifted: points and regions go where the pixels go, in the aligned crop's own
geometry."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lineament.config import AugmentConfig  # noqa: E402
from lineament.data.transforms import Frame, augment, crop, mirror, warp  # noqa: E402

SIZES = ((235, 192), (112, 112), (96, 80))
turns, scales, shares = st.floats(-25, 25), st.floats(0.8, 1.25), st.floats(-0.08, 0.08)


def blob(size: tuple[int, int], points: torch.Tensor, wide: float = 0.03) -> torch.Tensor:
    """Return one channel per point (1,L,h,w): a soft spot around it, round in shares of the frame."""
    y, x = ((torch.arange(n) + 0.5) / n for n in size)
    away = (x.view(1, 1, -1) - points[:, 0].view(-1, 1, 1)) ** 2 + (y.view(1, -1, 1) - points[:, 1].view(-1, 1, 1)) ** 2
    return torch.exp(-away / (2 * wide**2)).unsqueeze(0)


def centroid(spots: torch.Tensor) -> np.ndarray:
    """Return the middle of mass of each channel (L,2) in 0..1 of the frame."""
    spots = spots[0].double()
    h, w = spots.shape[1:]
    mass = spots.sum((1, 2))
    x = (spots.sum(1) * (torch.arange(w) + 0.5) / w).sum(1) / mass
    y = (spots.sum(2) * (torch.arange(h) + 0.5) / h).sum(1) / mass
    return torch.stack([x, y], 1).numpy()


@settings(max_examples=25)
@given(st.sampled_from(SIZES), turns, scales, shares, shares)
def test_points_and_regions_go_where_the_pixels_go(
    size: tuple[int, int], turn: float, scale: float, right: float, down: float
) -> None:
    points = torch.tensor([[0.4, 0.42], [0.6, 0.45], [0.5, 0.6]])
    frame = Frame(255 * blob(size, points), blob((size[0] // 2, size[1] // 2), points), points.unsqueeze(0))
    window = (int(size[0] * 0.9), int(size[1] * 0.9))
    middle = torch.tensor([[size[1] * (0.5 - right), size[0] * (0.5 - down)]])
    out = warp(frame, window, middle, torch.tensor([turn]), torch.tensor([scale]))
    pixel = 1 / np.array(window[::-1])
    assert out.x.shape[-2:] == window
    np.testing.assert_allclose(centroid(out.x), out.landmarks[0].numpy(), atol=0.35 * pixel.max())
    np.testing.assert_allclose(centroid(out.region), out.landmarks[0].numpy(), atol=0.7 * pixel.max())


@given(st.sampled_from(SIZES), turns, scales)
def test_a_face_is_turned_and_scaled_in_its_own_crop(size: tuple[int, int], turn: float, scale: float) -> None:
    """By hand, in pixels of the 178x218 crop about its middle: clockwise as seen, then times the scale, whatever shape
    the network's input has."""
    points = torch.rand(1, 5, 2)
    frame = Frame(torch.zeros(1, 1, *size), None, points)
    out = warp(frame, size, torch.tensor([[size[1] / 2, size[0] / 2]]), torch.tensor([turn]), torch.tensor([scale]))
    angle = np.deg2rad(turn)
    clockwise = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # y points down
    crop_pixels = (points[0].double().numpy() - 0.5) * [178, 218]
    expected = scale * crop_pixels @ clockwise.T / [178, 218] + 0.5
    np.testing.assert_allclose(out.landmarks[0].numpy(), expected, atol=1e-4)


def test_a_quarter_turn_clockwise_puts_what_was_right_below() -> None:
    size = (218, 178)
    frame = Frame(torch.zeros(1, 1, *size), None, torch.tensor([[[0.8, 0.5]]]))
    out = warp(frame, size, torch.tensor([[89.0, 109.0]]), torch.tensor([90.0]), torch.tensor([1.0]))
    x, y = out.landmarks[0, 0].tolist()
    assert x == pytest.approx(0.5, abs=1e-5)
    assert y > 0.5


def test_a_window_that_is_neither_turned_nor_scaled_is_a_crop() -> None:
    gen = torch.Generator().manual_seed(0)
    frame = Frame(
        torch.rand(2, 3, 24, 20, generator=gen) * 255,
        torch.rand(2, 2, 12, 10, generator=gen),
        torch.rand(2, 5, 2, generator=gen),
    )
    top, left, none = torch.tensor([3, 0]), torch.tensor([1, 4]), torch.zeros(2)
    cut = crop(frame, (16, 12), top, left)
    seen = warp(frame, (16, 12), torch.stack([left + 6.0, top + 8.0], 1), none, none + 1)
    torch.testing.assert_close(seen.x, cut.x, atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.region, cut.region)
    torch.testing.assert_close(seen.landmarks, cut.landmarks)


def test_a_mirror_of_a_turn_is_the_other_turn_of_the_mirror() -> None:
    gen = torch.Generator().manual_seed(0)
    frame = Frame(
        torch.rand(2, 3, 24, 20, generator=gen) * 255,
        torch.rand(2, 2, 12, 10, generator=gen),
        torch.rand(2, 68, 2, generator=gen),
    )
    both, middle, turn, same = (
        torch.tensor([True, True]),
        torch.tensor([[10.0, 12.0]] * 2),
        torch.tensor([10.0, -20.0]),
        torch.ones(2),
    )
    one, other = (
        mirror(warp(frame, (24, 20), middle, turn, same), both),
        warp(mirror(frame, both), (24, 20), middle, -turn, same),
    )
    torch.testing.assert_close(one.x, other.x, atol=1e-2, rtol=0)
    torch.testing.assert_close(one.region, other.region, atol=1e-4, rtol=0)
    torch.testing.assert_close(one.landmarks, other.landmarks)


def test_each_switch_moves_the_face_within_what_it_says_and_no_other_way() -> None:
    points = torch.tensor([[[0.4, 0.45], [0.6, 0.45], [0.5, 0.65]]]).expand(300, -1, -1)
    frame = Frame(torch.zeros(300, 1, 109, 89), None, points)
    plain = {"crop": None, "flip": False, "brightness": 0.0}
    crop_pixels = np.array([178, 218])
    before = points[0, 1].numpy() * crop_pixels - points[0, 0].numpy() * crop_pixels
    for name, most in (("turn", 8.0), ("scale", 0.2), ("shift", 0.05)):
        out = augment(frame, AugmentConfig(**plain | {name: most}), torch.Generator().manual_seed(0)).landmarks.numpy()
        between = (out[:, 1] - out[:, 0]) * crop_pixels
        turned = np.rad2deg(np.arctan2(between[:, 1], between[:, 0]))
        size = np.linalg.norm(between, axis=1) / np.linalg.norm(before)
        moved = out.mean(1) - points[0].mean(0).numpy()
        if name == "turn":
            assert 0.9 * most < np.abs(turned).max() <= most + 1e-3
            np.testing.assert_allclose(size, 1, atol=1e-4)
        elif name == "scale":
            assert 1 / 1.2 - 1e-4 <= size.min() < 0.87
            assert 1.15 < size.max() <= 1.2 + 1e-4
            np.testing.assert_allclose(turned, 0, atol=1e-3)
        else:
            assert 0.9 * most < np.abs(moved).max() <= most + 1e-5
            np.testing.assert_allclose(size, 1, atol=1e-4)


def test_unknown_points_stay_unknown_and_light_stays() -> None:
    frame = Frame(torch.full((2, 3, 24, 20), 50.0), None, torch.full((2, 5, 2), float("nan")))
    out = augment(
        frame,
        AugmentConfig(crop=(16, 12), brightness=0.0, turn=10, scale=0.2, shift=0.1),
        torch.Generator().manual_seed(1),
    )
    assert torch.isnan(out.landmarks).all()
    torch.testing.assert_close(out.x, torch.full((2, 3, 16, 12), 50.0), atol=1e-3, rtol=0)


def test_a_resumed_run_repeats_it_and_another_seed_does_not() -> None:
    settings_ = AugmentConfig(crop=(16, 12), turn=10, scale=0.2, shift=0.1, cut=0.5, resolution=0.5, jpeg=0.5)
    frame = Frame(torch.rand(4, 3, 24, 20, generator=torch.Generator().manual_seed(1)) * 255)
    once, again, other = (augment(frame, settings_, torch.Generator().manual_seed(seed)).x for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
