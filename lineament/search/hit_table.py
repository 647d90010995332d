"""Hits as a table: CSV, or Parquet (`[parquet]`), one row per hit; the keys that came with a photo as columns of their own."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from lineament.errors import MissingExtraError, UsageError
from lineament.search.index import SearchResult

_FIRST = ("rank", "file", "face", "score", "x1", "y1", "x2", "y2", "eye_distance")


def hit_rows(found: SearchResult) -> list[dict[str, Any]]:
    """Return the hits as rows of the same columns: rank, file, face, score, box, eye distance, keys, prob_NAME of the profile.

    A key goes by its own name, `input_NAME` where that is a column already.
    """
    rows = []
    for rank, hit in enumerate(found.hits, found.offset + 1):
        record = hit.to_dict()
        values = (rank, record["file"], record["face"], record["score"], *record["box_xyxy"], record["eye_distance"])
        row = dict(zip(_FIRST, values, strict=True)) | {f"prob_{name}": prob for name, prob in record["attributes"].items()}
        keys = {} if hit.id is None else {"id": hit.id}
        keys |= {f"input_{name}" if name in (*row, "id") else name: value for name, value in (hit.columns or {}).items()}
        rows.append(row | keys)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def write_csv(found: SearchResult, path: Path) -> None:
    """Write the hits as CSV; bytes of file names that are not text are written as they are."""
    rows = hit_rows(found)
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else _FIRST, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(found: SearchResult, path: Path) -> None:
    """Write the hits as Parquet; what is not text in file names is spelled out (\\udcXX). Raises: MissingExtraError without PyArrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    rows = [row | {"file": os.fsencode(row["file"]).decode("utf-8", "backslashreplace")} for row in hit_rows(found)]
    for name in rows[0] if rows else ():
        if len({type(row[name]) for row in rows if row[name] is not None}) > 1:
            for row in rows:
                row[name] = row[name] if row[name] is None or isinstance(row[name], str) else json.dumps(row[name])
    empty = pyarrow.schema([(name, pyarrow.string() if name == "file" else pyarrow.float64()) for name in _FIRST])
    table = pyarrow.Table.from_pylist(rows) if rows else empty.empty_table()
    pyarrow.parquet.write_table(table, path, compression="zstd")


def check_place(path: Path | None) -> None:
    """Refuse an output that is a folder or lies in none, before anything is searched. Raises: UsageError."""
    if path is not None and str(path) != "-" and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(f"Cannot write {path}: name a file in a folder that is there.")
