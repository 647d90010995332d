"""Tables as columns: CSV or Parquet read into numbers with their "given" mask, or text. A missing cell is never a
number.

Large files are read in pieces, so 200,000 rows of 120 columns fit in a few hundred megabytes.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from lineament.data.picture_column import cell_values
from lineament.data.unicode import codec_of
from lineament.errors import DataError, MissingExtraError

META_KEY = b"lineament"
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Column:
    """Numbers (N,) float64, 0 where not `given` (N,)."""

    values: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """numbers: name -> Column; text: name -> N strings or None; order: all names as in the file; meta: what a Parquet
    writer added."""

    rows: int
    order: tuple[str, ...]
    numbers: Mapping[str, Column]
    text: Mapping[str, list[str | None]]
    meta: Mapping[str, Any] = field(default_factory=dict)


def read(path: str | os.PathLike[str], is_number: Callable[[str], bool]) -> Table:
    """Read a table; Parquet is told from CSV by its first bytes. `is_number(name)` says which columns hold numbers.

    Raises: DataError naming the line or column; MissingExtraError for Parquet without PyArrow.
    """
    where = Path(path)
    if not where.is_file():
        raise DataError(f"No file at {where}.")
    with where.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    return _read_parquet(where, is_number) if parquet else _read_csv(where, is_number)


def names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return a table's column names without reading its rows; of a CSV the cells of its first line."""
    with Path(path).open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    if parquet:
        _, pq = _arrow()
        return tuple(str(name) for name in pq.ParquetFile(path).schema_arrow.names)
    with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
        return tuple(next(csv.reader(text), []))


def write(
    path: str | os.PathLike[str],
    columns: Mapping[str, Any],
    meta: Mapping[str, Any] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> None:
    """Write columns (name -> list with None for missing): Parquet where the name ends in .parquet, else CSV (which
    holds no `meta`).

    kinds: name -> Arrow type name, for columns that would otherwise be guessed too wide.
    """
    where = Path(path)
    where.parent.mkdir(parents=True, exist_ok=True)
    if where.suffix != ".parquet":
        with where.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(
                ["" if cell is None else cell for cell in row] for row in zip(*columns.values(), strict=True)
            )
        return
    pa, pq = _arrow()
    arrays = {name: pa.array(values, (kinds or {}).get(name)) for name, values in columns.items()}
    encoded = {META_KEY: json.dumps(dict(meta or {}), sort_keys=True).encode()}
    pq.write_table(pa.table(arrays).replace_schema_metadata(encoded), where)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    return pa, pq


def _read_parquet(path: Path, is_number: Callable[[str], bool]) -> Table:
    pa, pq = _arrow()
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise DataError(f"{path} is not a whole Parquet file ({said}). Write it again.") from error
    _refuse_repeated(table.column_names, str(path))
    numbers, text = {}, {}
    for name in table.column_names:
        column = table.column(name)
        if not is_number(name):
            text[name] = [None if value is None else str(value) for value in cell_values(column)]
            continue
        given = np.ones(len(column), bool) if column.null_count == 0 else np.asarray(column.is_valid().to_numpy())
        try:
            values = np.zeros(len(column))
            values[given] = (
                column.drop_null().cast(pa.float64() if not pa.types.is_boolean(column.type) else pa.int8()).to_numpy()
            )
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise DataError(f"{path}: column {name} holds something that is not a number ({error}).") from error
        numbers[name] = Column(values, given)
    return Table(table.num_rows, tuple(table.column_names), numbers, text, _meta(table.schema.metadata or {}))


def _meta(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what the writer said of itself, {} where it is not ours to read."""
    try:
        meta = json.loads(metadata.get(META_KEY, b"{}"))
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}


def _refuse_repeated(names: Sequence[str], origin: str) -> None:
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise DataError(f"{origin}: the columns {repeated} stand twice in the header.")


def _read_csv(path: Path, is_number: Callable[[str], bool]) -> Table:
    with path.open("rb") as raw:
        encoding, errors = codec_of(raw.read(1 << 16))
    with path.open(newline="", encoding=encoding, errors=errors) as file:
        try:
            return _parse_csv(file, str(path), is_number)
        except csv.Error as error:
            raise DataError(f"{path} is not a CSV file ({error}).") from error


def _parse_csv(file: TextIO, origin: str, is_number: Callable[[str], bool]) -> Table:
    first = file.readline()
    between = next(
        (mark for mark in ",;\t" if mark in first), ","
    )  # as spreadsheets write them, by country and by format
    reader = csv.reader(chain((first,), file), delimiter=between)
    header = next(reader, [])
    if not header:
        raise DataError(f"{origin} is empty. A table needs a header line and one line per image.")
    _refuse_repeated(header, origin)
    text: dict[str, list[str | None]] = {name: [] for name in header if not is_number(name)}
    parts: dict[str, list[Column]] = {name: [] for name in header if is_number(name)}
    rows = 0
    for block in _blocks(reader, len(header), origin):
        for name, cells in zip(header, zip(*block, strict=True), strict=True):
            if name in text:
                text[name] += [cell or None for cell in cells]
            else:
                parts[name].append(_to_numbers(cells, name, origin, rows))
        rows += len(block)
    numbers = {name: _joined(found) for name, found in parts.items()}
    return Table(rows, tuple(header), numbers, text)


def whole_numbers(column: Column, name: str, origin: str, absent: int = -1) -> npt.NDArray[np.int64]:
    """Return a column as whole numbers (N,), `absent` where not given. Raises: DataError for what is none, or too large
    to be one."""
    values = np.where(column.given, column.values, absent)
    if not (np.abs(values) < 2.0**53).all() or (values != np.rint(values)).any():
        raise DataError(f"{origin}: column {name} holds something that is not a whole number.")
    return values.astype(np.int64)


def _joined(parts: list[Column]) -> Column:
    whole = [Column(np.zeros(0), np.zeros(0, bool)), *parts]
    return Column(np.concatenate([part.values for part in whole]), np.concatenate([part.given for part in whole]))


def _blocks(reader: Iterator[list[str]], width: int, origin: str) -> Iterator[list[list[str]]]:
    row = 0
    while block := list(islice(reader, _ROWS_AT_ONCE)):
        for number, cells in enumerate(block, row + 1):
            if cells and len(cells) != width:
                raise DataError(f"{origin}, row {number}: {len(cells)} cells where the header has {width}.")
        row += len(block)
        if kept := [cells for cells in block if cells]:
            yield kept


def _to_numbers(cells: tuple[str, ...], name: str, origin: str, before: int) -> Column:
    given = np.array([cell != "" for cell in cells], bool)
    try:
        return Column(np.array([float(cell) if cell else 0.0 for cell in cells]), given)
    except ValueError:
        words = {"true": 1.0, "false": 0.0, "": 0.0}
        values = []
        for row, cell in enumerate(cells, before + 1):
            try:
                values.append(words[cell.lower()] if cell.lower() in words else float(cell))
            except ValueError as error:
                raise DataError(f"{origin}, row {row}: column {name} holds {cell!r}, which is not a number.") from error
        return Column(np.array(values), given)
