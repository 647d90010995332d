"""Tables of photos with keys of their own: Parquet, CSV and Arrow (IPC, Feather); pictures in a column, or paths and
addresses of them.

    table -> rows -> items, each with its keys {"id": ..., "columns": {...}}

Convention: rows are read in batches as they are asked for. A relative path in a table is looked for beside the table,
then from the working folder; an address (s3://...) is read from its store. CSV is read as text; the other kinds keep
the types of their columns.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from lineament.data.picture_column import cell_values, column_of
from lineament.errors import ImageError, UnreadableError, UsageError
from lineament.inputs.item import SEPARATOR, TABLE_SUFFIXES, Item, of_os_error
from lineament.inputs.parquet import arrow, picture_items

_BATCH = 32
_TEXT = (".csv", ".tsv")
_BYTES = (".parquet", *(suffix for suffix in TABLE_SUFFIXES if suffix not in _TEXT))


@dataclass(frozen=True)
class TableColumns:
    """Which columns of input tables mean what. path: holds paths or addresses; id: the key of a row; keep: columns that
    come along."""

    path: str | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.path or self.id or self.keep)

    def identity(self) -> dict[str, Any]:
        """Return what a run writes down of this for --resume."""
        return {"id": self.id, "keep_columns": list(self.keep), "path_column": self.path} if self else {}

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(name for name in (self.path, self.id, *self.keep) if name is not None)

    def keys(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of a row: what its record says beside the answers."""
        keys: dict[str, Any] = {} if self.id is None else {"id": plain(row.get(self.id))}
        return keys | ({"columns": {name: plain(row.get(name)) for name in self.keep}} if self.keep else {})


def is_table(name: str, columns: TableColumns) -> bool:
    """Return whether a file is to be read as a table here: Arrow files always, CSV with a path column, Parquet where
    columns are named."""
    lower = name.lower()
    return (
        lower.endswith(TABLE_SUFFIXES)
        or (lower.endswith(_TEXT) and columns.path is not None)
        or (lower.endswith(".parquet") and bool(columns))
    )


def check_table(path: str, columns: TableColumns) -> None:
    """Raise what a table would fail on later. Raises: UsageError for a column it does not have, or CSV without a path
    column; MissingExtraError."""
    if path.lower().endswith(_TEXT) and columns.path is None:
        raise UsageError(
            f"{path} is a table of text: say which of its columns holds the photos' paths with --path-column."
        )
    if not is_table(path, columns) or not Path(path).is_file():
        return
    if path.lower().endswith(_BYTES):
        arrow()
    try:
        with _batches(Path(path), path, None) as (names, _):
            missing = [name for name in columns.named if name not in names]
            if missing:
                raise UsageError(f"{path} has no column {', '.join(missing)}. It has: {', '.join(names)}.")
    except ImageError:
        return  # a record says what is wrong with it


def table_items(
    file: Path | BinaryIO, name: str, columns: TableColumns, fetch: Callable[[str], Iterator[Item]]
) -> Iterator[Item]:
    """Yield the photos of a table. The source is the path that a row names, or NAME::ROW, rows counted from 0, of
    pictures in the table.

    fetch: gives the photos at an address of an object store that a row names.
    """
    try:
        with _batches(file, name, columns) as (names, rows):
            missing = [wanted for wanted in columns.named if wanted not in names]
            if missing:
                raise UnreadableError(f"There is no column {', '.join(missing)}. The table has: {', '.join(names)}.")
            for number, row in enumerate(rows):
                for item in _of_row(row, name, number, columns, fetch):
                    yield replace(item, keys=columns.keys(row))
    except ImageError as error:
        yield Item(name, error=error)
    except OSError as error:
        yield Item(name, error=of_os_error(name, error))


def _of_row(
    row: Mapping[str, Any], name: str, number: int, columns: TableColumns, fetch: Callable[[str], Iterator[Item]]
) -> Iterator[Item]:
    source = f"{name}{SEPARATOR}{number}"
    if columns.path is None:
        yield from picture_items(row.get(_PICTURE), source, Path(name).parent if os.path.lexists(name) else None)
        return
    text = row.get(columns.path)
    if not isinstance(text, str) or not text:
        yield Item(source, error=UnreadableError(f"The row names no photo: its {columns.path} is {text!r}."))
    elif "://" in text:
        yield from fetch(text)
    else:
        place = located(text, name)
        yield Item(place, Path(place))


def located(text: str, table: str) -> str:
    """Return where a path in a table leads: as it stands if absolute, beside the table if it is there, else from the
    working folder.

    >>> located("/photos/a.jpg", "tables/t.csv"), located("no-such.jpg", "tables/t.csv")
    ('/photos/a.jpg', 'no-such.jpg')
    """
    beside = os.path.join(os.path.dirname(table), text)  # noqa: PTH118, PTH120 - names stay as given
    return beside if os.path.lexists(beside) else text


_PICTURE = "\0picture"
"""The key under which `_batches` gives the picture of a row, whatever its column is called."""


@contextmanager
def _batches(
    file: Path | BinaryIO, name: str, columns: TableColumns | None
) -> Iterator[tuple[list[str], Iterator[dict[str, Any]]]]:
    """Yield a table's column names and its rows; of Arrow's kinds only the columns that are wanted. columns: None for
    the names alone."""
    if name.lower().endswith(_TEXT):
        with file.open("rb") if isinstance(file, Path) else file as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.DictReader(text, delimiter="\t" if name.lower().endswith(".tsv") else ",")
            yield list(reader.fieldnames or ()), reader
        return
    pyarrow, parquet = arrow()
    try:
        if name.lower().endswith(".parquet"):
            table = parquet.ParquetFile(file)
            schema, batches = table.schema_arrow, table.iter_batches
        else:
            source = pyarrow.memory_map(str(file)) if isinstance(file, Path) else file
            schema, batches = _ipc(pyarrow, source)
        picture = None if columns is None or columns.path is not None else column_of(schema)
        if columns is not None and columns.path is None and picture is None:
            raise UnreadableError(
                f"No column of pictures. Name the column of paths with --path-column: {', '.join(schema.names)}."
            )
        wanted = [] if columns is None else list(dict.fromkeys([*columns.named, *([picture] if picture else [])]))
        yield schema.names, _rows(batches, [name for name in wanted if name in schema.names], picture)
    except (pyarrow.ArrowException, RuntimeError) as error:
        raise UnreadableError(f"Not a table, or damaged: {str(error).splitlines()[0]}") from error


def _ipc(pyarrow: Any, source: Any) -> tuple[Any, Any]:
    try:
        table = pyarrow.ipc.open_file(source)
        every = (table.get_batch(number) for number in range(table.num_record_batches))
    except pyarrow.ArrowInvalid:
        source.seek(0)
        table = pyarrow.ipc.open_stream(source)
        every = iter(table)

    def batches(rows: int, columns: list[str]) -> Iterator[Any]:
        for batch in every:
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows).select(columns)

    return table.schema, batches


def _rows(batches: Any, wanted: list[str], picture: str | None) -> Iterator[dict[str, Any]]:
    for batch in batches(_BATCH, columns=wanted):
        cells = {name: cell_values(batch.column(name)) for name in wanted}
        if picture is not None:
            cells[_PICTURE] = cells[picture]
        for values in zip(*cells.values(), strict=True):
            yield dict(zip(cells, values, strict=True))


def plain(value: Any) -> Any:
    """Return a table's value as JSON has it: numbers, text, true and false, lists and objects; times as ISO 8601, bytes
    as hex, NaN as null.

    >>> plain(datetime.date(2026, 1, 2)), plain(b"\\x01"), plain(float("nan"))
    ('2026-01-02', '01', None)
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else str(value)
