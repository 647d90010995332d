"""Given boxes (`--boxes FILE`): faces that another detector found, a table of boxes or keypoints per photo.

    FILE (CSV, JSONL, Parquet) -> source -> Faces

Columns: `source` (as the photo is given on the command line) and either `x1,y1,x2,y2` or ten keypoint columns, or both;
several rows of one source are several faces. Keypoints: right_eye_x, right_eye_y, left_eye_x, left_eye_y, nose_x,
nose_y, right_mouth_x, right_mouth_y, left_mouth_x, left_mouth_y (the subject's right and left), the names that `--csv`
writes. Convention: pixels of the upright photo, the corner of the top-left pixel is (0, 0).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, KeysView, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lineament.data.unicode import codec_of
from lineament.errors import DataError, ImageError
from lineament.files import sha256_of
from lineament.geometry import keypoints_from_boxes
from lineament.inputs.parquet import arrow, first_line
from lineament.types import KEYPOINT_NAMES, Faces, Float32, UInt8

BOX_COLUMNS = ("x1", "y1", "x2", "y2")
POINT_COLUMNS = tuple(f"{point}_{axis}" for point in KEYPOINT_NAMES for axis in "xy")
_BOX_OF_POINTS = np.array([[-0.55, -0.75], [1.55, 1.45]], np.float64)
"""The box drawn around bare keypoints, in units of their own bounding box (only shown; the crop comes from the
points)."""


class BoxError(ImageError):
    """A given box or keypoint that cannot belong to its photo."""

    code = "bad_box"


class GivenFaces:
    """The faces of a table, looked up by source: a `FindFaces` without a detector. A photo that is not in the table has
    no face."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.fingerprint = _hash(self.path)
        self._faces: dict[str, list[tuple[Float32, Float32]]] = {}
        for line, row in enumerate(_read(self.path), start=1):
            parsed = _face(row, f"{self.path}, row {line}")
            if parsed is not None:
                self._faces.setdefault(str(row["source"]), []).append(parsed)

    @property
    def sources(self) -> KeysView[str]:
        """The photos that have a face in the table, as it names them."""
        return self._faces.keys()

    def __call__(self, pixels: UInt8, source: str) -> Faces:
        """Return the faces given for a source, largest first. Raises: BoxError where one lies outside the photo."""
        found = self._faces.get(source, [])
        if not found:
            return Faces.empty()
        boxes, points = (np.stack(part).astype(np.float32) for part in zip(*found, strict=True))
        height, width = pixels.shape[:2]
        outside = (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
        if outside.any():
            raise BoxError(
                f"A face given for this photo lies outside its {width}x{height} pixels. Coordinates are of the upright "
                "photo, in pixels."
            )
        return Faces(boxes, np.full(len(boxes), np.nan, np.float32), points).largest_first()


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)[:16]
    except OSError as error:
        raise DataError(f"Cannot read --boxes {path}: {error.strerror or error}.") from error


def _face(row: Mapping[str, Any], where: str) -> tuple[Float32, Float32] | None:
    """Return (box (4,), keypoints (5,2)) of a row; None for a row without a face (a photo listed as having none)."""
    if not row.get("source"):
        raise DataError(
            f"{where} has no `source`. The table needs a column `source`, and x1,y1,x2,y2 or ten keypoint columns."
        )
    points, box = _numbers(row, POINT_COLUMNS, where), _numbers(row, BOX_COLUMNS, where)
    if points is None and box is None:
        if any(name in row for name in (*BOX_COLUMNS, *POINT_COLUMNS)):
            return None
        raise DataError(
            f"{where} has neither {', '.join(BOX_COLUMNS)} nor the ten keypoint columns ({POINT_COLUMNS[0]} ...)."
        )
    if box is not None and not (box[2] > box[0] and box[3] > box[1]):
        raise DataError(
            f"{where}: a box needs x1 < x2 and y1 < y2, got {box.tolist()}. (x, y, width, height must be converted.)"
        )
    if points is None:
        assert box is not None
        return box, keypoints_from_boxes(box[None])[0]
    keypoints = points.reshape(5, 2)
    if np.ptp(keypoints, axis=0).max() <= 0:
        raise DataError(f"{where}: the five keypoints are one and the same point.")
    return (_around(keypoints) if box is None else box), keypoints


def _around(keypoints: Float32) -> Float32:
    low, size = keypoints.min(0), np.ptp(keypoints, axis=0)
    return np.asarray((low + _BOX_OF_POINTS * size).reshape(4), np.float32)


def _numbers(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> Float32 | None:
    """Return the named columns as numbers; None where every one of them is absent or empty."""
    values = [row.get(name) for name in names]
    empty = [value is None or value == "" for value in values]
    if all(empty):
        return None
    if any(empty):
        raise DataError(f"{where} lacks {', '.join(name for name, gone in zip(names, empty, strict=True) if gone)}.")
    try:
        numbers = np.array([float(str(value)) for value in values], np.float32)
    except ValueError as error:
        raise DataError(f"{where}: {error}.") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: coordinates must be finite numbers.")
    return numbers


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        if path.suffix.lower() == ".parquet":
            yield from _read_parquet(path)
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _read_jsonl(path)
        else:
            with _opened(path) as file:
                yield from csv.DictReader(file)
    except OSError as error:
        raise DataError(f"Cannot read --boxes {path}: {error.strerror or error}.") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file ({error}).") from error


def _opened(path: Path) -> TextIO:
    """Return a text file in whatever Unicode encoding it has."""
    with path.open("rb") as raw:
        encoding, errors = codec_of(raw.read(1 << 16))
    return path.open(encoding=encoding, errors=errors, newline="")


def _read_jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number} is not JSON ({error}).") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number} is not a JSON object.")
            yield row


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    pyarrow, parquet = arrow()
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"{path} is not a Parquet file, or damaged: {first_line(error)}") from error
