"""CelebA as dataset hubs store it: Parquet shards with `image {bytes, path}`, `file`, `celeb_id` and one boolean column per attribute.

Labels are read at once (small); image bytes are read a row group at a time, so sets larger than memory work.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from lineament.data.labelled import LabelledFiles, yes_no
from lineament.errors import DataError, MissingExtraError
from lineament.schema import CELEBA_40

_GROUPS_IN_MEMORY = 2  # enough for sequential reading with a shuffle inside a row group


class HubParquet:
    """Parquet shards in a folder (or one file). Attribute columns: those of CELEBA_40 that are present, unless `attributes` names others.

    `partly`: of the names in `attributes`, take those that have a column; else a name without one is an error.

    Raises: DataError if there is no shard or a column is missing; MissingExtraError without PyArrow.
    """

    def __init__(self, path: str | os.PathLike[str], attributes: tuple[str, ...] | None = None, split: str = "all", *, partly: bool = False) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtraError("PyArrow", "parquet") from error
        root = Path(path)
        shards = sorted(root.glob("*.parquet")) if root.is_dir() else [root]
        if split != "all":
            named = [shard for shard in shards if split in shard.name]
            if shards and not named and root.is_dir():
                raise DataError(f"No shard in {root} has the split {split!r} in its name ({shards[0].name} ...). Use --split all, or give the file.")
            shards = named or shards
        if not shards or not shards[0].is_file():
            raise DataError(f"No Parquet shard at {root}. Give a folder of *.parquet files or one such file.")
        self._files = [pq.ParquetFile(shard) for shard in shards]
        self._starts: list[tuple[int, int, int]] = []  # first row, shard, row group
        self._cache: OrderedDict[int, Any] = OrderedDict()
        columns = set(self._files[0].schema_arrow.names)
        names = tuple(name for name in attributes or CELEBA_40 if name in columns)
        absent = [] if attributes is None or partly else [name for name in attributes if name not in columns]
        if absent:
            raise DataError(f"{shards[0]} has no column for the attribute {', '.join(absent)}. Its columns: {', '.join(sorted(columns)[:6])} ...")
        if not names or "image" not in columns:
            raise DataError(f"{shards[0]} has columns {sorted(columns)[:6]}...: an `image` column and attribute columns are needed.")
        self.table = self._read_table(names, columns)
        self._firsts = np.array([first for first, _, _ in self._starts])
        self.blocks = np.searchsorted(self._firsts, np.arange(len(self.table)), side="right") - 1
        """The row group of each row (N,): what a stream shuffles within."""

    def _read_table(self, names: tuple[str, ...], columns: set[str]) -> LabelledFiles:
        key = "file" if "file" in columns else "image.path"
        person = [name for name in ("celeb_id", "identity") if name in columns][:1]
        files: list[str] = []
        said, row = [], 0
        people: list[Any] = []
        for shard, file in enumerate(self._files):
            for group in range(file.num_row_groups):
                self._starts.append((row, shard, group))
                row += file.metadata.row_group(group).num_rows
            part = file.read(columns=[key, *names, *person])
            paths = part.column(0).to_pylist()
            files += [p["path"] if isinstance(p, dict) else p for p in paths]
            cells = np.array([[np.nan if v is None else float(v) for v in part.column(name).to_pylist()] for name in names], np.float64).T
            said.append(cells)
            people += part.column(person[0]).to_pylist() if person else []
        identity = np.array([-1 if person is None else person for person in people], np.int64) if people else None
        cells = np.concatenate(said)
        known = ~np.isnan(cells)
        columns_read = [yes_no(cells[:, i], known[:, i], name, str(self._files[0])) for i, name in enumerate(names)]
        return LabelledFiles(tuple(files), names, np.stack(columns_read, axis=1), known, identity, None)

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of row `row`; sequential reading is cheap, random reading re-reads row groups."""
        slot = int(self.blocks[row])
        if slot not in self._cache:
            _, shard, group = self._starts[slot]
            self._cache[slot] = self._files[shard].read_row_group(group, columns=["image"]).column(0)
            while len(self._cache) > _GROUPS_IN_MEMORY:
                self._cache.popitem(last=False)
        return bytes(self._cache[slot][row - self._starts[slot][0]]["bytes"].as_py() or b"")
