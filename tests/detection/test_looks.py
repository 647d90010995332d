"""Second looks: the same numbers in every batch, from the cut network and from the whole one."""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import pytest

from lineament.detection import looks, retinaface
from lineament.detection.candidates import Candidates, anchors
from lineament.detection.looks import Looks
from lineament.detection.sessions import CpuSession

POINTS = np.array([[202.8, 99.5], [246.4, 102.0], [222.6, 128.8], [201.6, 139.7], [245.9, 141.8]], np.float32)
BOX = np.array([178.0, 59.1, 269.0, 178.9], np.float32)


def finds(count: int) -> Candidates:
    """Return finds of the portrait, each a little beside it and of another size; every third one of nothing."""
    rng = np.random.default_rng(3)
    points = np.stack([POINTS * rng.uniform(0.9, 1.1) + rng.uniform(-8, 8, 2) for _ in range(count)]).astype(np.float32)
    points[2::3] += (150, 200)
    return Candidates(np.tile(BOX, (count, 1)), np.ones(count, np.float32), points)


@pytest.fixture(scope="module")
def bundled() -> Looks:
    return Looks.bundled(1, 0.6)


def same(one: Candidates, two: Candidates) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_face_does_not_depend_on_its_batch(
    bundled: Looks, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = finds(11)
    together = bundled.at(astronaut, some, turned=np.ones(11, bool))
    for i in range(11):
        alone = bundled.at(astronaut, some.take(np.array([i])), turned=np.ones(1, bool))
        same(alone, together.take(np.array([i])))
    for size in (1, 3, 32):
        monkeypatch.setattr(looks, "BATCH", size)
        same(bundled.at(astronaut, some, turned=np.ones(11, bool)), together)
    assert (together.probs[[0, 1, 3]] > 0.99).all()
    assert (together.probs[2::3] == 0).all()


def test_the_whole_network_says_the_same(bundled: Looks, astronaut: np.ndarray) -> None:
    """The oracle: the detector's own file, one view at a time, with the level that the look's file leaves out."""
    whole = Looks(CpuSession(retinaface.WEIGHTS, 1), batches=False, min_prob=0.6)
    some = finds(6)
    same(whole.at(astronaut, some, turned=np.ones(6, bool)), bundled.at(astronaut, some, turned=np.ones(6, bool)))


def test_only_those_asked_for_are_seen_turned(bundled: Looks, astronaut: np.ndarray) -> None:
    upside_down = np.ascontiguousarray(astronaut[::-1, ::-1])
    one = finds(1)._replace(
        points=POINTS[None], boxes=BOX[None]
    )  # points of an upright face where the face is upside down
    one = one._replace(points=(512 - POINTS[[1, 0, 2, 4, 3]])[None] * np.float32(1), boxes=one.boxes)
    flat = one.points[0].mean(0) + (POINTS - POINTS.mean(0))
    seen = [
        bundled.at(upside_down, one._replace(points=flat[None]), turned=np.array([turned])) for turned in (False, True)
    ]
    assert seen[1].probs[0] > 0.99
    assert seen[1].probs[0] >= seen[0].probs[0]


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 7.0),
        np.tile([3.0, 9.0], (5, 1)),
        np.full((5, 2), np.nan),
        np.zeros((5, 2)) + np.arange(5)[:, None] + 5000,
    ],
)
def test_a_find_that_shows_nothing_is_none(bundled: Looks, astronaut: np.ndarray, points: np.ndarray) -> None:
    """Points that coincide, that are no numbers, that lie outside the photo: probability 0, and no exception; its
    neighbour is unharmed."""
    two = finds(2)
    two.points[0] = points
    seen = bundled.at(astronaut, two, turned=np.ones(2, bool))
    assert seen.probs[0] == 0
    same(seen.take(np.array([1])), bundled.at(astronaut, two.take(np.array([1])), turned=np.ones(1, bool)))


def test_no_find_needs_no_look(bundled: Looks, astronaut: np.ndarray) -> None:
    assert len(bundled.at(astronaut, Candidates.empty(), turned=np.zeros(0, bool)).probs) == 0


def test_the_file_says_where_it_was_cut_from() -> None:
    session = CpuSession(looks.WEIGHTS, 1)
    contract = json.loads(session._session.get_modelmeta().custom_metadata_map["lineament_detector"])
    assert contract["cut_from"] == sha256(retinaface.WEIGHTS.read_bytes()).hexdigest(), "run scripts/convert_look.py"
    boxes = session.run(None, {"image": np.zeros((2, *looks.SIZE, 3), np.uint8)})[0]
    assert boxes.shape == (2, len(anchors(*looks.SIZE)) - 2 * (looks.SIZE[0] // 8) * (looks.SIZE[1] // 8), 4)


def test_a_quarter_is_a_quarter_turn() -> None:
    """Twice it points back, four times it is none, and nothing is stretched or mirrored."""
    quarter = looks.QUARTER
    np.testing.assert_array_equal(quarter @ quarter, -np.eye(2))
    assert np.linalg.det(quarter) == pytest.approx(1)


def test_points_on_a_diagonal_are_apart() -> None:
    assert looks._spread(np.arange(5.0)[:, None] * [1, 1])
    assert not looks._spread(np.tile([3.0, 9.0], (5, 1)))
