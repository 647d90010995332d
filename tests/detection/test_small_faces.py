"""Small faces in large photos: found at the photo's own scale, or the photo says from which size on it was searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lineament.detection.candidates import Candidates
from lineament.detection.retinaface import RetinaFace
from lineament.errors import TooManyFacesError, UsageError

BOX = np.array([178.0, 59.1, 269.0, 178.9])  # the portrait's, 91 pixels wide


def photo(
    astronaut: np.ndarray, size: tuple[int, int], face: float, places: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a plain photo of `size` (h, w) with the portrait at `places` (x, y), its face `face` pixels wide, and the
    faces' boxes."""
    side = round(512 * face / 91)
    small = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS))
    canvas, boxes = np.full((*size, 3), (96, 110, 120), np.uint8), []
    for x, y in places:
        canvas[y : y + side, x : x + side] = small
        boxes.append(BOX * side / 512 + [x, y, x, y])
    return canvas, np.array(boxes)


def assert_found(detector: RetinaFace, pixels: np.ndarray, boxes: np.ndarray) -> None:
    faces = detector.detect(pixels)
    assert len(faces) == len(boxes)
    for box in boxes:
        assert np.abs(faces.boxes_xyxy - box).max(1).min() < 0.35 * (box[2] - box[0])


@pytest.mark.parametrize("choice", ["auto", "always"])
def test_a_panorama_keeps_its_faces(astronaut: np.ndarray, choice: str) -> None:
    pixels, boxes = photo(astronaut, (240, 6000), 36, [(40, 30), (2900, 30), (5780, 20)])
    assert_found(RetinaFace(threads=1, small_faces=choice), pixels, boxes)
    if choice == "auto":
        assert not len(RetinaFace(threads=1, small_faces="never").detect(pixels)), "what the tiles are for"
        assert_found(RetinaFace(threads=1), *photo(astronaut, (6000, 240), 36, [(20, 30), (10, 2900), (25, 5780)]))


@pytest.mark.parametrize("face", [24, 40])
def test_one_small_face_in_a_large_photo(astronaut: np.ndarray, face: int) -> None:
    pixels, boxes = photo(astronaut, (2000, 3000), face, [(2700, 1500)])
    faces = RetinaFace(threads=1).detect(pixels)
    assert len(faces) == 1
    assert np.abs(faces.boxes_xyxy[0] - boxes[0]).max() < 0.3 * face
    assert faces.searched_from == 20


def test_always_finds_what_a_large_face_lets_auto_overlook(astronaut: np.ndarray) -> None:
    pixels, boxes = photo(astronaut, (1800, 2400), 26, [(2200, 1600)])
    pixels[:1024, :1024] = np.asarray(Image.fromarray(astronaut).resize((1024, 1024), Image.Resampling.LANCZOS))
    auto, always = (RetinaFace(threads=1, small_faces=choice).detect(pixels) for choice in ("auto", "always"))
    assert len(always) == 2
    assert np.abs(always.boxes_xyxy[1] - boxes[0]).max() < 8
    assert len(auto) == 2 or (auto.searched_from or 0) > 26, "found, or it says that it was not looked for"


def test_the_answer_does_not_depend_on_how_many_tiles_are_searched_at_once(astronaut: np.ndarray) -> None:
    pixels, _ = photo(astronaut, (400, 6000), 30, [(40, 30), (1500, 50), (2900, 50), (5600, 20)])
    one, four = (RetinaFace(threads=1, at_once=count).detect(pixels) for count in (1, 4))
    for a, b in (
        (one.boxes_xyxy, four.boxes_xyxy),
        (one.keypoints, four.keypoints),
        (one.detection_probs, four.detection_probs),
    ):
        np.testing.assert_array_equal(a, b)
    assert len(one) == 4


def test_every_photo_says_from_which_size_on_it_was_searched(astronaut: np.ndarray) -> None:
    big = np.asarray(Image.fromarray(astronaut).resize((2048, 2048), Image.Resampling.LANCZOS))
    assert RetinaFace(threads=1).detect(big).searched_from == 128  # one pass at 320: 20 pixels of it are 128 here
    assert RetinaFace(threads=1, small_faces="always").detect(big).searched_from == 20
    assert RetinaFace(threads=1).detect(np.full((900, 1500, 3), 90, np.uint8)).searched_from == 20, (
        "no face: searched to the end"
    )
    assert RetinaFace(threads=1, small_faces="never").detect(np.full((900, 1500, 3), 90, np.uint8)).searched_from == 24


class Scripted(RetinaFace):
    """A detector whose passes say what the test wants: weak finds, and what their second look says."""

    weak, look = 0.4, 0.95

    def _scan(self, view: Any, scale: float, **how: Any) -> Candidates:
        found = Candidates(
            np.array([[10, 10, 34, 40]], np.float32),
            np.array([self.weak], np.float32),
            np.full((1, 5, 2), 20, np.float32),
        )
        found.points[0, :, 0] += np.arange(5)
        return found if self.weak >= (how.get("min_prob") or 0) and not how.get("border") else Candidates.empty()

    def __init__(self, **settings: Any) -> None:
        super().__init__(threads=1, rescue=False, **settings)
        outer = self

        class Said:
            def at(self, pixels: Any, finds: Candidates, *, turned: Any) -> Candidates:
                assert not turned.any(), "weak finds are not turned"
                return finds._replace(probs=np.full(len(finds.probs), outer.look, np.float32))

        self._looks = Said()  # type: ignore[assignment]


def test_a_weak_find_counts_where_its_look_is_sure() -> None:
    pixels = np.zeros((300, 320, 3), np.uint8)
    sure = Scripted()
    faces = sure.detect(pixels)
    assert faces.detection_probs.tolist() == pytest.approx([0.95])
    sure.look = 0.85
    assert not len(sure.detect(pixels)), "0.85 is enough for a clear find only"
    assert not len(Scripted(small_faces="never").detect(pixels))
    assert not len(Scripted(second_look=False).detect(pixels)), "nobody confirmed it"
    sure.look, sure.weak = 0.95, 0.25
    assert not len(sure.detect(pixels))


def test_a_crowd_of_weak_finds_is_no_crowd_before_it_is_looked_at() -> None:
    pixels = np.zeros((300, 320, 3), np.uint8)
    assert len(Scripted(most_faces=1).detect(pixels)) == 1
    with pytest.raises(TooManyFacesError, match="1 faces; at most 0"):
        Scripted(most_faces=0).detect(pixels)


def test_another_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="never, auto or always"):
        RetinaFace(threads=1, small_faces="sometimes")


@pytest.mark.data
def test_the_reported_panorama(data_dir: Path) -> None:
    path = data_dir.parent / "cases" / "panorama.jpg"
    if not path.exists():
        pytest.skip("The reported inputs are not here.")
    faces = RetinaFace(threads=1).detect(np.asarray(Image.open(path).convert("RGB")))
    assert len(faces) == 5
    assert sorted(round(float(x)) // 2000 for x in faces.boxes_xyxy[:, 0]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("doubts", "passes"),
    [
        ({}, [320]),
        ({320: 70}, [320, 640]),
        ({320: 70, 640: 90}, [320, 640]),
        ({320: 70, 640: 40}, [320, 640, 1280]),
        ({320: 70, 640: 40, 1280: 200, 2560: 40}, [320, 640, 1280]),
        ({320: 70, 640: 40, 1280: 40, 2560: 300}, [320, 640, 1280, 2560]),
    ],
)
def test_a_doubted_large_face_is_reason_for_a_second_pass_and_for_no_further_one(
    doubts: dict[int, int], passes: list[int]
) -> None:
    """`doubts`: the size, in pixels of a pass, of the doubted find that it has beside a sure one of 100."""
    seen: list[int] = []

    class Doubting(RetinaFace):
        def _scan(self, view: Any, scale: float, **how: Any) -> Candidates:
            side = round(max(view.shape) * scale)
            seen.append(side)
            sizes = np.array([100.0, doubts.get(side, 0)])[: 1 + (side in doubts)] / scale
            corner = np.array([0, 2000.0])[: len(sizes)]
            boxes = np.stack([corner, corner, corner + sizes, corner + sizes], 1).astype(np.float32)
            return Candidates(
                boxes, np.array([0.99, 0.3], np.float32)[: len(sizes)], boxes[:, :1, None].repeat(5, 1).repeat(2, 2)
            )

    Doubting(threads=1, second_look=False, rescue=False).detect(np.zeros((3000, 4000, 3), np.uint8))
    assert seen == passes
