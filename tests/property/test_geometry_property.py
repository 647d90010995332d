"""geometry: what must hold for every face anywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lineament.geometry import TEMPLATE, align, invert, mirror_points, transform_points, umeyama

angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 40)
shifts = st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000))
seeds = st.integers(0, 2**32 - 1)


def similarity(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, shift])


@given(angles, scales, shifts)
def test_umeyama_finds_the_similarity_it_was_made_with(angle: float, scale: float, shift: tuple[float, float]) -> None:
    truth = similarity(angle, scale, shift)
    np.testing.assert_allclose(umeyama(TEMPLATE, transform_points(truth, TEMPLATE)), truth, rtol=1e-6, atol=1e-6)


@given(seeds, st.floats(0.1, 30), st.floats(0, 3000))
def test_inverse_of_align_recovers_points(seed: int, scale: float, shift: float) -> None:
    """To a hundredth of a pixel, through the float32 matrix that Crops keeps, in photos of any size."""
    rng = np.random.default_rng(seed)
    points = (TEMPLATE + rng.normal(0, 4, (5, 2))) * scale + shift
    pixels = np.broadcast_to(np.uint8(7), (9000, 9000, 3))
    crops = align(pixels, points[None])
    inside = transform_points(crops.crop_from_image, points[None])
    np.testing.assert_allclose(transform_points(invert(crops.crop_from_image), inside)[0], points, atol=0.01)
    np.testing.assert_allclose(inside[0], transform_points(umeyama(points, TEMPLATE), points), atol=0.01)


@given(seeds, st.floats(1, 5000))
def test_mirror_twice_is_identity(seed: int, width: float) -> None:
    points = np.random.default_rng(seed).uniform(0, width, (3, 5, 2))
    np.testing.assert_allclose(mirror_points(mirror_points(points, width), width), points, atol=1e-9)


@given(seeds, st.integers(0, 200), st.integers(0, 200))
def test_a_shifted_photo_gives_the_same_crop(seed: int, right: int, down: int) -> None:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (260, 230, 3), np.uint8)
    framed = np.pad(photo, ((down, 3), (right, 3), (0, 0)), mode="edge")
    points = np.round((TEMPLATE + rng.normal(0, 1, (5, 2)) + 20) * 64) / 64
    there = align(photo, points[None]).pixels.astype(int)
    assert np.abs(align(framed, (points + np.array((right, down)))[None]).pixels - there).max() <= 1


@given(seeds)
def test_a_mirrored_photo_gives_the_mirrored_crop_with_a_symmetric_layout(seed: int) -> None:
    """Points are exact mirrors; the crop is, but for the layout's own asymmetry of half a pixel: compared on a smooth
    photo."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 200, (8, 8, 3)).astype(np.float64)
    photo = np.kron(small, np.ones((32, 32, 1)))
    for axis in (0, 1):
        photo = sum(np.roll(photo, k, axis) for k in range(-16, 17)) / 33
    pixels = photo.round().astype(np.uint8)
    points = TEMPLATE + np.array([40.0, 20.0])
    crop = align(pixels, points[None]).pixels[0].astype(float)
    mirrored = align(np.ascontiguousarray(pixels[:, ::-1]), mirror_points(points, 256)[None]).pixels[0].astype(float)
    assert np.abs(mirrored[:, :, ::-1] - crop)[:, 20:200, 20:160].mean() < 3
