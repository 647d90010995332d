"""Regions: polygons against a slow point-in-polygon, the adapter across landmark sets, mirrors, parsing classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineament.data import parsing
from lineament.data.mean_face import MEAN_FACE_5, MEAN_FACE_68
from lineament.data.mirror import PAIRS_68
from lineament.data.regions import (  # fmt: skip
    GROUPS,
    complete_from_five,
    dilated_hull,
    face_parts,
    group_polygons,
    hull,
    mean_region,
    rasterize,
    region_from_landmarks,
)
from lineament.errors import DataError, UsageError

SIZE = (218, 178)
POINTS = hnp.arrays(np.float64, st.tuples(st.integers(3, 25), st.just(2)), elements=st.integers(0, 60).map(float))


def inside(polygon: np.ndarray, point: np.ndarray) -> float:
    """Signed distance to the nearest edge line of a convex polygon, positive inside."""
    a, b = polygon, np.roll(polygon, -1, 0)
    edge = b - a
    cross = edge[:, 0] * (point[1] - a[:, 1]) - edge[:, 1] * (point[0] - a[:, 0])
    return float((cross / np.linalg.norm(edge, axis=1)).min())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@given(POINTS)
def test_hull_holds_every_point_and_only_given_corners(points: np.ndarray) -> None:
    outline = hull(points)
    assert {tuple(p) for p in outline} <= {tuple(p) for p in points}
    if len(outline) > 2:
        assert min(inside(outline, p) for p in points) > -1e-6


@given(POINTS)
def test_rasterize_matches_pixel_centres(points: np.ndarray) -> None:
    outline = hull(points)
    if len(outline) < 3:
        return
    mask = rasterize([outline], (64, 64))
    for y, x in np.random.default_rng(0).integers(0, 64, (60, 2)):
        distance = inside(outline, np.array([x + 0.5, y + 0.5]))
        if abs(distance) > 1e-9:  # a centre on the border may fall either way
            assert mask[y, x] == (distance > 0)


def test_rasterize_follows_hollows() -> None:
    """An L of two boxes, and the union of two polygons that overlap."""
    corner = np.array([[0.0, 0], [4, 0], [4, 2], [2, 2], [2, 4], [0, 4]])
    assert rasterize([corner], (5, 5)).astype(int).tolist() == [[1, 1, 1, 1, 0]] * 2 + [[1, 1, 0, 0, 0]] * 2 + [[0] * 5]
    square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    assert rasterize([square, square + 1], (3, 3)).sum() == 7
    assert rasterize([square - 10], (3, 3)).sum() == 0
    assert rasterize([square * 100 - 50], (3, 3)).all()


def test_dilated_hull_grows_by_its_radius() -> None:
    square = np.array([[10.0, 10], [20, 10], [20, 20], [10, 20]])
    grown = dilated_hull(square, 3.0)
    assert grown.min() == pytest.approx(7.0)
    assert grown.max() == pytest.approx(23.0)
    assert np.array_equal(dilated_hull(square, 0.0), hull(square))


def as_98(points: np.ndarray) -> np.ndarray:
    """A 98-point face with the same shape as a 68-point one: each run of points resampled."""
    parts = face_parts(points)

    def run(line: np.ndarray, count: int) -> np.ndarray:
        at = np.linspace(0, len(line) - 1, count)
        return np.stack([np.interp(at, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], 1)

    def ring(points: np.ndarray) -> np.ndarray:  # six eye points -> eight: corners stay first and fifth
        outer, upper1, upper2, inner, lower1, lower2 = points
        return np.stack([outer, upper1, (upper1 + upper2) / 2, upper2, inner, lower1, (lower1 + lower2) / 2, lower2])

    brow = lambda points: np.concatenate([points, points[:4][::-1]])  # noqa: E731
    pieces = [
        parts.contour,
        brow(parts.brow_right),
        brow(parts.brow_left),
        parts.bridge,
        parts.base,
        ring(parts.eye_right),
        ring(parts.eye_left),
    ]
    mouth = [points[48:60], run(points[60:68], 8), parts.eye_right.mean(0)[None], parts.eye_left.mean(0)[None]]
    return np.concatenate([*pieces, *mouth])


def as_468(points: np.ndarray) -> np.ndarray:
    """A mesh whose used points lie on the same face: eyes, lips and nose by name, contour resampled, the rest far
    away."""
    from lineament.data.regions import _MESH

    parts, mesh = face_parts(points), np.full((468, 2), -1e6)
    for name, index in _MESH.items():
        line = getattr(parts, name)
        if name == "lips":
            line = points[48:60]
        closed = name in ("eye_right", "eye_left", "lips", "brow_right", "brow_left")
        line = np.concatenate([line, line[:1]]) if closed else line
        at = np.linspace(0, len(line) - 1, len(index) + closed)[: len(index)]
        mesh[list(index)] = np.stack([np.interp(at, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], 1)
    return mesh


@pytest.mark.parametrize("style", ["paper", "tight"])
@pytest.mark.parametrize("other", [as_98, as_468])
def test_one_adapter_for_all_landmark_sets(other: object, style: str) -> None:
    mine, known = region_from_landmarks(MEAN_FACE_68, SIZE, style)
    theirs, _ = region_from_landmarks(other(MEAN_FACE_68), SIZE, style)  # type: ignore[operator]
    for group, a, b, seen in zip(GROUPS, mine, theirs, known, strict=True):
        assert not seen or overlap(a, b) > 0.85, group


def test_five_points_move_the_mean_face() -> None:
    np.testing.assert_allclose(complete_from_five(MEAN_FACE_5), MEAN_FACE_68, atol=1e-6)
    moved = complete_from_five(MEAN_FACE_5 * 2 + 10)
    np.testing.assert_allclose(moved, MEAN_FACE_68 * 2 + 10, atol=1e-6)
    region, known = region_from_landmarks(MEAN_FACE_5, SIZE)
    assert known.all()
    assert region.any((1, 2)).all()


@pytest.mark.parametrize("style", ["paper", "tight"])
def test_mirrored_landmarks_give_mirrored_regions(style: str) -> None:
    rng = np.random.default_rng(3)
    points = MEAN_FACE_68 + rng.normal(0, 2, (68, 2))
    mirrored = points[list(PAIRS_68)] * [-1, 1] + [SIZE[1], 0]
    there, known = region_from_landmarks(points, SIZE, style)
    back, _ = region_from_landmarks(mirrored, SIZE, style)
    for a, b, seen in zip(there, back, known, strict=True):
        assert not seen or overlap(a[:, ::-1], b) > 0.99


def test_paper_regions_lie_where_they_should() -> None:
    region = dict(zip(GROUPS, mean_region(), strict=True))
    rows = {name: np.nonzero(mask)[0].mean() for name, mask in region.items()}
    assert rows["Hair"] < rows["Eyes"] < rows["Nose"] < rows["Mouth"] < SIZE[0]
    assert rows["Cheeks"] < rows["Lower Face"]
    for name, mask in region.items():
        assert not (mask & ~region["Object"]).sum() > 0.02 * mask.sum(), name
    assert not (region["Hair"] & rasterize([hull(MEAN_FACE_68[36:48])], SIZE)).any()


def test_mean_region_scales() -> None:
    small = mean_region((109, 89))
    large = mean_region()
    for a, b in zip(small, large, strict=True):
        assert overlap(a.repeat(2, 0).repeat(2, 1), b) > 0.85


def test_wrong_landmarks_are_errors() -> None:
    with pytest.raises(UsageError, match="one of"):
        face_parts(np.zeros((10, 2)))
    with pytest.raises(UsageError, match="style"):
        group_polygons(MEAN_FACE_68, "wide")


def drawn_classes() -> np.ndarray:
    """A parsing map of boxes: hair over skin, two eyes with brows, nose, mouth, one ear with an earring."""
    classes = np.zeros((64, 64), np.uint8)
    for name, top, bottom, left, right in (
        ("hair", 2, 20, 8, 56), ("skin", 14, 60, 14, 50), ("l_eye", 26, 30, 36, 44), ("r_eye", 26, 30, 20, 28),
        ("l_brow", 21, 23, 35, 45), ("r_brow", 21, 23, 19, 29), ("nose", 30, 40, 29, 36), ("u_lip", 46, 48, 26, 40),
        ("l_lip", 50, 52, 26, 40), ("mouth", 48, 50, 27, 39), ("l_ear", 26, 36, 50, 54), ("earring", 36, 40, 51, 53),
    ):  # fmt: skip
        classes[top:bottom, left:right] = parsing.CLASSES.index(name)
    return classes


def test_parsing_classes_become_groups() -> None:
    classes = drawn_classes()
    region, known = parsing.region_from_parsing(classes)
    by_name = dict(zip(GROUPS, region, strict=True))
    assert [name for name, seen in zip(GROUPS, known, strict=True) if not seen] == ["Lower Face", "Cheeks"]
    assert by_name["Mouth"].sum() == 2 * 14 * 2 + 12 * 2
    assert by_name["Ear"].sum() == 40 + 8
    assert not (by_name["Hair"] & by_name["Nose"]).any()
    assert np.array_equal(by_name["Object"], ~np.isin(classes, [0, parsing.CLASSES.index("earring")]))
    assert by_name["Eyes"][24, 24]  # between eye and brow
    assert not by_name["Eyes"][26, 32]  # between the eyes: one hull per side


def test_hidden_eye_makes_eyes_unknown_not_empty() -> None:
    classes = drawn_classes()
    classes[classes == parsing.CLASSES.index("r_eye")] = parsing.CLASSES.index("hair")
    region, known = parsing.region_from_parsing(classes)
    assert not known[GROUPS.index("Eyes")]
    assert not region[GROUPS.index("Eyes")].any()


def test_swapped_side_names_change_nothing() -> None:
    classes = drawn_classes()
    swapped = classes.copy()
    for a, b in (("l_eye", "r_eye"), ("l_brow", "r_brow")):
        first, second = parsing.CLASSES.index(a), parsing.CLASSES.index(b)
        swapped[classes == first], swapped[classes == second] = second, first
    assert np.array_equal(parsing.region_from_parsing(classes)[0], parsing.region_from_parsing(swapped)[0])
    assert np.array_equal(parsing.keypoints_from_parsing(classes), parsing.keypoints_from_parsing(swapped))


def test_parsing_keypoints() -> None:
    points = parsing.keypoints_from_parsing(drawn_classes())
    np.testing.assert_allclose(points, [[24, 28], [40, 28], [26.5, 49], [39.5, 49]], atol=1.01)
    with pytest.raises(DataError, match="no mouth"):
        parsing.keypoints_from_parsing(np.zeros((64, 64), np.uint8))
