"""quality: angles against projections of known angle, sharpness against known blur."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from lineament.geometry import TEMPLATE, align, mirror_points
from lineament.pipeline.quality import FACE_3D, eye_distances, head_angles, measure, sharpness
from lineament.types import Crops, Faces


def project(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Turn the mean face by hand, as its docstring says, and look at it from far away: points (1,5,2)."""
    y, p, r = np.radians([yaw, pitch, roll])
    face = FACE_3D
    up = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    left = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    lean = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (face @ up.T @ left.T @ lean.T)[None, :, :2]


@given(st.floats(-75, 75), st.floats(-60, 60), st.floats(-175, 175), st.floats(2, 500), st.floats(-100, 4000))
def test_known_angles_come_back(yaw: float, pitch: float, roll: float, scale: float, shift: float) -> None:
    np.testing.assert_allclose(head_angles(project(yaw, pitch, roll) * scale + shift)[0], [yaw, pitch, roll], atol=1e-4)


def test_signs_mean_what_they_say() -> None:
    straight = TEMPLATE[None].astype(np.float64)
    assert np.abs(head_angles(straight)).max() < 2

    def moved(part: int, x: float, y: float) -> np.ndarray:
        points = straight.copy()
        points[0, part] += (x, y)
        return head_angles(points)[0]

    assert moved(2, 8, 0)[0] > 5, "nose to the picture's right: the subject turns to their own left"
    assert moved(2, 0, -8)[1] > 5, "nose up: looks up"
    assert moved(1, 0, 8)[2] > 2, "left eye lower: leans towards the left shoulder"


@given(st.integers(0, 2**32 - 1))
def test_a_mirror_turns_yaw_and_roll_around(seed: int) -> None:
    points = TEMPLATE[None] + np.random.default_rng(seed).normal(0, 3, (1, 5, 2))
    yaw, pitch, roll = head_angles(points)[0]
    np.testing.assert_allclose(head_angles(mirror_points(points, 178))[0], [-yaw, pitch, -roll], atol=1e-6)


def test_eye_distance_is_in_pixels_of_the_photo() -> None:
    points = np.array([[[10, 10], [13, 14], [0, 0], [0, 0], [0, 0]]])
    assert eye_distances(points).tolist() == [5.0]


def as_crop(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


def test_blur_lowers_sharpness(astronaut: np.ndarray) -> None:
    points = np.array([[203, 99.5], [246.5, 102], [222.5, 129], [201.5, 139.5], [246, 141.5]])
    picture = Image.fromarray(align(astronaut, points[None]).pixels[0].transpose(1, 2, 0))
    values = [
        sharpness(as_crop(picture.filter(ImageFilter.GaussianBlur(sigma)))) for sigma in (0, 0.5, 1, 1.5, 2, 3, 5)
    ]
    assert all(later < earlier for earlier, later in pairwise(values))
    assert values[0] > 0.5
    assert values[-1] < 0.1


@given(st.integers(0, 2**32 - 1), st.floats(0.6, 3), st.floats(0.6, 3))
def test_blur_lowers_sharpness_of_anything(seed: int, first: float, more: float) -> None:
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (218, 178, 3), np.uint8)).filter(
        ImageFilter.GaussianBlur(0.7)
    )
    once = noise.filter(ImageFilter.GaussianBlur(first))
    twice = once.filter(ImageFilter.GaussianBlur(more))
    assert sharpness(as_crop(once)) < sharpness(as_crop(noise))
    assert sharpness(as_crop(twice)) < sharpness(as_crop(once)) + 0.01, (
        "0.01: what is left after such blur is mostly rounding"
    )


def test_contrast_does_not_matter_much(astronaut: np.ndarray) -> None:
    picture = astronaut[:218, 140:318].astype(np.float64)
    full, half = (
        sharpness((40 + picture * factor).round().astype(np.uint8).transpose(2, 0, 1)) for factor in (0.8, 0.4)
    )
    assert half == pytest.approx(full, abs=0.05)


def test_flat_and_noise_are_the_ends() -> None:
    assert sharpness(np.full((3, 218, 178), 90, np.uint8)) == 0.0
    noise = np.random.default_rng(0).integers(0, 256, (3, 218, 178), np.uint8)
    assert sharpness(noise) == pytest.approx(3 / 3.5, abs=0.01), "second differences of noise: 1 + 4 + 1, first: 1 + 1"


@pytest.mark.parametrize("axis", [0, 1])
def test_motion_in_one_direction_counts_as_much_as_blur_in_both(astronaut: np.ndarray, axis: int) -> None:
    points = np.array([[203, 99.5], [246.5, 102], [222.5, 129], [201.5, 139.5], [246, 141.5]])
    crop = align(astronaut, points[None]).pixels[0].astype(np.float64)
    moved = np.mean([np.roll(crop, shift, axis + 1) for shift in range(-5, 6)], 0).round().astype(np.uint8)
    assert sharpness(moved) < 0.5 * sharpness(crop.astype(np.uint8))


@pytest.mark.parametrize("scale", [2, 3])
def test_more_pixels_of_the_same_photo_change_nothing(astronaut: np.ndarray, scale: int) -> None:
    points = np.array([[203, 99.5], [246.5, 102], [222.5, 129], [201.5, 139.5], [246, 141.5]])
    larger = np.asarray(Image.fromarray(astronaut).resize((512 * scale, 512 * scale), Image.Resampling.LANCZOS))
    once, again = (
        sharpness(align(photo, at[None]).pixels[0]) for photo, at in ((astronaut, points), (larger, points * scale))
    )
    assert again == pytest.approx(once, abs=0.03)


def test_measure_keeps_faces_apart() -> None:
    points = np.stack([TEMPLATE, TEMPLATE * 2]).astype(np.float32)
    faces = Faces(np.zeros((2, 4), np.float32), np.ones(2, np.float32), points)
    photo = np.random.default_rng(1).integers(0, 256, (500, 400, 3), np.uint8)
    crops = align(photo, points)
    both = measure(photo, faces, crops)
    assert both[1].eye_distance == pytest.approx(2 * both[0].eye_distance)
    one = np.array([1])
    assert measure(photo, faces.take(one), Crops(crops.pixels[1:], crops.crop_from_image[1:])) == both[1:]
    assert measure(photo, Faces.empty(), align(photo, np.zeros((0, 5, 2)))) == ()
