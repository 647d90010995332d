"""Your own labels: a CSV or Parquet table of file names and attribute columns, images beside it.

file, NAME..., [identity], [split]      values 1/0, 1/-1 or true/false; empty means unknown
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineament.data import columns
from lineament.data.columns import Column
from lineament.data.labelled import LabelledFiles
from lineament.errors import DataError
from lineament.schema import CELEBA_40

_TEXT = ("file", "split")


class LabelTable:
    """A labelled table. `path`: the table; `images`: the folder its `file` column is relative to, the table's own folder by default.

    Attribute columns are CelebA's names in any case, or those of `attributes`: your own names. A table without any is taken only with
    `labels=False`. Listed files that are not there are counted in `table.missing`.

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
    ) -> None:
        self._wanted, self._labels = CELEBA_40 if attributes is None else attributes, labels
        self._root = Path(images) if images is not None else Path(path).parent
        self.table = self._read_table(Path(path), split)

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of row `row`."""
        return (self._root / self.table.files[row]).read_bytes()

    def _read_table(self, path: Path, split: str) -> LabelledFiles:
        canonical = {name.lower(): name for name in self._wanted}
        read = columns.read(path, lambda name: name.lower() in canonical or name == "identity")
        names = {canonical[name.lower()]: name for name in read.numbers if name.lower() in canonical}
        order = tuple(name for name in self._wanted if name in names)
        if "file" not in read.text or (self._labels and not order):
            raise DataError(f"{path} needs a `file` column and columns named after attributes; it has {', '.join(read.order[:6])} ...")
        if split != "all" and "split" not in read.text:
            raise DataError(f"{path} has no `split` column, so the split {split!r} is unknown. Use --split all.")
        files = [name or "" for name in read.text["file"]]
        chosen = [row for row in range(read.rows) if split == "all" or read.text["split"][row] == split]
        rows = np.array([row for row in chosen if (self._root / files[row]).is_file()], np.intp)
        labels = [_yes_no(read.numbers[names[name]], names[name], str(path)) for name in order]
        identity = read.numbers.get("identity")
        return LabelledFiles(
            tuple(files[row] for row in rows),
            order,
            np.array([values for values, _ in labels], np.int8).reshape(len(order), read.rows).T[rows],
            np.array([known for _, known in labels], bool).reshape(len(order), read.rows).T[rows],
            None if identity is None else np.where(identity.given, identity.values, -1).astype(np.int64)[rows],
            np.array([read.text["split"][row] or "" for row in rows]) if "split" in read.text else None,
            missing=len(chosen) - len(rows),
        )


def _yes_no(column: Column, name: str, origin: str) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Return targets {0,1} and known. -1 is "no" where the column holds only 1 and -1; beside 0 its meaning would be a guess."""
    values = set(np.unique(column.values[column.given]).tolist())
    if not (values <= {0.0, 1.0} or values <= {-1.0, 1.0}):
        raise DataError(f"{origin}: column {name} holds {sorted(values)[:4]}. Write 1 and 0 (or 1 and -1), and leave unknown cells empty.")
    return ((column.values == 1) & column.given).astype(np.int8), column.given
