"""Record writers (sinks): JSONL, a JSON array, CSV, Parquet. Each can be read back after any interruption, repaired,
and continued.

    report -> one write of whole lines -> file

Convention: a record reaches the file in one write before the next one is begun, so `kill -9` can tear at most the last
record, and a torn record is found and dropped when the run is resumed. File names that are not text (undecodable bytes)
are kept: JSON writes the lone surrogates of `os.fsdecode` as \\udcXX escapes, CSV writes the original bytes. Parquet is
written whole when the run ends, from a journal beside it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lineament.errors import ResumeError, UsageError
from lineament.files import replacing
from lineament.outputs.rows import columns, rows
from lineament.types import Report

Keep = Callable[[str], bool]
STDOUT = "-"


@dataclass(frozen=True)
class Written:
    """What an earlier run left of one input."""

    source: str
    status: str
    model: str
    profile: str


class Sink(Protocol):
    """An output of records. `written` and `repair` serve --resume and come before `open`."""

    @property
    def path(self) -> str: ...

    def written(self) -> Iterator[Written]:
        """Yield what whole records the file holds, in order; none where it is missing or empty."""
        ...

    def repair(self, keep: Keep) -> None:
        """Drop torn records and those whose source `keep` refuses (asked once per record, in order)."""
        ...

    def open(self, *, resume: bool) -> None: ...

    def write(self, report: Report) -> None: ...

    def close(self, *, complete: bool) -> None:
        """Finish the file; `complete` is False for an interrupted run."""
        ...


class LineFile:
    """A file (or stdout) that takes whole lines in single writes, unbuffered; in a regular file a failed write is cut
    off again."""

    def __init__(self, path: str) -> None:
        self.path, self._descriptor, self._regular = path, -1, False

    def open(self, *, resume: bool) -> None:
        """Open for writing, at the end when resuming, else emptied. Raises: UsageError where the path cannot be
        written."""
        if self.path == STDOUT:
            sys.stdout.flush()
            return
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | (0 if resume else os.O_TRUNC)
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, flags if is_plain(self.path) else os.O_WRONLY, 0o666)
        except OSError as error:
            raise UsageError(
                f"Cannot write {self.path}: {error.strerror}. Name a file in a folder that you may write to."
            ) from error
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        if self._regular:
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def write(self, data: bytes) -> None:
        if self.path == STDOUT:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR) if self._regular else 0
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if self._regular:
                os.ftruncate(self._descriptor, start)
            error.filename = self.path
            raise

    def empty(self) -> bool:
        """Return whether nothing is in the file yet. Only for an open one."""
        return not self._regular or os.fstat(self._descriptor).st_size == 0

    def close(self) -> None:
        if self._descriptor >= 0:
            if self._regular:
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def is_plain(path: str) -> bool:
    """Return whether a path is, or would be, a regular file: not stdout, a device or a pipe."""
    return path != STDOUT and (not os.path.lexists(path) or Path(path).is_file())


class JsonlSink:
    """One record per line."""

    def __init__(self, path: str) -> None:
        self.path, self._file = path, LineFile(path)

    def written(self) -> Iterator[Written]:
        return (_written(record) for record, _ in _records(self.path, whole_lines=True))

    def repair(self, keep: Keep) -> None:
        """Cut off what is not kept where it stands at the end, which is the usual case; else write the file anew."""
        if not Path(self.path).is_file():
            return
        wanted, end, unbroken = bytearray(), 0, True
        with Path(self.path).open("rb") as file:
            for raw in file:
                record = _parse(raw) if raw.endswith(b"\n") else None
                wanted.append(record is not None and keep(record["source"]))
                unbroken = unbroken and bool(wanted[-1])
                end += len(raw) if unbroken else 0
        if unbroken or 1 not in wanted[wanted.index(0) :]:
            os.truncate(self.path, end)
        else:
            with Path(self.path).open("rb") as file:
                _rewrite(self.path, (raw for raw, good in zip(file, wanted, strict=True) if good))

    def open(self, *, resume: bool) -> None:
        self._file.open(resume=resume)

    def write(self, report: Report) -> None:
        self._file.write(record_line(report) + b"\n")

    def close(self, *, complete: bool) -> None:
        self._file.close()


class JsonSink:
    """A JSON array of records, one per line; an interrupted one lacks its closing bracket until it is resumed."""

    def __init__(self, path: str) -> None:
        self.path, self._file, self._first = path, LineFile(path), True

    def written(self) -> Iterator[Written]:
        return (_written(record) for record, _ in _records(self.path))

    def repair(self, keep: Keep) -> None:
        kept = (line for record, line in _records(self.path) if keep(record["source"]))
        _rewrite(self.path, ((b",\n" if index else b"[\n") + line for index, line in enumerate(kept)))

    def open(self, *, resume: bool) -> None:
        self._file.open(resume=resume)
        self._first = self._file.empty()

    def write(self, report: Report) -> None:
        self._file.write((b"[\n" if self._first else b",\n") + record_line(report))
        self._first = False

    def close(self, *, complete: bool) -> None:
        if complete:
            self._file.write(b"[]\n" if self._first else b"\n]\n")
        self._file.close()


class CsvSink:
    """One row per face, one row for a photo without faces; `rows.columns` names the columns. keys: as
    `rows.key_columns` gives them."""

    def __init__(
        self,
        path: str,
        attributes: Sequence[str],
        *,
        consistent: bool = False,
        abstain: bool = False,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self._file, self._keys = path, LineFile(path), keys or {}
        self._columns = columns(attributes, consistent=consistent, abstain=abstain, keys=tuple(self._keys))

    def written(self) -> Iterator[Written]:
        return (
            Written(*(group[0][key] for key in ("source", "status", "model", "profile"))) for group in self._groups()
        )

    def repair(self, keep: Keep) -> None:
        groups = (group for group in self._groups() if keep(group[0]["source"]))
        _rewrite(
            self.path, (data for part in ([self._header()], (self._lines(group) for group in groups)) for data in part)
        )

    def open(self, *, resume: bool) -> None:
        self._file.open(resume=resume)
        if self._file.empty():
            self._file.write(self._header())

    def write(self, report: Report) -> None:
        self._file.write(self._lines(rows(report, self._keys)))

    def close(self, *, complete: bool) -> None:
        self._file.close()

    def _header(self) -> bytes:
        return self._lines([{name: name for name in self._columns}])

    def _lines(self, group: Sequence[dict[str, Any]]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(group)
        return text.getvalue().encode("utf-8", "surrogateescape")

    def _groups(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each input. The last input is left out: its later rows may be missing, so it is done
        again."""
        path = Path(self.path)
        if not path.is_file() or path.stat().st_size == 0:
            return
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            if not file.readline().endswith("\n"):
                return  # killed within the header
            file.seek(0)
            reader = csv.DictReader(file)
            if list(reader.fieldnames or ()) != self._columns[: len(reader.fieldnames or ())]:
                raise ResumeError(
                    f"{self.path} does not have the columns of this run. Write to another file, or leave --resume out."
                )
            group: list[dict[str, Any]] = []
            for row in reader:
                if row.get(self._columns[-1]) is None:
                    break  # a torn row, the last there is
                if group and row.get("face") in ("", "0", None):
                    yield group
                    group = []
                group.append(row)


def record_line(report: Report) -> bytes:
    """Return a report's record as one line of JSON in ASCII, without the line's end."""
    return json.dumps(report.to_dict(), ensure_ascii=True, allow_nan=False).encode("ascii")


def _records(path: str, *, whole_lines: bool = False) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield (record, its line) for every whole record in a JSON array of ours or, with `whole_lines`, a JSONL file.

    Raises: ResumeError where the file holds something else.
    """
    if not Path(path).is_file():
        return
    whole = lines = 0
    with Path(path).open("rb") as file:
        for raw in file:
            if whole_lines and lines == 0 and raw == b"[\n":
                raise ResumeError(f"{path} holds a JSON array. Go on with --json, or name another file.")
            line = raw.strip() if whole_lines else raw.strip().removesuffix(b",")
            if not line or (not whole_lines and line in (b"[", b"]", b"[]")):
                continue
            lines += 1
            record = None if whole_lines and not raw.endswith(b"\n") else _parse(line)
            if record is not None:
                whole += 1
                yield record, line
    if lines > 1 and not whole:
        raise ResumeError(f"{path} holds no record of Lineament, and would be overwritten. Name another file.")


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None for a torn one."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return (
        record
        if isinstance(record, dict) and {"source", "status", "model", "profile", "faces"} <= set(record)
        else None
    )


def _written(record: dict[str, Any]) -> Written:
    return Written(record["source"], record["status"], record["model"], record["profile"])


def _rewrite(path: str, parts: Iterator[bytes]) -> None:
    """Replace a file by `parts` at once; where it does not exist nothing is made."""
    if not Path(path).is_file():
        return
    with replacing(path) as partial, partial.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
