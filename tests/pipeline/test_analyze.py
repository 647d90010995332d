"""The sentence: every arrow against an oracle, every setting, every kind of input."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from analyze_kit import MarkedFaces, photo, save, toy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_model import toy_card, write_toy_model

import lineament
from lineament import geometry
from lineament.api import Model
from lineament.errors import ImageError, UnknownAttributeError, UnreadableError, UnsupportedError, UsageError
from lineament.pipeline.analyze import Settings, keep_largest, whole_picture
from lineament.schema import CELEBA_40, SENSITIVE
from lineament.types import Faces

SCHEMA = jsonschema.Draft202012Validator(
    json.loads(files("lineament").joinpath("record.schema.json").read_text("utf-8"))
)
ABSTAIN = {
    "thresholds": {"Smiling": 0.3},
    "calibration": {},
    "abstain": {"Smiling": [0.0, 1.0]},
    "min_eye_distance": {"Bald": 1000},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return toy(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def test_probabilities_follow_from_the_crops(model: Model) -> None:
    pixels = photo(3)
    report = model.analyze(pixels, channels="RGB", profile="all")
    faces = MarkedFaces().detect(pixels)
    logits = model.network(geometry.align(pixels, faces.keypoints)).logits.astype(np.float64)
    expected = 1 / (1 + np.exp(-logits))
    have = [[answer.prob for answer in face.attributes.values()] for face in report.faces]
    np.testing.assert_array_equal(have, np.round(expected, 4))
    assert [list(face.attributes) for face in report.faces] == [list(CELEBA_40)] * 3
    assert {answer.label for face in report.faces for answer in face.attributes.values()} == {"yes", "no"}
    for face in report.faces:
        assert all((answer.label == "yes") == (answer.prob >= 0.5) for answer in face.attributes.values())


def test_labels_follow_from_the_probabilities_shown(tmp_path: Path) -> None:
    probs = toy(write_toy_model(tmp_path / "toy.onnx")).analyze(photo(1), channels="RGB").faces[0].attributes
    on_the_edge = {
        name: answer.prob for name, answer in probs.items()
    }  # thresholds equal to the rounded probability: all are yes
    card = toy_card(decision={"thresholds": on_the_edge, "calibration": {}, "abstain": {}, "min_eye_distance": {}})
    model = toy(write_toy_model(tmp_path / "edge.onnx", card=card))
    assert {a.label for a in model.analyze(photo(1), channels="RGB").faces[0].attributes.values()} == {"yes"}


def test_a_record_is_as_the_schema_says(model: Model) -> None:
    for count in (0, 1, 3):
        record = model.analyze(photo(count), channels="RGB").to_dict()
        SCHEMA.validate(record)
        assert json.loads(json.dumps(record)) == record
        assert record["status"] == ("ok" if count else "no_face")


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.update(extra=1),
        lambda record: record.update(status="no_face"),
        lambda record: record["faces"][0]["attributes"]["Smiling"].update(label="maybe"),
        lambda record: record["faces"][0]["keypoints"].pop(),
        lambda record: record.update(status="unreadable", faces=[]),
        lambda record: record.pop("model"),
    ],
)
def test_the_schema_refuses_other_records(model: Model, damage) -> None:  # type: ignore[no-untyped-def]
    record = model.analyze(photo(1), channels="RGB").to_dict()
    damage(record)
    assert not SCHEMA.is_valid(record)


def test_largest_face_first_and_keep(model: Model) -> None:
    pixels = photo(4)
    areas = [
        (f.box_xyxy[2] - f.box_xyxy[0]) * (f.box_xyxy[3] - f.box_xyxy[1])
        for f in model.analyze(pixels, channels="RGB").faces
    ]
    assert areas == sorted(areas, reverse=True)
    assert len(areas) == 4
    whole = model.analyze(pixels, channels="RGB").faces
    assert model.analyze(pixels, channels="RGB", keep="largest").faces == whole[:1]
    assert model.analyze(pixels, channels="RGB", keep=2).faces == whole[:2]
    assert model.analyze(pixels, channels="RGB", keep=9).faces == whole


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 9)] * 2), max_size=8))
def test_order_of_faces_is_by_area_then_x_then_y(raw: list[tuple[int, int, int, int]]) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in raw], np.float32).reshape(-1, 4)
    faces = Faces(boxes, np.ones(len(raw), np.float32), np.zeros((len(raw), 5, 2), np.float32))
    keys = [(-(x2 - x1) * (y2 - y1), x1, y1) for x1, y1, x2, y2 in keep_largest(faces, "all").boxes_xyxy.tolist()]
    assert keys == sorted(keys)


def test_default_profile_leaves_sensitive_attributes_out(model: Model) -> None:
    shown = set(model.analyze(photo(1), channels="RGB").faces[0].attributes)
    assert shown == set(CELEBA_40) - SENSITIVE


def test_attribute_list_ignores_case_and_keeps_the_models_order(model: Model) -> None:
    face = model.analyze(photo(1), channels="RGB", attributes=["young", "SMILING", "bald"], profile="all").faces[0]
    assert list(face.attributes) == ["Bald", "Smiling", "Young"]
    with pytest.raises(UnknownAttributeError, match="Smiling"):
        model.analyze(photo(1), channels="RGB", attributes=["Smilling"])
    with pytest.raises(UsageError, match="--profile all"):
        model.analyze(photo(1), channels="RGB", attributes=["Young"])


def test_abstaining_needs_the_flag_and_follows_the_card(tmp_path: Path) -> None:
    model = toy(write_toy_model(tmp_path / "toy.onnx", card=toy_card(decision=ABSTAIN)))
    plain = model.analyze(photo(1), channels="RGB").faces[0].attributes
    unsure = model.analyze(photo(1), channels="RGB", abstain=True).faces[0].attributes
    assert "cannot_tell" not in {answer.label for answer in plain.values()}
    assert {name for name, answer in unsure.items() if answer.label == "cannot_tell"} == {"Smiling", "Bald"}
    assert {name: answer.because for name, answer in unsure.items() if answer.because} == {
        "Smiling": "near",
        "Bald": "small",
    }
    assert not any(answer.because for answer in plain.values())
    assert {name: answer.prob for name, answer in plain.items()} == {
        name: answer.prob for name, answer in unsure.items()
    }
    assert plain["Smiling"].label == ("yes" if plain["Smiling"].prob >= 0.3 else "no")


def test_consistent_labels_break_no_rule_and_name_the_change(tmp_path: Path) -> None:
    eager = toy_card(
        decision={"thresholds": dict.fromkeys(CELEBA_40, 0.0), "calibration": {}, "abstain": {}, "min_eye_distance": {}}
    )
    model = toy(write_toy_model(tmp_path / "toy.onnx", card=eager))
    plain = model.analyze(photo(1), channels="RGB").faces[0].attributes
    assert {answer.label for answer in plain.values()} == {"yes"}
    made = model.analyze(photo(1), channels="RGB", consistent=True).faces[0]
    colours = [
        name for name in ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair") if made.attributes[name].label == "yes"
    ]
    assert len(colours) <= 1
    for name, answer in made.attributes.items():
        assert (answer.label != plain[name].label) == (answer.changed_by is not None), name
        assert answer.prob == plain[name].prob
    SCHEMA.validate(model.analyze(photo(1), channels="RGB", consistent=True).to_dict())


def test_aligned_crops_are_taken_as_they_are(model: Model) -> None:
    crop = photo(0, size=(218, 178))
    report = model.analyze(crop, channels="RGB", faces="aligned", profile="all")
    logits = model.network(geometry.Crops(crop.transpose(2, 0, 1)[None].copy(), np.zeros((1, 2, 3), np.float32))).logits
    np.testing.assert_allclose(
        [a.prob for a in report.faces[0].attributes.values()],
        1 / (1 + np.exp(-logits[0].astype(np.float64))),
        atol=5.1e-5,
    )
    np.testing.assert_array_equal(report.crops()[0].transpose(1, 2, 0), crop)
    face = report.faces[0].to_dict()
    assert face["box_xyxy"] == [0, 0, 178, 218]
    assert face["detection_prob"] is None
    np.testing.assert_allclose(face["keypoints"], geometry.TEMPLATE, atol=0.01)


def test_aligned_crops_of_other_sizes(model: Model) -> None:
    twice = photo(0, size=(436, 356))
    report = model.analyze(twice, channels="RGB", faces="aligned")
    assert report.note == "resized from 356x436 to 178x218"
    np.testing.assert_allclose(report.faces[0].keypoints, geometry.TEMPLATE * 2, atol=1e-3)
    with pytest.raises(UnsupportedError, match="--faces aligned"):
        model.analyze(photo(0, size=(218, 179)), channels="RGB", faces="aligned")
    assert len(whole_picture(photo(0, size=(109, 89)), "x")) == 1


def test_crops_fed_back_give_the_same_answers(model: Model) -> None:
    first = model.analyze(photo(3), channels="RGB", profile="all")
    for face, crop in zip(first.faces, first.crops(), strict=True):
        again = model.analyze(crop.transpose(1, 2, 0).copy(), channels="RGB", faces="aligned", profile="all")
        assert again.faces[0].attributes == face.attributes


def test_every_kind_of_source_gives_the_same_answer(model: Model, tmp_path: Path) -> None:
    pixels = photo(2)
    path = save(tmp_path / "photo.png", pixels)
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path)]
    reports = [model.analyze(source, source_name="same") for source in sources]
    reports.append(model.analyze(pixels, channels="RGB", source_name="same"))
    reports.append(model.analyze(pixels[:, :, ::-1].copy(), channels="BGR", source_name="same"))
    assert len({json.dumps(report.to_dict()) for report in reports}) == 1
    assert model.analyze(str(path)).source == str(path)
    assert model.analyze(path.read_bytes()).source == "<bytes>"
    with pytest.raises(UsageError, match="channels"):
        model.analyze(pixels)


def test_photos_without_pixels_raise(model: Model, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UnreadableError):
        model.analyze(tmp_path / "text.jpg")
    with pytest.raises(ImageError):
        model.analyze(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="pixels"):
        model.analyze(save(tmp_path / "big.png", photo(1)), max_pixels=100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep": 0},
        {"keep": "most"},
        {"faces": "guess"},
        {"profile": "none"},
        {"max_pixels": 0},
        {"small_faces": "some"},
        {"colour": 1},
    ],
)
def test_settings_that_cannot_be(model: Model, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        model.analyze(photo(1), channels="RGB", **wrong)
    if "colour" not in wrong:
        with pytest.raises(UsageError):
            Settings(**wrong)  # type: ignore[arg-type]


def test_a_face_answers_alike_alone_and_in_a_crowd(tmp_path: Path) -> None:
    path = write_toy_model(tmp_path / "toy.onnx")
    crowd = photo(4)
    records = {
        json.dumps(toy(path, threads=threads).analyze(crowd, channels="RGB", source_name="x").to_dict())
        for threads in (1, 2, 5)
    }
    assert len(records) == 1
    whole = toy(path).analyze(crowd, channels="RGB")
    for count in (1, 2, 3):
        assert toy(path).analyze(crowd, channels="RGB", keep=count).faces == whole.faces[:count]


def test_load_is_the_front_door(tmp_path: Path) -> None:
    model = lineament.load(write_toy_model(tmp_path / "toy.onnx"), threads=1, profile="all")
    assert isinstance(model, lineament.Model)
    assert model.card.name == "toy"
    assert model.id == model.network.id
    assert hasattr(model.detector, "detect")
    with pytest.raises(UsageError, match="Unknown setting"):
        lineament.load(tmp_path / "toy.onnx", profil="all")
    with pytest.raises(UsageError, match="list of names"):
        lineament.load(tmp_path / "toy.onnx", attributes="Smiling")


def test_the_bundled_detector_finds_the_astronaut(astronaut: np.ndarray, tmp_path: Path) -> None:
    report = lineament.load(write_toy_model(tmp_path / "toy.onnx"), threads=1).analyze(astronaut, channels="RGB")
    assert report.status == "ok"
    assert len(report.faces) == 1
    assert report.faces[0].detection_prob is not None
    right_eye, left_eye, *_ = report.faces[0].keypoints
    assert right_eye == pytest.approx((204, 100), abs=6)  # her right eye, left in the picture
    assert left_eye == pytest.approx((247, 102), abs=6)
    drawn = report.draw()
    assert drawn.size == (512, 512)
    assert np.abs(np.asarray(drawn, int) - astronaut).max() > 50
    assert report.crops().shape == (1, 3, 218, 178)
