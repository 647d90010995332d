"""Interoperability: answers in the types of other libraries, supervision's Detections and KeyPoints, FiftyOne's Sample
and Detections.

    Report, or a record read back from JSONL -> the other library's own objects

Neither library is needed for anything else here; each is imported when its function is called. What a profile leaves
out is left out here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineament.errors import MissingExtraError, UsageError
from lineament.types import Report

if TYPE_CHECKING:
    import fiftyone
    import supervision

QUALITY = ("eye_distance", "sharpness", "yaw", "pitch", "roll")


def to_supervision(report: Report | Mapping[str, Any]) -> supervision.Detections:
    """Return the faces as supervision's Detections, one row per face, largest first.

    Convention: boxes in pixels of the upright photo; `confidence` is the detector's probability, NaN where none ran.
    `data` holds, per face, `class_name` "face", NAME (probability) and NAME_label of every attribute, and the numbers
    of `quality`.
    Args: report: from `Model.analyze` or `stream`, or its record (`to_dict()`, a line of JSONL).
    Raises: UsageError for a record that gave an error; MissingExtraError.
    """
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError("supervision", "supervision") from error
    faces = _faces(report)
    names = list(faces[0]["attributes"]) if faces else []
    data: dict[str, Any] = {"class_name": np.array(["face"] * len(faces), dtype=str)}
    for name in names:
        data[name] = np.array([face["attributes"][name]["prob"] for face in faces])
        data[f"{name}_label"] = np.array([face["attributes"][name]["label"] for face in faces])
    data |= {name: np.array([face["quality"][name] for face in faces]) for name in QUALITY if faces}
    return supervision.Detections(
        xyxy=np.array([face["box_xyxy"] for face in faces], np.float32).reshape(-1, 4),
        confidence=_confidence(faces), class_id=np.zeros(len(faces), int), data=data,
    )  # fmt: skip


def keypoints_to_supervision(report: Report | Mapping[str, Any]) -> supervision.KeyPoints:
    """Return the five keypoints of every face (N,5,2) as supervision's KeyPoints, in the order of `KEYPOINT_NAMES`.

    Args, Raises: as `to_supervision`.
    """
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError("supervision", "supervision") from error
    faces = _faces(report)
    points = np.array([face["keypoints"] for face in faces], np.float32).reshape(-1, 5, 2)
    return supervision.KeyPoints(xy=points, class_id=np.zeros(len(faces), int))


def to_fiftyone(report: Report | Mapping[str, Any], filepath: str | None = None) -> fiftyone.Sample:
    """Return a FiftyOne Sample of the photo: `faces` (Detections) and `keypoints` (Keypoints), both in fractions of the
    photo.

    Convention: each Detection is labelled "face" and carries NAME (probability), NAME_label and the numbers of
    `quality` as attributes; `status`, `model` and `profile` stand on the sample. A photo without answers gives a sample
    without faces, its error in `status`. FiftyOne takes boxes as [x, y, width, height]. Ours are of the upright photo:
    check a photo that EXIF turns in your viewer.
    Args: report: as in `to_supervision`. filepath: of the photo; the report's source by default.
    Raises: MissingExtraError.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise MissingExtraError("fiftyone", "fiftyone") from error
    record = _record(report)
    size = (record["image"]["width"], record["image"]["height"])
    boxes, points = [], []
    for face in record["faces"]:
        fields = {name: answer["prob"] for name, answer in face["attributes"].items()}
        fields |= {f"{name}_label": answer["label"] for name, answer in face["attributes"].items()}
        fields |= {name: face["quality"][name] for name in QUALITY}
        x1, y1, x2, y2 = face["box_xyxy"]
        box = [x1 / size[0], y1 / size[1], (x2 - x1) / size[0], (y2 - y1) / size[1]]
        boxes.append(fiftyone.Detection(label="face", bounding_box=box, confidence=face["detection_prob"], **fields))
        points.append(
            fiftyone.Keypoint(label="face", points=[(x / size[0], y / size[1]) for x, y in face["keypoints"]])
        )
    about = {name: record[name] for name in ("status", "model", "profile")}
    faces = {"faces": fiftyone.Detections(detections=boxes), "keypoints": fiftyone.Keypoints(keypoints=points)}
    return fiftyone.Sample(filepath=filepath or record["source"], **about, **faces)


def _record(report: Report | Mapping[str, Any]) -> Mapping[str, Any]:
    return report.to_dict() if isinstance(report, Report) else report


def _faces(report: Report | Mapping[str, Any]) -> list[Mapping[str, Any]]:
    record = _record(report)
    if record["error"] is not None:
        raise UsageError(f"{record['source']} gave no answer ({record['error']['code']}): {record['error']['message']}")
    return list(record["faces"])


def _confidence(faces: list[Mapping[str, Any]]) -> npt.NDArray[np.float32]:
    return np.array(
        [np.nan if face["detection_prob"] is None else face["detection_prob"] for face in faces], np.float32
    )
