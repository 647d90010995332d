"""Build an index from what is no folder: records that `analyze` wrote, or the photos of an archive or a table.

    records.jsonl|json|parquet -> reports -> rows          archive, table -> items -> (same bytes as before | new) ->
        reports + looks -> rows

Convention: the rows of one file are brought up to date as a whole: what the file no longer holds leaves the index, and
its bytes. Records tell nothing of pixels, so photos from them have no difference hash and no eyelids: they are in no
burst. Relative sources are made absolute.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineament.errors import DataError, MissingExtraError, UsageError
from lineament.inputs.item import SEPARATOR, Item
from lineament.schema import in_profile
from lineament.search.begin import open_index, source_id
from lineament.search.build import BATCH, Answers, IndexModel, IndexSummary, InThreads, Progress, counts, writing
from lineament.search.erase import is_marked, rewrite
from lineament.search.photo_list import PhotoFile
from lineament.search.write import Keys, PhotoFindings, Writer
from lineament.types import KEYPOINT_NAMES, Report

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lineament.runtime.card import Card

RECORDS_BATCH = 4096
"""Records per transaction: reading one again costs a fraction of a millisecond, so little is lost with a batch that a
kill takes along."""
_QUALITY = ("eye_distance", "sharpness", "yaw", "pitch", "roll")
_KEYPOINTS = tuple((f"{point}_x", f"{point}_y") for point in KEYPOINT_NAMES)
_KNOWN = frozenset({
    "source", "status", "error_code", "error_message", "width", "height", "note", "model", "profile", "rates", "id",
    "face", "x1", "y1", "x2", "y2", "detection_prob", *_QUALITY, *chain.from_iterable(_KEYPOINTS),
})  # fmt: skip
_OF_ANSWERS = ("prob_", "label_", "changed_by_", "because_")


def build_from_records(
    records: str | Path, db: str | Path, model: str, card: Card, *, rebuild: bool = False, threads: int | None = None,
    progress: Progress | None = None,
) -> IndexSummary:  # fmt: skip
    """Index the records of a file that `analyze` wrote (JSONL, JSON, Parquet); nothing is answered again.

    Args: model, card: the model that the records name. The index holds the attributes that the records show: all 40
        with --profile all.
    Raises: UsageError for records of another model, with moved rates, or with fewer attributes than the index;
            DataError for a file of others.
    """
    path = Path(records)
    found = iter(_reports(path))
    first = next((report for report in found if report.faces), None)
    attributes = tuple(first.faces[0].attributes) if first is not None else in_profile("default", card.attributes)
    with writing(Path(db), threads) as con:
        meta = open_index(con, Path(db), model, card, attributes, rebuild)
        root_id = source_id(con, str(path.resolve()))
        run = _Update(
            con, path, Writer(con, root_id=root_id, model=model, attributes=meta.attributes, size=RECORDS_BATCH)
        )
        try:
            for number, report in enumerate(_reports(path), 1):
                _check(report, path, model, meta.attributes)
                run.record(report)
                if progress is not None:
                    progress(number, number)
        finally:  # an interrupt keeps what was read
            run.writer.flush()
        return run.finish(con, Path(db), threads)


def build_from_items(
    name: str, items: Iterable[Item], db: str | Path, model: IndexModel, *, answers: Answers | None = None,
    rebuild: bool = False, threads: int | None = None, progress: Progress | None = None,
) -> IndexSummary:  # fmt: skip
    """Index the photos of an archive or a table; those whose bytes the index has under the same source keep their
    answers.

    Args: name: the archive or table; items: its photos, once each; answers: who answers them, in place of this process.
    """
    with writing(Path(db), threads) as con:
        meta = open_index(con, Path(db), model.id, model.card, model.card.attributes, rebuild)
        place = name if "://" in name else str(Path(name).resolve())
        run = _Update(
            con,
            Path(name),
            Writer(con, root_id=source_id(con, place), model=meta.model, attributes=meta.attributes, size=BATCH),
        )
        try:
            for number, (report, look) in enumerate((answers or InThreads(model))(run.new(items)), 1):
                run.answered(report, look)
                if progress is not None:
                    progress(number, number)
        finally:
            run.writer.flush()
        return run.finish(con, Path(db), threads)


class _Update:
    """Brings the rows that came out of one file up to date."""

    def __init__(self, con: DuckDBPyConnection, origin: Path, writer: Writer) -> None:
        self.origin, self.writer = origin, writer
        rows = con.execute(
            "SELECT path, file_id, coalesce(record, sha256), status FROM files LEFT JOIN keys USING (file_id) WHERE "
            "root_id = ?",
            [writer.root_id],
        ).fetchall()
        self.known = {bytes(path): (int(number), mark, str(status)) for path, number, mark, status in rows}
        self.seen: set[bytes] = set()
        self.asked: dict[str, tuple[PhotoFile, str | None, Keys]] = {}
        self.added = self.changed = self.unchanged = 0

    def record(self, report: Report) -> None:
        """Take one record in, where it is not in the index as it is."""
        photo = _photo_of(report.source)
        document = report.to_dict()
        mark = sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        if self._is_new(photo.relative, mark):
            self.writer.report(
                photo,
                None,
                report,
                look=PhotoFindings(),
                replaces=self._replaced(photo),
                keys=_keys(report.keys, mark),
                local=False,
            )

    def new(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items that need an answer."""
        for item in items:
            photo = _photo_of(item.source)
            data = item.data if item.data is not None or item.path is None else _read(item.path)
            mark = sha256(data).hexdigest() if isinstance(data, (bytes, bytearray, memoryview)) else None
            if self._is_new(photo.relative, mark):
                self.asked[item.source] = (photo, mark, _keys(item.keys, None))
                yield item

    def answered(self, report: Report, look: PhotoFindings) -> None:
        """Take one answer in."""
        photo, mark, keys = self.asked.pop(report.source)
        self.writer.report(photo, mark, report, look=look, replaces=self._replaced(photo), keys=keys, local=False)

    def finish(self, con: DuckDBPyConnection, db: Path, threads: int | None) -> IndexSummary:
        """Write what is left, take out what the file no longer holds, and give the account."""
        self.writer.flush()
        gone = [number for path, (number, _, _) in self.known.items() if path not in self.seen]
        due = is_marked(con)
        con.close()
        if gone or due:
            rewrite(db, without=gone)
        with writing(db, threads) as fresh:
            failed, faces = counts(fresh, self.writer.root_id)
        return IndexSummary(self.added, self.changed, 0, self.unchanged, len(gone), failed, faces)

    def _is_new(self, relative: bytes, mark: str | None) -> bool:
        if relative in self.seen:
            return False
        self.seen.add(relative)
        before = self.known.get(relative)
        if before is not None and mark is not None and before[1] == mark:
            self.unchanged += 1
            return False
        self.added, self.changed = (self.added + 1, self.changed) if before is None else (self.added, self.changed + 1)
        return True

    def _replaced(self, photo: PhotoFile) -> int | None:
        before = self.known.get(photo.relative)
        return None if before is None else before[0]


def _check(report: Report, origin: Path, model: str, attributes: tuple[str, ...]) -> None:
    if report.model != model:
        raise UsageError(
            f"{origin} holds answers of {report.model}, the model is {model}. Name the one that answered with --model."
        )
    if report.rates is not None:
        raise UsageError(
            f"{origin} was made with --rates: its probabilities were moved. Analyze without, and set --rates where you "
            "search."
        )
    lacking = set(attributes) - set(report.faces[0].attributes) if report.faces else set()
    if lacking:
        raise UsageError(
            f"{origin} lacks {len(lacking)} attributes of the index ({sorted(lacking)[0]} ...). Analyze with --profile "
            "all."
        )


def _photo_of(source: str) -> PhotoFile:
    """Return the place of a source in an index: absolute where it is a local path; size and time where it is a file
    now."""
    file, mark, member = source.partition(SEPARATOR)
    place = source if "://" in file or os.path.isabs(file) else os.path.abspath(file) + mark + member  # noqa: PTH100, PTH117 - links as given
    size = mtime_ns = 0
    if not mark and "://" not in file and "\0" not in place:
        try:
            seen = os.stat(place)  # noqa: PTH116
            size, mtime_ns = seen.st_size, seen.st_mtime_ns
        except OSError:
            size = 0  # gone: its answers are what there is
    return PhotoFile(place, os.fsencode(place), size, mtime_ns)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _keys(keys: Mapping[str, Any], record: str | None) -> Keys:
    given, columns = keys.get("id"), keys.get("columns")
    return Keys(None if given is None else str(given), None if columns is None else json.dumps(columns), record)


def _reports(path: Path) -> Iterator[Report]:
    """Yield the reports of a file of records. Raises: DataError for any other file; MissingExtraError for Parquet
    without PyArrow."""
    try:
        every = _from_parquet(path) if path.suffix.lower() == ".parquet" else _from_lines(path)
        for record in every:
            yield Report.from_dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} holds no records of `lineament analyze` ({type(error).__name__}: {error}). Give JSONL, JSON or "
            "Parquet."
        ) from error
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error


def _from_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of JSONL, or of a JSON array as `--json` writes it; a torn last line is left out."""
    with path.open("rb") as file:
        for line in file:
            text = line.strip().removesuffix(b",")
            if text in (b"", b"[", b"]", b"[]"):
                continue
            try:
                record = json.loads(text)
            except ValueError:
                if not line.endswith(b"\n"):
                    return
                raise
            yield record


def _from_parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = _Names.of(file.schema_arrow.names)
        rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(1024))
        record: dict[str, Any] | None = None
        for row in rows:
            if record is None or row["face"] in (None, 0):
                if record is not None:
                    yield record
                record = _record_of(row, names)
            if row["face"] is not None:
                record["faces"].append(_face_of(row, names))
        if record is not None:
            yield record
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class _Names:
    """A table's columns, sorted out once and not per row: (attribute, its probability's, its label's), those that came
    along, whether an id did."""

    attributes: tuple[tuple[str, str, str], ...]
    kept: tuple[str, ...]
    id: bool

    @classmethod
    def of(cls, names: list[str]) -> _Names:
        attributes = [name.removeprefix("prob_") for name in names if name.startswith("prob_")]
        kept = (name for name in names if name not in _KNOWN and not name.startswith(_OF_ANSWERS))
        return cls(tuple((name, f"prob_{name}", f"label_{name}") for name in attributes), tuple(kept), "id" in names)


def _record_of(row: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    error = None if row["error_code"] is None else {"code": row["error_code"], "message": row["error_message"] or ""}
    kept = {name: row[name] for name in names.kept}
    keys = ({"id": row["id"]} if names.id else {}) | ({"columns": kept} if kept else {})
    image = {name: row[name] for name in ("width", "height", "note")}
    return {"source": row["source"], **keys, "status": row["status"], "error": error, "image": image,
    "model": row["model"],
            "profile": row["profile"], "faces": []}  # fmt: skip


def _face_of(row: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    return {
        "box_xyxy": [row[name] for name in ("x1", "y1", "x2", "y2")],
        "detection_prob": row["detection_prob"],
        "keypoints": [[row[x], row[y]] for x, y in _KEYPOINTS],
        "quality": {name: row[name] for name in _QUALITY},
        "attributes": {name: {"prob": row[prob], "label": row[label]} for name, prob, label in names.attributes},
    }
