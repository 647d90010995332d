"""CelebA as dataset hubs store it: Parquet shards with `image {bytes, path}`, `file`, `celeb_id` and one column per
attribute.

Labels are read at once (small); image bytes are read a row group at a time, so sets larger than memory work. Columns
are told in any case; the picture column may have any shape of `data.picture_column`; a row without a name is
SHARD::ROW, as `analyze` calls it.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.data import picture_column
from lineament.data.labelled import LabelledFiles, split_named, yes_no
from lineament.errors import DataError, EmptyError, MissingExtraError, UnreadableError
from lineament.schema import CELEBA_40

_GROUPS_IN_MEMORY = 2  # enough for sequential reading with a shuffle inside a row group
_FILE, _PERSON, _SPLIT = ("file", "file_name", "filename", "image_id"), ("celeb_id", "identity"), ("split",)
_SPLIT_WORDS = {"train": ("train",), "val": ("val", "dev"), "test": ("test",)}
_WORDS = {"true": 1.0, "false": 0.0, "": None}


class HubParquet:
    """Parquet shards in a folder (or one file). Attribute columns: those of CELEBA_40 that are present, unless
    `attributes` names others.

    `partly`: of the names in `attributes`, take those that have a column; else a name without one is an error.
    `images`: the folder that paths without bytes are relative to, by default the shard's own.

    Raises: DataError if there is no shard, one is damaged, or a column is missing; MissingExtraError without PyArrow.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        attributes: tuple[str, ...] | None = None,
        split: str = "all",
        *,
        partly: bool = False,
        images: str | os.PathLike[str] | None = None,
    ) -> None:
        root = Path(path)
        self._shards, by_name = _chosen_shards(root, split)
        self._images = None if images is None else Path(images)
        self._files = [_open(shard) for shard in self._shards]
        self._starts: list[tuple[int, int, int]] = []  # first row, shard, row group
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._column = picture_column.column_of(self._files[0].schema_arrow) or ""
        whole = self._read_table(attributes, partly)
        rows = np.arange(len(whole))
        if split != "all" and not by_name:
            rows = _rows_of(whole, split, root)
        self._rows, self.table = rows, whole.take(rows)
        self._firsts = np.array([first for first, _, _ in self._starts])
        self.blocks = np.searchsorted(self._firsts, rows, side="right") - 1
        """The row group of each row (N,): what a stream shuffles within."""

    def _read_table(self, attributes: tuple[str, ...] | None, partly: bool) -> LabelledFiles:
        found = _columns_of(self._files[0].schema_arrow.names, self._shards[0])
        wanted = CELEBA_40 if attributes is None else attributes
        names = tuple(name for name in wanted if name.lower() in found)
        absent = [] if attributes is None or partly else [name for name in attributes if name.lower() not in found]
        shown = f"{', '.join(sorted(found.values())[:6])} ..."
        if absent:
            raise DataError(
                f"{self._shards[0]} has no column for the attribute {', '.join(absent)}. Its columns: {shown}"
            )
        if not names or not self._column:
            raise DataError(
                f"{self._shards[0]} has the columns {shown}: an `image` column and attribute columns are needed."
            )
        keys = [next((found[key] for key in kinds if key in found), None) for kinds in (_FILE, _PERSON, _SPLIT)]
        files: list[Any] = []
        cells: list[list[Any]] = [[] for _ in names]
        people: list[Any] = []
        splits: list[Any] = []
        own = self._note_groups()
        for shard in range(len(self._files)):
            part = self._columns(
                shard, [found[name.lower()] for name in names] + [key for key in keys if key is not None]
            )
            for column, name in zip(cells, names, strict=True):
                column += part[found[name.lower()]]
            files += part[keys[0]] if keys[0] else self._paths(shard)
            people += part[keys[1]] if keys[1] else []
            splits += part[keys[2]] if keys[2] else []
        values = [_numbers(column, name, self._shards[0]) for column, name in zip(cells, names, strict=True)]
        known = [~np.isnan(column) for column in values]
        said = [
            yes_no(column, given, name, str(self._shards[0]))
            for column, given, name in zip(values, known, names, strict=True)
        ]
        return LabelledFiles(
            _names(files, own, unique=keys[0] is not None),
            names,
            np.stack(said, axis=1),
            np.stack(known, axis=1),
            _identities(people) if keys[1] else None,
            np.array([str(part or "") for part in splits], np.str_) if keys[2] else None,
        )

    def _note_groups(self) -> list[str]:
        """Note where each row group begins; return each row's own name, SHARD::ROW."""
        own: list[str] = []
        for shard, file in enumerate(self._files):
            before = len(own)
            own += (f"{self._shards[shard].name}::{row}" for row in range(file.metadata.num_rows))
            for group in range(file.num_row_groups):
                self._starts.append((before, shard, group))
                before += file.metadata.row_group(group).num_rows
        return own

    def _columns(self, shard: int, names: list[str]) -> dict[str, list[Any]]:
        """Return columns of a shard as lists. Raises: DataError naming the shard that lacks one or is damaged."""
        here = set(self._files[shard].schema_arrow.names)
        lacking = [name for name in names if name not in here]
        if lacking:
            raise DataError(
                f"{self._shards[shard]} has no column {', '.join(lacking)}, which {self._shards[0].name} has."
            )
        part = _reading(self._shards[shard], lambda: self._files[shard].read(columns=names))
        return {
            name: [None if isinstance(v, Exception) else v for v in picture_column.cell_values(part.column(name))]
            for name in names
        }

    def _paths(self, shard: int) -> list[str]:
        """Return the path that each row's picture names, "" where it names none."""
        import pyarrow

        rows = self._files[shard].metadata.num_rows
        kind = self._files[shard].schema_arrow.field(self._column).type
        if isinstance(kind, pyarrow.StructType):
            leaf = next(
                (
                    kind.field(place).name
                    for place in range(kind.num_fields)
                    if kind.field(place).name.lower() == "path"
                ),
                None,
            )
            if leaf is None:
                return [""] * rows
            column = _reading(
                self._shards[shard], lambda: self._files[shard].read(columns=[f"{self._column}.{leaf}"])
            ).column(0)
            return [
                str(cell[leaf]) if isinstance(cell, dict) and cell.get(leaf) else ""
                for cell in picture_column.cell_values(column)
            ]
        if picture_column.names_files(kind):
            column = _reading(self._shards[shard], lambda: self._files[shard].read(columns=[self._column])).column(0)
            return [cell if isinstance(cell, str) else "" for cell in picture_column.cell_values(column)]
        return [""] * rows

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of row `row`; sequential reading is cheap, random reading re-reads row groups.

        Raises: ImageError where the row holds no picture, several, or one that cannot be read.
        """
        slot, place = int(self.blocks[row]), int(self._rows[row])
        first, shard, group = self._starts[slot]
        if slot not in self._cache:
            self._cache[slot] = _reading(
                self._shards[shard],
                lambda: self._files[shard].read_row_group(group, columns=[self._column]).column(0),
                UnreadableError,
            )
            while len(self._cache) > _GROUPS_IN_MEMORY:
                self._cache.popitem(last=False)
        (cell,) = picture_column.cell_values(self._cache[slot][place - first : place - first + 1])
        pictures = picture_column.pictures_of(cell)
        if len(pictures) != 1:
            raise UnreadableError(
                f"The row holds {len(pictures)} pictures, and its labels are of one. Write one picture per row."
            )
        data = pictures[0].read(self._images or self._shards[shard].parent)
        if not data:
            raise EmptyError("The row holds a picture of zero bytes.")
        return data


def _chosen_shards(root: Path, split: str) -> tuple[list[Path], bool]:
    """Return the shards of a split, and whether their names told it."""
    shards = (sorted(root.glob("*.parquet")) or sorted(root.rglob("*.parquet"))) if root.is_dir() else [root]
    if not shards or not shards[0].is_file():
        raise DataError(f"No Parquet shard at {root}. Give a folder of *.parquet files or one such file.")
    words = _SPLIT_WORDS.get(split, (split,))
    named = (
        [shard for shard in shards if any(word in shard.name for word in words)]
        if split != "all" and root.is_dir()
        else []
    )
    return named or shards, bool(named)


def _names(said: list[Any], own: list[str], *, unique: bool) -> tuple[str, ...]:
    """Return a name for each row: what is said of it, or its own where nothing is. unique: said by a column of names,
    in which one that stands twice is an error; paths of pictures are names only where no other row has the same."""
    names = ["" if name is None else str(name) for name in said]
    times = Counter(names)
    return tuple(name if name and (unique or times[name] == 1) else mine for name, mine in zip(names, own, strict=True))


def _rows_of(table: LabelledFiles, split: str, root: Path) -> npt.NDArray[np.intp]:
    """Return the rows of a split by the `split` column. Raises: DataError where neither names nor a column tell it."""
    if table.split is not None:
        return np.flatnonzero([split_named(part) == split for part in table.split])
    if root.is_dir():
        raise DataError(
            f"No shard in {root} has the split {split!r} in its name, and there is no `split` column. Use --split all, "
            "or give the file."
        )
    return np.arange(len(table))  # a file that is named is what was asked for


def _open(shard: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    return _reading(shard, lambda: pq.ParquetFile(shard))


def _reading(shard: Path, read: Any, kind: type[Exception] = DataError) -> Any:
    """Return what reading gives. Raises: `kind` naming the shard where Arrow says that it is damaged."""
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise kind(f"{shard} is no Parquet file, or damaged ({said}). Download it again.") from error


def _columns_of(names: Iterable[str], shard: Path) -> dict[str, str]:
    """Return lower-case name -> column. Raises: DataError for two columns that differ in case only."""
    found: dict[str, str] = {}
    for name in names:
        if name.lower() in found:
            raise DataError(f"{shard} has two columns for {name.lower()}: {found[name.lower()]} and {name}. Keep one.")
        found[name.lower()] = name
    return found


def _numbers(cells: list[Any], name: str, shard: Path) -> npt.NDArray[np.float64]:
    """Return cells as numbers (N,), NaN where empty. Raises: DataError for what is neither a number nor true or
    false."""
    out = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        value = _WORDS.get(cell.strip().lower(), cell) if isinstance(cell, str) else cell
        if value is None:
            continue
        try:
            out[row] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{shard}: column {name} holds {str(cell)[:40]!r} in row {row}. Write 1 and 0, or true and false."
            ) from error
    return out


def _identities(people: list[Any]) -> npt.NDArray[np.int64]:
    """Return a number for each row's person (N,), -1 where unknown: the numbers that stand there, or places in the
    sorted list of names."""
    try:
        numbers = [-1 if person is None or person != person else int(person) for person in people]
        return np.array(numbers, np.int64)
    except (TypeError, ValueError, OverflowError):
        places = {
            name: place for place, name in enumerate(sorted({str(person) for person in people if person is not None}))
        }
        return np.array([-1 if person is None else places[str(person)] for person in people], np.int64)
