"""Your own labels: a CSV or Parquet table of file names and attribute columns, images beside it.

file, NAME..., [identity], [split]      values 1/0, 1/-1 or true/false; empty means unknown
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lineament.data import columns
from lineament.data.labelled import LabelledFiles, split_named, yes_no
from lineament.errors import DataError
from lineament.schema import CELEBA_40

_FILE, _SPLIT, _PERSON = ("file", "image_id", "filename", "file_name"), ("split",), ("identity",)
"""Columns by their names, in any case; of several, the first. `image_id` is what the well-known CSV copies of CelebA
call it."""


class LabelTable:
    """A labelled table. `path`: the table; `images`: the folder its `file` column is relative to, the table's own
    folder by default.

    Attribute columns are CelebA's names in any case, or those of `attributes`: your own names, each of which needs a
    column unless `partly`. A table without any is taken only with `labels=False`. Listed files that are not there are
    counted in `table.missing`.

    Raises: DataError naming the column that is missing or holds something else than yes and no.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        split: str = "all",
        attributes: tuple[str, ...] | None = None,
        *,
        labels: bool = True,
        partly: bool = False,
    ) -> None:
        self._wanted, self._labels = CELEBA_40 if attributes is None else attributes, labels
        self._all_wanted = attributes is not None and labels and not partly
        self._root = Path(images) if images is not None else Path(path).parent
        self.table = self._read_table(Path(path), split)

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of row `row`."""
        return (self._root / self.table.files[row]).read_bytes()

    def _is_there(self, file: str) -> bool:
        try:
            return file != "" and (self._root / file).is_file()
        except (OSError, ValueError):  # a name that no file can have
            return False

    def _columns_of(self, found: Iterable[str], canonical: Mapping[str, str], path: Path) -> dict[str, str]:
        """Return attribute name -> column. Raises: DataError for an attribute with two columns, or a wanted one without
        any."""
        if len(canonical) < len(self._wanted):
            raise DataError(f"An attribute is named twice (in any case): {', '.join(self._wanted)}.")
        names: dict[str, str] = {}
        for column in found:
            name = canonical.get(column.lower())
            if name in names:
                raise DataError(f"{path} has two columns for {name}: {names[name]} and {column}. Keep one.")
            if name is not None:
                names[name] = column
        absent = [name for name in self._wanted if name not in names]
        if absent and self._all_wanted:
            raise DataError(
                f"{path} has no column for the attribute {', '.join(absent)}. Correct the name, or leave it out."
            )
        return names

    def _read_table(self, path: Path, split: str) -> LabelledFiles:
        canonical = {name.lower(): name for name in self._wanted}
        read = columns.read(path, lambda name: name.lower() in canonical or name.lower() == "identity")
        names = self._columns_of(read.numbers, canonical, path)
        order = tuple(name for name in self._wanted if name in names)
        spelled = {name.lower(): name for name in read.order}
        file, split_column, person = (
            next((spelled[key] for key in keys if key in spelled), "") for keys in (_FILE, _SPLIT, _PERSON)
        )
        if file not in read.text or (self._labels and not order):
            raise DataError(
                f"{path} needs a `file` column and columns named after attributes; it has {', '.join(read.order[:6])} "
                "..."
            )
        if split != "all" and split_column not in read.text:
            raise DataError(f"{path} has no `split` column, so the split {split!r} is unknown. Use --split all.")
        parts = [part or "" for part in read.text.get(split_column, [])]
        files = [name or "" for name in read.text[file]]
        chosen = [row for row in range(read.rows) if split == "all" or split in (parts[row], split_named(parts[row]))]
        rows = np.array([row for row in chosen if self._is_there(files[row])], np.intp)
        labels = [(names[name], read.numbers[names[name]]) for name in order]
        shape = (len(order), read.rows)
        identity = read.numbers.get(person)
        return LabelledFiles(
            tuple(files[row] for row in rows),
            order,
            np.array([yes_no(column.values, column.given, name, str(path)) for name, column in labels], np.int8)
            .reshape(shape)
            .T[rows],
            np.array([column.given for _, column in labels], bool).reshape(shape).T[rows],
            None if identity is None else columns.whole_numbers(identity, person, str(path))[rows],
            np.array([parts[row] for row in rows], np.str_) if parts else None,
            missing=len(chosen) - len(rows),
        )
