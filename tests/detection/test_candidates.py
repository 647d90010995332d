"""What a detector's raw output becomes: anchors, decoding, suppression and merging, against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lineament.detection import candidates
from lineament.detection.candidates import (
    Candidates,
    Scaled,
    anchors,
    decode,
    distinct,
    iou_matrix,
    merge,
    nms,
    shrunk,
    to_faces,
    unturn,
)

POINTS = np.array([[202.8, 99.5], [246.4, 102.0], [222.6, 128.8], [201.6, 139.7], [245.9, 141.8]])


"""The portrait's five points: value of `RetinaFace().detect(skimage.data.astronaut())`, ONNX Runtime 1.31; seen to sit
right on the picture."""


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160), (96, 32)])
def test_anchors_stand_where_the_paper_puts_them(height: int, width: int) -> None:
    expected = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(height // stride):
            for column in range(width // stride):
                for size in sizes:
                    expected.append([(column + 0.5) * stride, (row + 0.5) * stride, size, size])
    np.testing.assert_array_equal(anchors(height, width), np.array(expected, np.float32))


def test_anchors_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        anchors(32, 32)[0, 0] = 5


def test_decode_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    boxes, points = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(20, 10)).astype(np.float32)
    priors = anchors(64, 64)[:20]
    got_boxes, got_points = decode(boxes, points, priors)
    for i in range(20):
        cx, cy, w, h = (float(v) for v in priors[i])
        x, y = cx + boxes[i, 0] * 0.1 * w, cy + boxes[i, 1] * 0.1 * h
        dw, dh = w * np.exp(boxes[i, 2] * 0.2), h * np.exp(boxes[i, 3] * 0.2)
        np.testing.assert_allclose(got_boxes[i], [x - dw / 2, y - dh / 2, x + dw / 2, y + dh / 2], rtol=1e-4, atol=1e-3)
        for k in range(5):
            expected = [cx + points[i, 2 * k] * 0.1 * w, cy + points[i, 2 * k + 1] * 0.1 * h]
            np.testing.assert_allclose(got_points[i, k], expected, rtol=1e-4, atol=1e-3)


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def slow_nms(boxes: np.ndarray, probs: np.ndarray, limit: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(probs)), key=lambda i: (-probs[i], i)):
        if all(slow_iou(boxes[i], boxes[j]) <= limit for j in kept):
            kept.append(i)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_suppression_is_greedy(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 40, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 30, (count, 2))], 1).astype(np.float64)
    probs = rng.integers(0, 10, count) / 10  # ties on purpose
    assert nms(boxes, probs, 0.4).tolist() == slow_nms(boxes, probs, 0.4)


@pytest.mark.parametrize("seed", range(6))
def test_suppression_of_a_crowd_is_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many finds for one matrix of overlaps: a row at a time, the most probable first all the same."""
    monkeypatch.setattr(candidates, "FEW", 5)
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 40, (30, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 30, (30, 2))], 1).astype(np.float64)
    probs = rng.integers(0, 10, 30) / 10
    assert nms(boxes, probs, 0.4).tolist() == slow_nms(boxes, probs, 0.4)


def test_iou_of_empty_boxes_is_zero() -> None:
    assert iou_matrix(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)).tolist() == [[0.0]]


def test_merging_passes_keeps_each_face_once() -> None:
    one = Candidates(np.array([[0, 0, 10, 10.0]]), np.array([0.7]), np.zeros((1, 5, 2)))
    other = Candidates(np.array([[0, 0, 10, 11.0], [50, 50, 60, 60]]), np.array([0.9, 0.8]), np.ones((2, 5, 2)))
    merged = merge([one, other], 0.4)
    assert merged.probs.tolist() == [0.9, 0.8]


def test_finds_that_turn_out_to_be_one_face_are_one() -> None:
    face = POINTS
    points = np.stack([face + 3, face + 200, face, face + np.array([20.0, 0.0])])
    assert distinct(points, np.array([0.7, 0.8, 0.9, 0.6])).tolist() == [1, 2, 3]
    assert distinct(points[:0], np.zeros(0)).tolist() == []


@pytest.mark.parametrize(("apart", "faces"), [(0.31, 1), (0.39, 1), (0.41, 2)])
def test_one_face_reaches_to_four_tenths_of_its_eye_distance(apart: float, faces: int) -> None:
    step = np.array([apart * float(np.linalg.norm(POINTS[1] - POINTS[0])), 0.0])
    assert len(distinct(np.stack([POINTS, POINTS + step]), np.array([0.9, 0.8]))) == faces


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_turning_back_undoes_rot90(turns: int) -> None:
    """A pixel's value stays under its centre: the picture itself is the oracle."""
    view = np.arange(5 * 7).reshape(5, 7)
    turned = np.rot90(view, turns)
    rows, columns = np.mgrid[0 : turned.shape[0], 0 : turned.shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], -1)
    corners = np.concatenate([centres - 0.5, centres + 0.5], 1)
    back = unturn(Candidates(corners, np.ones(35), np.repeat(centres[:, None], 5, 1)), turns, (5, 7))
    x, y = back.points[:, 0].T
    np.testing.assert_array_equal(view[y.astype(int), x.astype(int)], turned.ravel())
    np.testing.assert_allclose(back.boxes, np.concatenate([back.points[:, 0] - 0.5, back.points[:, 0] + 0.5], 1))


def test_faces_are_clipped_sorted_and_of_a_size() -> None:
    boxes = np.array([[10, 10, 20, 20], [-10, -10, 40, 30], [95, 40, 130, 60], [1, 1, 5, 6]], np.float32)
    faces = to_faces(Candidates(boxes, np.full(4, 0.9), np.zeros((4, 5, 2))), (50, 100), min_face=8)
    assert faces.boxes_xyxy.tolist() == [[0, 0, 40, 30], [10, 10, 20, 20]]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_points_outside_their_box_do_not_move_it(turns: int) -> None:
    found = Candidates(
        np.array([[3.0, 4, 8, 6]]), np.ones(1), np.array([[[-9.0, -9], [40, -9], [40, 40], [-9, 40], [5, 5]]])
    )
    box = unturn(found, turns, (20, 30)).boxes[0]
    assert sorted((box[2:] - box[:2]).tolist()) == [2, 5]
    assert (box >= 0).all()
    assert (box <= [30, 20, 30, 20]).all()


def test_shrinking_keeps_the_shape_of_a_photo() -> None:
    wide, high = np.zeros((40, 200, 3), np.uint8), np.zeros((200, 40, 3), np.uint8)
    assert (shrunk(wide, 100).shape, shrunk(high, 100).shape) == ((20, 100, 3), (100, 20, 3))
    assert shrunk(wide, 300) is wide
    assert Scaled(high).shape == (200, 40)


@pytest.mark.parametrize(("side", "gap"), [(1279, 2.0), (1280, 1.5)])
def test_views_from_1280_are_resized_with_less_care(side: int, gap: float) -> None:
    view = np.random.default_rng(0).integers(0, 256, (3 * side, 24, 3), np.uint8)
    picture = Image.fromarray(view)
    expected, other = (
        np.asarray(picture.resize((8, side), Image.Resampling.BILINEAR, reducing_gap=one)) for one in (gap, 3.5 - gap)
    )
    np.testing.assert_array_equal(Scaled(view).at(side, 8), expected)
    assert (expected != other).any(), "the two ways differ on this picture"


def test_small_sizes_of_a_view_are_made_once() -> None:
    view = Scaled(np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8))
    assert view.at(180, 320) is view.at(180, 320)
    assert view.at(720, 1280) is not view.at(720, 1280), "large ones would fill the memory"
    np.testing.assert_array_equal(view.at(180, 320), Scaled(view.view).at(180, 320))
