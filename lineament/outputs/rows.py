"""A report as table rows: one per face, one for a photo without faces; the columns of CSV and Parquet.

report -> rows (max(N,1), columns)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lineament.types import KEYPOINT_NAMES, Report

PHOTO_COLUMNS = ("source", "status", "error_code", "error_message", "width", "height", "note", "model", "profile")
FACE_COLUMNS = (
    "face", "x1", "y1", "x2", "y2", "detection_prob",
    *(f"{point}_{axis}" for point in KEYPOINT_NAMES for axis in "xy"),
    "eye_distance", "sharpness", "yaw", "pitch", "roll",
)  # fmt: skip
TEXT_COLUMNS = frozenset(PHOTO_COLUMNS) - {"width", "height"}
COUNT_COLUMNS = frozenset({"width", "height", "face"})


def key_columns(id_column: str | None, keep: Sequence[str], attributes: Sequence[str]) -> dict[str, str]:
    """Return output column -> the input table's column for what comes along: `id`, then each by its own name,
    `input_NAME` where that is taken.

    >>> key_columns("asset_id", ["shop", "width"], ["Smiling"])
    {'id': 'asset_id', 'shop': 'shop', 'input_width': 'width'}
    """
    taken = {"id", *columns(attributes, consistent=True, abstain=True)}
    found = {} if id_column is None else {"id": id_column}
    return found | {f"input_{name}" if name in taken else name: name for name in keep}


def columns(
    attributes: Sequence[str], *, consistent: bool = False, abstain: bool = False, keys: Sequence[str] = ()
) -> list[str]:
    """Return the column names: photo, the input table's `keys`, face, then per attribute prob_NAME and label_NAME.

    With `consistent` also changed_by_NAME, with `abstain` because_NAME.
    """
    per_attribute = ("prob", "label", *(("changed_by",) if consistent else ()), *(("because",) if abstain else ()))
    return [*PHOTO_COLUMNS, *keys, *FACE_COLUMNS, *(f"{kind}_{name}" for name in attributes for kind in per_attribute)]


def rows(report: Report, keys: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a report, values rounded as in its record; what a row lacks is absent. keys: as `key_columns`
    gives them."""
    record = report.to_dict()
    error = record["error"] or {"code": None, "message": None}
    photo = {
        "source": record["source"], "status": record["status"], "error_code": error["code"],
        "error_message": error["message"], **record["image"], "model": record["model"], "profile": record["profile"],
    }  # fmt: skip
    for name, own in (keys or {}).items():
        photo[name] = record.get("id") if name == "id" else record.get("columns", {}).get(own)
    if not record["faces"]:
        return [photo]
    return [photo | _face_row(index, face) for index, face in enumerate(record["faces"])]


def _face_row(index: int, face: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"face": index, **dict(zip(("x1", "y1", "x2", "y2"), face["box_xyxy"], strict=True))}
    row["detection_prob"] = face["detection_prob"]
    for point, (x, y) in zip(KEYPOINT_NAMES, face["keypoints"], strict=True):
        row[f"{point}_x"], row[f"{point}_y"] = x, y
    row |= face["quality"]
    for name, answer in face["attributes"].items():
        row |= {f"{key}_{name}": value for key, value in answer.items()}
    return row
