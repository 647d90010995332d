"""Rows into the index, a transaction per batch: each photo's old rows go and its new ones come together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineament.errors import UsageError
from lineament.files import escaped
from lineament.search.bursts import when_taken
from lineament.search.database import FACE_COLUMNS
from lineament.search.erase import mark
from lineament.search.photo_list import PhotoFile, readable
from lineament.search.sql import column
from lineament.types import FaceReport, Report

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


Eyes = tuple[float, float]
"""How far the right and the left eye are open (`detection.eyes`); NaN where that is not known."""
FaceRow = tuple[int, int, FaceReport, Eyes]
_PLACE_TYPES = ("INTEGER", "BLOB", "VARCHAR", "BIGINT", "BIGINT")
_FILE_TYPES = (
    "BIGINT",
    *_PLACE_TYPES,
    "VARCHAR",
    "VARCHAR",
    "VARCHAR",
    "INTEGER",
    "INTEGER",
    "VARCHAR",
    "UBIGINT",
    "DOUBLE",
)
_COPY_TYPES = ("BIGINT", "BIGINT", *_PLACE_TYPES)
_KEY_TYPES = ("BIGINT", "VARCHAR", "VARCHAR", "VARCHAR")
"""Of the columns of `files` and `keys`, in the order of `search/database.py`."""
UNKNOWN_EYES: Eyes = (float("nan"), float("nan"))


@dataclass
class _Batch:
    """What the next transaction writes, in this order: copies, removals, files, faces, keys."""

    copies: list[tuple[int, int, PhotoFile]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    files: list[list[Any]] = field(default_factory=list)
    faces: list[FaceRow] = field(default_factory=list)
    keys: list[list[Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.copies) + len(self.files)


@dataclass(frozen=True)
class PhotoFindings:
    """What is read from a photo's pixels beside the answers: its difference hash, and each face's eyes."""

    scene: int | None = None
    eyes: tuple[Eyes, ...] = ()


@dataclass(frozen=True)
class Keys:
    """What came with a photo from a table or a record: its id, its columns as JSON, the hash of the record it was taken
    from."""

    id: str | None = None
    columns: str | None = None
    record: str | None = None


class Writer:
    """Writes photos of one indexed folder, `size` of them per transaction."""

    def __init__(
        self, con: DuckDBPyConnection, *, root_id: int, model: str, attributes: tuple[str, ...], size: int
    ) -> None:
        self.con, self.root_id, self.model, self.attributes, self.size = con, root_id, model, attributes, size
        highest = con.execute("SELECT coalesce(max(file_id), -1) FROM files").fetchone()
        self.next_id = int(highest[0] if highest else -1) + 1
        self.batch, self.dead = _Batch(), set[int]()

    def report(
        self, photo: PhotoFile, sha256: str | None, report: Report, *, look: PhotoFindings, replaces: int | None,
        keys: Keys | None = None, local: bool = True,
    ) -> None:  # fmt: skip
        """Add a photo's answers. local: it is a file here, which may say when it was taken.

        Raises: UsageError where they lack attributes (a model loaded with a narrower profile).
        """
        for face in report.faces:
            if not set(self.attributes) <= set(face.attributes):
                raise UsageError("The index holds every attribute: load its model with profile='all'.")
        number = self._begin(replaces)
        taken = when_taken(photo.path) if local and report.faces else None
        error = None if report.error is None else escaped(report.error[1])
        self.batch.files.append(
            [
                number,
                *self._place(photo),
                sha256,
                report.status,
                error,
                report.width,
                report.height,
                self.model,
                look.scene,
                taken,
            ]
        )
        self.batch.faces += [
            (number, i, face, look.eyes[i] if look.eyes else UNKNOWN_EYES) for i, face in enumerate(report.faces)
        ]
        self._keep(number, keys)
        self._flush_full()

    def copy(self, photo: PhotoFile, source: int, *, replaces: int | None, keys: Keys | None = None) -> bool:
        """Give a photo the rows of a file with the same bytes; False if those rows have been replaced meanwhile."""
        if source in self.dead:
            return False
        number = self._begin(replaces)
        self.batch.copies.append((number, source, photo))
        self._keep(number, keys)
        self._flush_full()
        return True

    def failure(self, photo: PhotoFile, status: str, message: str, *, replaces: int | None) -> None:
        """Note a photo whose bytes could not be read."""
        number = self._begin(replaces)
        self.batch.files.append(
            [number, *self._place(photo), None, status, message, None, None, self.model, None, None]
        )
        self._flush_full()

    def flush(self) -> None:
        """Write the batch in one transaction."""
        batch, self.batch = self.batch, _Batch()
        if not batch:
            return
        self.con.begin()
        try:
            self._write(batch)
        except BaseException:
            self.con.rollback()
            raise
        self.con.commit()
        self.dead |= set(batch.removed)

    def _flush_full(self) -> None:
        if len(self.batch) >= self.size:
            self.flush()

    def _keep(self, number: int, keys: Keys | None) -> None:
        if keys is not None:
            self.batch.keys.append([number, keys.id, keys.columns, keys.record])

    def _begin(self, replaces: int | None) -> int:
        if replaces is not None:
            self.batch.removed.append(replaces)
        self.next_id += 1
        return self.next_id - 1

    def _place(self, photo: PhotoFile) -> list[Any]:
        return [self.root_id, photo.relative, readable(photo.relative), photo.size, photo.mtime_ns]

    def _write(self, batch: _Batch) -> None:
        if batch.copies:
            self._copy(batch.copies)
        if batch.removed:
            mark(self.con)
            for table in ("keys", "faces", "files"):
                self.con.execute(
                    f"DELETE FROM {table} WHERE file_id IN (SELECT unnest(CAST(? AS BIGINT[])))", [batch.removed]
                )
        if batch.files:
            _insert(self.con, "files", _FILE_TYPES, batch.files)
        if batch.faces:
            insert_faces(self.con, face_columns(batch.faces, self.attributes))
        if batch.keys:
            _insert(self.con, "keys", _KEY_TYPES, batch.keys)

    def _copy(self, copies: list[tuple[int, int, PhotoFile]]) -> None:
        text, values = _columns(
            _COPY_TYPES, [[number, source, *self._place(photo)] for number, source, photo in copies]
        )
        new = f"({text}) AS new (number, source, root_id, path, file, size, mtime_ns)"
        kept = "sha256, status, error, width, height, model, scene, taken"
        self.con.execute(
            f"INSERT INTO files SELECT number, new.root_id, new.path, new.file, new.size, new.mtime_ns, {kept}"
            f" FROM {new} JOIN files ON files.file_id = new.source", values,
        )  # fmt: skip
        replaced = "faces.* REPLACE (new.number AS file_id)"
        self.con.execute(
            f"INSERT INTO faces SELECT {replaced} FROM {new} JOIN faces ON faces.file_id = new.source", values
        )


def _insert(con: DuckDBPyConnection, table: str, types: tuple[str, ...], rows: list[list[Any]]) -> None:
    text, values = _columns(types, rows)
    con.execute(f"INSERT INTO {table} {text}", values)


def _columns(types: tuple[str, ...], rows: list[list[Any]]) -> tuple[str, list[Any]]:
    """Return a SELECT of rows and its parameters, one list a column: a parameter a value costs ten times as much."""
    return f"SELECT {', '.join(f'unnest(CAST(? AS {kind}[]))' for kind in types)}", [
        list(values) for values in zip(*rows, strict=True)
    ]


def face_columns(faces: list[FaceRow], attributes: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the `faces` table for (file id, position, face, eyes) rows.

    Raises: UsageError for a probability that is no number in 0..1.
    """
    numbers = np.array([_numbers(face, eyes) for _, _, face, eyes in faces], np.float32)
    probs = np.array([[face.attributes[name].prob for name in attributes] for _, _, face, _ in faces], np.float32)
    if not np.all((probs >= 0) & (probs <= 1)):
        raise UsageError("The model gave a probability outside 0..1. Check its card's calibration.")
    columns: dict[str, npt.NDArray[Any]] = {
        "file_id": np.array([number for number, _, _, _ in faces], np.int64),
        "face": np.array([position for _, position, _, _ in faces], np.int32),
    }
    columns |= {name: np.ascontiguousarray(numbers[:, i]) for i, name in enumerate(FACE_COLUMNS)}
    return columns | {f"prob_{name}": np.ascontiguousarray(probs[:, i]) for i, name in enumerate(attributes)}


def _numbers(face: FaceReport, eyes: Eyes) -> list[float]:
    quality, found = face.quality, face.detection_prob
    measured = [quality.eye_distance, quality.sharpness, quality.yaw, quality.pitch, quality.roll]
    points = [value for point in face.keypoints for value in point]
    return [*face.box_xyxy, float("nan") if found is None else found, *measured, *points, *eyes]


def insert_faces(con: DuckDBPyConnection, columns: dict[str, npt.NDArray[Any]]) -> None:
    """Append rows to `faces`, given as NumPy columns; NaN is stored as NULL where a value may be absent."""
    numbers = ", ".join(f"if(isnan({name}), NULL, {name}) AS {name}" for name in FACE_COLUMNS)
    probs = ", ".join(column(name.removeprefix("prob_")) for name in columns if name.startswith("prob_"))
    con.register("new_faces", columns)
    try:
        con.execute(f"INSERT INTO faces BY NAME SELECT file_id, face, {numbers}, {probs} FROM new_faces")
    finally:
        con.unregister("new_faces")
