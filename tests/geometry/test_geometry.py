"""geometry: against slow NumPy oracles written from the convention (pixel centres at +0.5), not from the code."""

from __future__ import annotations

import numpy as np
import pytest

from lineament.errors import UsageError
from lineament.geometry import (
    CROP_SIZE,
    TEMPLATE,
    align,
    invert,
    keypoints_from_boxes,
    mirror_points,
    transform_points,
    umeyama,
    warp,
)
from lineament.types import Float64


def svd_umeyama(src: Float64, dst: Float64) -> Float64:
    """Umeyama's paper, equation by equation, for one pair of point sets."""
    mean_src, mean_dst = src.mean(0), dst.mean(0)
    covariance = (dst - mean_dst).T @ (src - mean_src) / len(src)
    u, d, vt = np.linalg.svd(covariance)
    s = np.diag([1.0, 1.0 if np.linalg.det(covariance) >= 0 else -1.0])
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / ((src - mean_src) ** 2).sum(1).mean()
    return np.column_stack([scale * rotation, mean_dst - scale * rotation @ mean_src])


def slow_bilinear(image: Float64, image_from_crop: Float64, size: tuple[int, int]) -> Float64:
    """Read the image at the crop's pixel centres, one at a time; edge pixels repeat outside."""
    out = np.zeros((*size, 3))
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = image_from_crop @ (column + 0.5, row + 0.5, 1.0) - 0.5
            left, top = int(np.floor(x)), int(np.floor(y))
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
                    at = np.clip(top + dy, 0, image.shape[0] - 1), np.clip(left + dx, 0, image.shape[1] - 1)
                    out[row, column] += weight * image[at]
    return out


def test_umeyama_is_umeyamas() -> None:
    rng = np.random.default_rng(0)
    src, dst = rng.normal(size=(50, 5, 2)), rng.normal(size=(50, 5, 2)) * 30
    expected = np.stack([svd_umeyama(a, b) for a, b in zip(src, dst, strict=True)])
    np.testing.assert_allclose(umeyama(src, dst), expected, atol=1e-9)


def test_umeyama_never_reflects() -> None:
    mirrored = TEMPLATE * [-1, 1]
    assert np.linalg.det(umeyama(TEMPLATE, mirrored)[:, :2]) > 0


@pytest.mark.parametrize("points", [np.full((1, 5, 2), 7.0), np.full((1, 5, 2), np.nan), np.full((1, 5, 2), np.inf)])
def test_points_without_a_similarity_are_refused(points: Float64) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(UsageError, match="coincide"):
        umeyama(points, TEMPLATE)


@pytest.mark.parametrize("angle", [0.0, 0.3, 2.5])
@pytest.mark.parametrize("scale", [0.8, 1.0, 3.7])
def test_warp_reads_where_the_convention_says(angle: float, scale: float) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    crop_from_image = np.column_stack([linear, np.array([12.0, 15.0]) - linear @ (30.0, 20.0)])
    size = (30, 24)
    expected = slow_bilinear(image.astype(np.float64), invert(crop_from_image), size)
    assert np.abs(warp(image, crop_from_image, size) - expected).max() <= 0.51


def test_a_truncated_warp_is_a_rounded_one_less_at_most_a_level() -> None:
    photo = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
    matrix = np.array([[0.9, 0.3, 4.0], [-0.3, 0.9, 20.0]])
    exact, quick = (warp(photo, matrix, (60, 70), rounded=rounded).astype(int) for rounded in (True, False))
    assert set(np.unique(exact - quick)) == {0, 1}
    assert 0.4 < (exact - quick).mean() < 0.6


def test_a_shrinking_warp_does_not_alias() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    crop_from_image = np.array([[0.17, 0.0, 0.0], [0.0, 0.17, 0.0]])
    grey = warp(stripes, crop_from_image, (160, 160)).astype(np.float64)
    naive = slow_bilinear(stripes.astype(np.float64), invert(crop_from_image), (20, 160))
    assert naive.std() > 20, "the pattern would show, were it not filtered"
    assert grey.std() < 2
    assert abs(grey.mean() - 127.5) < 2


def test_shrinking_keeps_position_and_brightness() -> None:
    y, x = np.mgrid[0:800, 0:600] + 0.5
    ramp = np.stack([x / 600 * 255, y / 800 * 255, np.full_like(x, 80.0)], -1).round().astype(np.uint8)
    crop_from_image = np.array([[0.21, 0.02, 3.0], [-0.02, 0.21, 20.0]])
    crop = warp(ramp, crop_from_image, (120, 100)).astype(np.float64)
    columns, rows = np.meshgrid(np.arange(100) + 0.5, np.arange(120) + 0.5)
    points = transform_points(invert(crop_from_image), np.stack([columns, rows], -1).reshape(-1, 2)).reshape(
        120, 100, 2
    )
    inside = ((points > 20) & (points < (580, 780))).all(-1)
    assert inside.sum() > 5000
    assert np.abs(crop[..., 0] - points[..., 0] / 600 * 255)[inside].max() < 1.2
    assert np.abs(crop[..., 1] - points[..., 1] / 800 * 255)[inside].max() < 1.2


def test_an_aligned_image_stays_as_it_is() -> None:
    image = np.random.default_rng(2).integers(0, 256, (*CROP_SIZE, 3), np.uint8)
    crops = align(image, TEMPLATE[None])
    np.testing.assert_array_equal(crops.pixels[0].transpose(1, 2, 0), image)


def test_edges_are_repeated_outside_the_photo() -> None:
    image = np.zeros((218, 178, 3), np.uint8)
    image[:, -1] = (200, 100, 50)
    crop = align(image, (TEMPLATE + np.array([120, 0]))[None]).pixels[0]
    np.testing.assert_array_equal(crop[:, 100, 70:], np.array([[200], [100], [50]]) * np.ones(108, int))


def test_only_the_face_is_read() -> None:
    """A photo of 10 gigapixels that exists only as a view: copying it would need 30 GB."""
    endless = np.broadcast_to(np.uint8([[[10, 20, 30]]]), (100_000, 100_000, 3))
    crop = align(endless, (TEMPLATE * 4 + 50_000)[None]).pixels[0]
    np.testing.assert_array_equal(crop.reshape(3, -1).max(1), [10, 20, 30])


def test_no_faces_give_no_crops() -> None:
    crops = align(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 5, 2), np.float32))
    assert crops.pixels.shape == (0, 3, 218, 178)


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (0, 10, 3)])
def test_other_pixels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"uint8 \(H,W,3\)"):
        align(np.zeros(shape, np.uint8), TEMPLATE[None])


def test_floats_and_odd_points_are_refused() -> None:
    with pytest.raises(UsageError, match="float64"):
        align(np.zeros((9, 9, 3)), TEMPLATE[None])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="shape"):
        align(np.zeros((9, 9, 3), np.uint8), TEMPLATE)


def test_a_face_outside_the_photo_is_refused() -> None:
    with pytest.raises(UsageError, match="outside the photo"):
        align(np.zeros((100, 100, 3), np.uint8), (TEMPLATE + 1e6)[None])


def test_a_crop_does_not_depend_on_its_neighbours() -> None:
    image = np.random.default_rng(3).integers(0, 256, (400, 500, 3), np.uint8)
    points = np.stack([TEMPLATE * 0.7 + 30, TEMPLATE * 1.3 + 60, TEMPLATE * 2.6 - 90])
    together = align(image, points).pixels
    for index in range(3):
        np.testing.assert_array_equal(align(image, points[index : index + 1]).pixels[0], together[index])


def test_keypoints_from_boxes_scale_with_the_box() -> None:
    points = keypoints_from_boxes(np.array([[0, 0, 100, 100], [10, 20, 210, 320]]))
    np.testing.assert_allclose(points[1], points[0] * [2, 3] + [10, 20], rtol=1e-5)
    assert points[0, 0, 0] < points[0, 1, 0]
    assert points[0, 0, 1] < points[0, 2, 1] < points[0, 3, 1]


def test_mirror_swaps_left_and_right() -> None:
    mirrored = mirror_points(TEMPLATE, 178)
    assert mirrored[0, 0] < mirrored[1, 0], "the right eye stays on the picture's left"
    np.testing.assert_allclose(mirrored[0], [178 - TEMPLATE[1, 0], TEMPLATE[1, 1]])
