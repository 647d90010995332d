"""Answers in other libraries' types, checked by those libraries where they are installed."""

from __future__ import annotations

import builtins
import json
from typing import Any

import numpy as np
import pytest

from lineament import interop
from lineament.errors import MissingExtraError, UsageError
from lineament.schema import SENSITIVE, in_profile
from lineament.types import Answer, FaceReport, Quality, Report


def face(x: float, smiling: float, found: float | None = 0.99) -> FaceReport:
    answers = {
        name: Answer(smiling if name == "Smiling" else 0.25, "yes" if name == "Smiling" and smiling >= 0.5 else "no")
        for name in in_profile("default")
    }
    points = tuple((x + i, 20.0 + i) for i in range(5))
    return FaceReport((x, 10.0, x + 40.0, 70.0), found, points, Quality(30.5, 0.5, 1.0, 2.0, 3.0), answers)


def report(*faces: FaceReport) -> Report:
    return Report("a.jpg", "ok" if faces else "no_face", "toy@00000000", "default", faces, width=200, height=100)


FAILED = Report("b.jpg", "unreadable", "toy@00000000", "default", error=("unreadable", "No picture."))
FORMS = {"report": lambda one: one, "record": lambda one: json.loads(json.dumps(one.to_dict()))}


@pytest.mark.parametrize("form", FORMS)
def test_supervision_holds_boxes_probabilities_and_labels(form: str) -> None:
    supervision = pytest.importorskip("supervision")
    made = interop.to_supervision(FORMS[form](report(face(100, 0.9), face(10, 0.2, None))))
    assert isinstance(made, supervision.Detections)
    np.testing.assert_array_equal(made.xyxy, [[100, 10, 140, 70], [10, 10, 50, 70]])
    np.testing.assert_array_equal(made.confidence, np.array([0.99, np.nan], np.float32))
    smiling = made[made["Smiling"] > 0.5]
    assert (len(smiling), smiling["Smiling_label"].tolist(), smiling["eye_distance"].tolist()) == (1, ["yes"], [30.5])
    assert not SENSITIVE & set(made.data)
    assert {name for name in made.data if name in in_profile("default")} == set(in_profile("default"))
    picture = supervision.BoxAnnotator().annotate(np.zeros((100, 200, 3), np.uint8), made)
    assert picture.any(), "its own annotators draw them"


def test_supervision_takes_keypoints_and_no_face() -> None:
    pytest.importorskip("supervision")
    points = interop.keypoints_to_supervision(report(face(100, 0.9)))
    np.testing.assert_array_equal(points.xy[0], [[100 + i, 20 + i] for i in range(5)])
    assert len(interop.to_supervision(report())) == 0
    assert len(interop.keypoints_to_supervision(report())) == 0


def test_a_failed_record_says_why() -> None:
    pytest.importorskip("supervision")
    with pytest.raises(UsageError, match=r"b\.jpg gave no answer \(unreadable\): No picture\."):
        interop.to_supervision(FAILED)


@pytest.mark.parametrize("form", FORMS)
def test_fiftyone_holds_fractions_and_attributes(form: str) -> None:
    fiftyone = pytest.importorskip("fiftyone")
    sample = interop.to_fiftyone(FORMS[form](report(face(100, 0.9), face(10, 0.2, None))), filepath="/photos/a.jpg")
    assert isinstance(sample, fiftyone.Sample)
    first, second = sample["faces"].detections
    assert first.bounding_box == pytest.approx([0.5, 0.1, 0.2, 0.6])
    assert (first["Smiling"], first["Smiling_label"], first["eye_distance"], second.confidence) == (
        0.9,
        "yes",
        30.5,
        None,
    )
    assert sample["keypoints"].keypoints[0].points[1] == pytest.approx((0.505, 0.21))
    assert (sample.filepath, sample["status"], sample["model"]) == ("/photos/a.jpg", "ok", "toy@00000000")
    again = fiftyone.Detections.from_dict(sample["faces"].to_dict())
    assert again.detections[0]["Smiling"] == 0.9, "it survives FiftyOne's own way to its database"


def test_fiftyone_takes_photos_without_answers() -> None:
    pytest.importorskip("fiftyone")
    for one in (report(), FAILED):
        sample = interop.to_fiftyone(one)
        assert (sample["faces"].detections, sample["status"]) == ([], one.status)


@pytest.mark.parametrize("name", ["supervision", "fiftyone"])
def test_a_missing_library_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = builtins.__import__

    def without(wanted: str, *args: Any, **more: Any) -> Any:
        if wanted == name:
            raise ImportError(wanted)
        return real(wanted, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"lineament\[{name}\]"):
        getattr(interop, f"to_{name}")(report())
