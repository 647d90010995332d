"""Records as a Parquet file (`[parquet]`): the columns of the CSV, typed, one row per face.

    reports -> journal (JSONL beside the file) -> row groups -> file, at once

Convention: a Parquet file cannot be read before it is whole, so until the run ends the records stand in FILE.journal;
`kill -9` loses none of them, and --resume goes on from the file, the journal, or both. A resumed run moves the file's
records into the journal first and notes there that it has them all, so that no record counts twice when that run is
interrupted too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lineament.errors import ResumeError, UsageError
from lineament.files import escaped, replacing, spelled
from lineament.inputs.parquet import arrow
from lineament.outputs.rows import COUNT_COLUMNS, TEXT_COLUMNS, columns, rows
from lineament.outputs.sinks import STDOUT, JsonlSink, Keep, Written
from lineament.types import Report

_ROWS_PER_GROUP = 4096
_HAS_ALL = '{"has_all": true}\n'


class ParquetSink:
    """A Parquet file of records. File names that are not text are stored with \\udcXX escapes spelled out (Parquet
    holds UTF-8 only)."""

    def __init__(
        self,
        path: str,
        attributes: Sequence[str],
        *,
        consistent: bool = False,
        abstain: bool = False,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        if path == STDOUT:
            raise UsageError("--parquet cannot write to stdout. Name a file.")
        arrow()
        self.path, self._keys = path, keys or {}
        self._columns = columns(attributes, consistent=consistent, abstain=abstain, keys=tuple(self._keys))
        self._journal = _RowJournal(path + ".journal", self._keys)

    def written(self) -> Iterator[Written]:
        for row in self._old_rows():
            if row["face"] in (None, 0):
                yield Written(row["source"], row["status"], row["model"], row["profile"])
        yield from self._journal.written()

    def repair(self, keep: Keep) -> None:
        """Move every kept record into the journal, so that the file can be written anew when the run ends."""
        import json

        if not (Path(self.path).is_file() or Path(self._journal.path).is_file()):
            return
        dropped = kept = False
        with replacing(self._journal.path) as partial, partial.open("w", encoding="ascii") as file:
            file.write(_HAS_ALL)
            for row in chain(self._old_rows(), self._journal.rows()):
                kept = keep(row["source"]) if row.get("face") in (None, 0) else kept
                dropped = dropped or not kept
                if kept:
                    file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if dropped:  # what goes out must not stay behind in the old file
            Path(self.path).unlink(missing_ok=True)

    def open(self, *, resume: bool) -> None:
        self._journal.open(resume=resume)

    def write(self, report: Report) -> None:
        self._journal.write(report)

    def close(self, *, complete: bool) -> None:
        self._journal.close(complete=complete)
        if complete:
            self._convert()
            Path(self._journal.path).unlink()

    def _convert(self) -> None:
        pa, pq = arrow()
        found = _types(pa, self._journal.rows(), self._keys)
        schema = pa.schema([(name, found.get(name) or _type(pa, name)) for name in self._columns])
        with replacing(self.path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            source = self._journal.rows()
            while batch := list(islice(source, _ROWS_PER_GROUP)):
                writer.write_table(
                    pa.Table.from_pylist([_text(row, self._keys, schema) for row in batch], schema=schema)
                )

    def _old_rows(self) -> Iterator[dict[str, Any]]:
        if not Path(self.path).is_file() or Path(self.path).stat().st_size == 0 or self._journal.has_all():
            return
        pa, pq = arrow()
        try:
            file = pq.ParquetFile(self.path)
        except pa.ArrowInvalid:  # torn: its records are in the journal, or are done again
            return
        if file.schema_arrow.names != self._columns:
            raise ResumeError(
                f"{self.path} does not have the columns of this run. Write to another file, or leave --resume out."
            )
        for batch in file.iter_batches(_ROWS_PER_GROUP):
            for row in batch.to_pylist():
                yield {
                    key: _untext(value) if key == "source" else value
                    for key, value in row.items()
                    if value is not None or key == "face"
                }


class _RowJournal(JsonlSink):
    """Rows instead of records, so that old Parquet rows and new reports share one journal. The last input may be torn
    and is done again."""

    def __init__(self, path: str, keys: Mapping[str, str]) -> None:
        super().__init__(path)
        self._keys = keys

    def write(self, report: Report) -> None:
        import json

        self._file.write(b"".join(json.dumps(row).encode("ascii") + b"\n" for row in rows(report, self._keys)))

    def has_all(self) -> bool:
        """Return whether the journal holds the records of the file beside it too."""
        if not Path(self.path).is_file():
            return False
        with Path(self.path).open("rb") as file:
            return file.readline() == _HAS_ALL.encode()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every whole row, in order."""
        import json

        if not Path(self.path).is_file():
            return
        with Path(self.path).open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if "source" in row:
                    yield row

    def written(self) -> Iterator[Written]:
        last: Written | None = None
        for row in self.rows():
            if row.get("face") in (None, 0):
                if last is not None:
                    yield last
                last = Written(row["source"], row["status"], row["model"], row["profile"])


def _types(pa: Any, every: Iterator[dict[str, Any]], keys: Iterable[str]) -> dict[str, Any]:
    """Return the type of each key's column: that of its values where they are of one kind, else text. Reads all rows
    once."""
    kinds: dict[str, set[type]] = {name: set() for name in keys}
    for row in every if kinds else ():
        for name, seen in kinds.items():
            if row.get(name) is not None:
                seen.add(type(row[name]))
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    numbers = {name: {float} if seen == {int, float} else seen for name, seen in kinds.items()}
    return {
        name: types.get(next(iter(seen)), pa.string()) if len(seen) == 1 else pa.string()
        for name, seen in numbers.items()
    }


def _type(pa: Any, column: str) -> Any:
    if column in TEXT_COLUMNS or column.startswith(("label_", "changed_by_", "because_")):
        return pa.string()
    return pa.int32() if column in COUNT_COLUMNS else pa.float64()


def _text(row: dict[str, Any], keys: Iterable[str], schema: Any) -> dict[str, Any]:
    keys_as_text = {
        name: spelled(row[name])
        for name in keys
        if row.get(name) is not None and str(schema.field(name).type) == "string"
    }
    return row | keys_as_text | {"source": escaped(row["source"])}


def _untext(source: str) -> str:
    """Undo `_text`: spelled-out \\udcXX escapes become the lone surrogates they were."""
    import re

    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), source)
