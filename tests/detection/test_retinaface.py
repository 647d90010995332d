"""The detector on a portrait: turned, shrunk, cut and in company; its file; the runtimes it goes along with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lineament.detection import candidates, looks, retinaface
from lineament.detection.candidates import Candidates
from lineament.detection.retinaface import WEIGHTS, Detector, RetinaFace
from lineament.detection.sessions import CpuSession
from lineament.errors import ModelFileError, UsageError

POINTS = np.array([[202.8, 99.5], [246.4, 102.0], [222.6, 128.8], [201.6, 139.7], [245.9, 141.8]])


"""The portrait's five points: value of `RetinaFace().detect(skimage.data.astronaut())`, ONNX Runtime 1.31; seen to sit
right on the picture."""


BOX = np.array(
    [178.0, 59.1, 269.0, 178.9]
)  # of the second look; 200 to 2000 pixels wide, the portrait gives it within 4 pixels


@pytest.fixture(scope="module")
def detector() -> RetinaFace:
    return RetinaFace(threads=1)


def error(keypoints: np.ndarray, expected: np.ndarray) -> float:
    """Return the mean point distance over the eye distance."""
    return float(np.linalg.norm(keypoints - expected, axis=1).mean() / np.linalg.norm(expected[1] - expected[0]))


def test_it_is_a_detector(detector: RetinaFace) -> None:
    assert isinstance(detector, Detector)


def test_the_portrait_has_one_face(detector: RetinaFace, astronaut: np.ndarray) -> None:
    faces = detector.detect(astronaut)
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes_xyxy[0], BOX, atol=2)
    np.testing.assert_allclose(faces.keypoints[0], POINTS, atol=1.5)
    assert faces.detection_probs[0] > 0.99
    again = detector.detect(astronaut)
    np.testing.assert_array_equal(again.keypoints, faces.keypoints)
    np.testing.assert_array_equal(again.boxes_xyxy, faces.boxes_xyxy)


def turned_points(points: np.ndarray, turns: int, width: float, height: float) -> np.ndarray:
    """Return where points of a picture lie after `np.rot90(picture, turns)`."""
    for _ in range(turns):
        points = np.stack([points[:, 1], width - points[:, 0]], -1)
        width, height = height, width
    return points


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_portrait_gives_the_turned_points(detector: RetinaFace, astronaut: np.ndarray, turns: int) -> None:
    faces = detector.detect(np.ascontiguousarray(np.rot90(astronaut, turns)))
    assert len(faces) == 1
    assert error(faces.keypoints[0], turned_points(POINTS, turns, 512, 512)) < 0.06


def test_a_mosaic_of_four_turned_portraits(detector: RetinaFace, astronaut: np.ndarray) -> None:
    tiles = [np.rot90(astronaut[:256, 96:352], turns) for turns in range(4)]
    mosaic = np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)], 0)
    faces = detector.detect(np.ascontiguousarray(mosaic))
    assert len(faces) == 4
    for turns, origin in enumerate([(0, 0), (256, 0), (0, 256), (256, 256)]):
        expected = turned_points(POINTS - [96, 0], turns, 256, 256) + origin
        assert min(error(found, expected) for found in faces.keypoints) < 0.08


def _error_at(detector: RetinaFace, astronaut: np.ndarray, side: int) -> float:
    faces = detector.detect(np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS)))
    assert len(faces) == 1
    return error(faces.keypoints[0], POINTS * side / 512)


@pytest.mark.parametrize("side", [154, 358, 1024, 2304])
def test_points_follow_the_size_of_the_photo(detector: RetinaFace, astronaut: np.ndarray, side: int) -> None:
    assert _error_at(detector, astronaut, side) < 0.06


def test_points_of_a_face_of_fifteen_pixels(detector: RetinaFace, astronaut: np.ndarray) -> None:
    errors = [_error_at(detector, astronaut, side) for side in range(60, 67)]
    assert np.mean(errors) < 0.11, "one size alone says little: from 60 to 62 pixels it goes from 0.12 to 0.11 and back"


def test_points_follow_a_shift(detector: RetinaFace, astronaut: np.ndarray) -> None:
    canvas = np.full((700, 900, 3), 90, np.uint8)
    canvas[131:643, 277:789] = astronaut
    faces = detector.detect(canvas)
    assert len(faces) == 1
    assert error(faces.keypoints[0], POINTS + np.array([277, 131])) < 0.05


def test_a_face_that_fills_the_frame_is_found(detector: RetinaFace, astronaut: np.ndarray) -> None:
    tight = np.ascontiguousarray(astronaut[75:165, 185:265])
    for picture in (tight, np.asarray(Image.fromarray(tight).resize((1600, 1800)))):
        faces = detector.detect(picture)
        assert len(faces) == 1
        assert error(faces.keypoints[0] * 80 / picture.shape[1], POINTS - [185, 75]) < 0.12


def test_a_small_face_in_a_large_photo_is_found(detector: RetinaFace, astronaut: np.ndarray) -> None:
    canvas = np.full((1500, 2000, 3), 100, np.uint8)
    canvas[1100:1292, 1500:1692] = np.asarray(Image.fromarray(astronaut).resize((192, 192), Image.Resampling.LANCZOS))
    faces = detector.detect(canvas)
    assert len(faces) == 1
    assert error(faces.keypoints[0], POINTS * 192 / 512 + [1500, 1100]) < 0.1
    assert not len(RetinaFace(threads=1, min_face=60).detect(canvas))


@pytest.mark.parametrize("value", [0, 123, 255])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (64, 64), (3000, 10), (10, 3000), (480, 640)])
def test_nothing_is_found_in_nothing(detector: RetinaFace, size: tuple[int, int], value: int) -> None:
    assert len(detector.detect(np.full((*size, 3), value, np.uint8))) == 0


def test_nothing_is_found_in_noise(detector: RetinaFace) -> None:
    assert len(detector.detect(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))) == 0


@pytest.mark.parametrize("name", ["coffee", "chelsea", "coins", "moon", "gravel", "clock", "retina"])
def test_nothing_is_found_in_pictures_of_other_things(detector: RetinaFace, name: str) -> None:
    data = pytest.importorskip("skimage.data")
    try:
        picture = np.asarray(getattr(data, name)())
    except Exception as error:  # noqa: BLE001  scikit-image fetches some pictures on demand and fails in its own ways
        pytest.skip(f"scikit-image has no {name} here: {error}")
    picture = np.stack([picture] * 3, 2) if picture.ndim == 2 else picture
    assert len(detector.detect(np.ascontiguousarray(picture[..., :3]))) == 0


class Watched(RetinaFace):
    """Writes down the long side of every pass of the search (not the second looks)."""

    def _scan(self, view: Any, scale: float, **how: Any) -> Candidates:
        if view.shape[:2] != (256, 224):
            self.sides.append(round(max(view.shape[:2]) * scale))
        return super()._scan(view, scale, **how)

    def detect(self, pixels: Any) -> Any:
        self.sides: list[int] = []
        return super().detect(pixels)


def test_a_portrait_pays_for_one_pass_and_a_crowd_for_more(astronaut: np.ndarray) -> None:
    watched = Watched(threads=1)
    watched.detect(np.asarray(Image.fromarray(astronaut).resize((2000, 2000))))
    assert watched.sides == [320]
    watched = Watched(threads=1, small_faces="never")
    canvas = np.full((3000, 3000, 3), 100, np.uint8)
    canvas[:512, :512] = astronaut
    watched.detect(canvas)
    assert watched.sides == [320, 640, 1280]
    canvas[:] = 100
    canvas[:256, :256] = astronaut[::2, ::2]
    watched.detect(canvas)
    assert watched.sides == [320, 640, 1280, 2560]


def test_rescue_is_only_where_nothing_is_found(astronaut: np.ndarray) -> None:
    watched = Watched(threads=1)
    watched.detect(astronaut)
    assert watched.sides == [320]
    watched.detect(np.zeros((400, 300, 3), np.uint8))
    assert watched.sides == [320, 400, 320, 400, 400, 400]
    plain = Watched(threads=1, rescue=False)
    plain.detect(np.zeros((400, 300, 3), np.uint8))
    assert plain.sides == [320, 400, 320]


def test_a_probability_is_the_share_of_the_face_logit() -> None:
    """A network that says face at one anchor: by softmax of its two logits; everywhere else it is sure of nothing."""

    class Says:
        def run(self, names: None, feeds: dict[str, Any]) -> Any:
            count = len(candidates.anchors(*feeds["image"].shape[1:3]))
            logits = np.tile(np.array([9, -9], np.float32), (count, 1))
            logits[count // 2] = (-1, 2)
            return np.zeros((count, 4), np.float32), logits, np.zeros((count, 10), np.float32)

    found = RetinaFace(session=Says(), second_look=False, rescue=False).detect(np.zeros((320, 320, 3), np.uint8))
    assert found.detection_probs.tolist() == pytest.approx([np.exp(2) / (np.exp(-1) + np.exp(2))])


def test_the_last_tries_on_a_small_photo_are_small() -> None:
    """Where nothing is found a border is put round the photo: half as much again on each side, not ten times the
    work."""
    session, sides = CpuSession(WEIGHTS, 1), []

    class Counting:
        def run(self, names: None, feeds: dict[str, Any]) -> Any:
            sides.append(max(feeds["image"].shape[1:3]))
            return session.run(names, feeds)

    assert not len(RetinaFace(session=Counting(), rescue=False).detect(np.zeros((60, 80, 3), np.uint8)))
    assert sides == [320, 480] or sides == [320, 256], sides


def test_rescue_turns_the_photo(astronaut: np.ndarray) -> None:
    """A detector that knows only upright faces (its network is made blind to others) finds them all by turning."""

    class Upright(RetinaFace):
        def _scan(self, view: Any, scale: float, **how: Any) -> Candidates:
            found = super()._scan(view, scale, **how)
            upright = (found.points[:, 3:, 1].min(1) - found.points[:, :2, 1].max(1)) > np.abs(
                found.points[:, 0, 1] - found.points[:, 1, 1]
            )
            return found.take(np.flatnonzero(upright & (found.probs > 0.99)))

    blind = Upright(threads=1)
    for turns in range(4):
        faces = blind.detect(np.ascontiguousarray(np.rot90(astronaut, turns)))
        assert len(faces) == 1
        assert error(faces.keypoints[0], turned_points(POINTS, turns, 512, 512)) < 0.06


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        [[1, 2, 3]],
        None,
    ],
)
def test_other_input_is_refused(detector: RetinaFace, pixels: Any) -> None:
    with pytest.raises(UsageError, match=r"uint8 RGB pixels \(H,W,3\)"):
        detector.detect(pixels)


def test_a_missing_or_broken_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No detector at"):
        RetinaFace(weights=tmp_path / "none.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"this is no network" * 10)
    with pytest.raises(ModelFileError, match="cannot be opened"):
        RetinaFace(weights=tmp_path / "junk.onnx")


def test_the_file_carries_its_contract() -> None:
    session = CpuSession(WEIGHTS, 1)._session
    contract = json.loads(session.get_modelmeta().custom_metadata_map["lineament_detector"])
    assert contract["anchors"] == {
        "strides": list(candidates.STRIDES),
        "sizes": [list(pair) for pair in candidates.ANCHOR_SIZES],
    }
    assert f"mean (BGR {','.join(map(str, retinaface.PAD_RGB[::-1]))})" in contract["input"], (
        "a border is what becomes zero in the network"
    )
    assert contract["licence"] == "MIT"
    assert [output.name for output in session.get_outputs()] == ["boxes", "logits", "points"]


@pytest.mark.data
def test_official_images_are_found_whole(detector: RetinaFace, data_dir: Path) -> None:
    from lineament.geometry import TEMPLATE

    files = sorted((data_dir / "celeba" / "official" / "img_align_celeba").glob("*.jpg"))[::400]
    for path in files:
        faces = detector.detect(np.asarray(Image.open(path).convert("RGB")))
        assert len(faces) >= 1, path.name
        assert error(faces.keypoints[0], TEMPLATE) < 0.3, path.name


def test_openvino_runs_the_same_detector(detector: RetinaFace, astronaut: np.ndarray) -> None:
    """In fp32 and in bf16, from several threads, for photos of different sizes: the same faces, within what the
    precision moves."""
    from concurrent.futures import ThreadPoolExecutor

    pytest.importorskip("openvino")
    from lineament.runtime.openvino import OpenVinoSession

    photos = [astronaut, astronaut[:400, 60:460], np.asarray(Image.fromarray(astronaut).resize((300, 300)))]
    wanted = [detector.detect(photo) for photo in photos]
    for precision, shift in (("fp32", 0.01), ("bf16", 0.05)):
        other = RetinaFace(session=OpenVinoSession(WEIGHTS, precision=precision, threads=2))
        alone = [other.detect(photo) for photo in photos]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(other.detect, photos * 2))
        for want, have in zip(wanted, alone, strict=True):
            assert len(have) == 1
            assert error(have.keypoints[0], want.keypoints[0]) < shift
        for one, two in zip(alone * 2, together, strict=True):
            np.testing.assert_array_equal(one.keypoints, two.keypoints)
            np.testing.assert_array_equal(one.boxes_xyxy, two.boxes_xyxy)


def test_bf16_and_int8_take_the_detector_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.runtime.threads.int8_is_exact", lambda: True)
    pytest.importorskip("openvino")
    import lineament
    from lineament.runtime.openvino import OpenVinoSession

    sessions = {
        precision: lineament.load(runtime="openvino", precision=precision, threads=1).detector._session  # type: ignore[attr-defined]
        for precision in ("fp32", "bf16", "int8")
    }
    assert not isinstance(sessions["fp32"], OpenVinoSession)
    for precision in ("bf16", "int8"):
        assert isinstance(sessions[precision], OpenVinoSession)
        assert sessions[precision].precision == precision
    assert not isinstance(
        lineament.load(runtime="onnx", precision="int8", threads=1).detector._session, OpenVinoSession
    )  # type: ignore[attr-defined]


def test_a_doubt_or_a_hint_is_looked_at_closer(astronaut: np.ndarray) -> None:
    """A second, small face beside a large one is found by the closer pass that its hint at 320 pixels asks for."""
    canvas = np.full((700, 512, 3), 120, np.uint8)
    canvas[:512] = astronaut
    canvas[515:655, 100:240] = np.asarray(Image.fromarray(astronaut).resize((140, 140), Image.Resampling.LANCZOS))
    watched = Watched(threads=1)
    assert len(watched.detect(canvas)) == 2
    assert watched.sides[:2] == [320, 640]
    blunt = Watched(threads=1)
    blunt.FIRST_HINT = blunt.DOUBT = blunt.min_prob
    found = len(blunt.detect(canvas))
    assert (blunt.sides, found) == ([320], 1), "without hints the small face is missed: what the hint is for"


@pytest.mark.parametrize(("blur", "wanted"), [(0, 1), (8, 4)])
def test_a_find_that_does_not_quite_convince_is_seen_from_every_side(
    blur: int, wanted: int, astronaut: np.ndarray
) -> None:
    """A clear face is looked at once more; a blurred one upright and turned by each of the other quarters."""
    session, views = CpuSession(WEIGHTS, 1), []

    class Counting:
        def run(self, names: None, feeds: dict[str, Any]) -> Any:
            if feeds["image"].shape[1:3] == looks.SIZE:
                views.append(len(feeds["image"]))
            return session.run(names, feeds)

    picture = Image.fromarray(astronaut).filter(ImageFilter.GaussianBlur(blur)).resize((256, 256))
    RetinaFace(session=Counting()).detect(np.asarray(picture))
    assert sum(views) == wanted
