"""A search's hits in files: JSON, CSV, or Parquet (`[parquet]`); written part by part, so that a long result needs no
memory.

ranked -> parts -> rows -> file
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from lineament.errors import MissingExtraError, UsageError
from lineament.files import spelled
from lineament.search.index import Ranked, SearchResult

_FIRST = ("rank", "file", "face", "score", "x1", "y1", "x2", "y2", "eye_distance")
_COUNTS, _TEXTS = frozenset({"rank", "face"}), frozenset({"file", "id"})

_PARTS_PER_GROUP = 16
"""Parts in a row group of Parquet: in small groups the same numbers take twice the room."""


def hit_rows(found: SearchResult) -> Iterator[dict[str, Any]]:
    """Yield the hits as rows: rank, file, face, score, box, eye distance, prob_NAME of the profile, and the keys that
    came with the photo.

    A key goes by its own name, `input_NAME` where that is a column already; a row holds the keys of its own photo only.
    """
    for rank, hit in found.numbered():
        record = hit.to_dict()
        values = (rank, record["file"], record["face"], record["score"], *record["box_xyxy"], record["eye_distance"])
        row = dict(zip(_FIRST, values, strict=True)) | {
            f"prob_{name}": prob for name, prob in record["attributes"].items()
        }
        keys = {} if hit.id is None else {"id": hit.id}
        keys |= {
            f"input_{name}" if name in (*row, "id") else name: value for name, value in (hit.columns or {}).items()
        }
        yield row | keys


def write_json(ranked: Ranked, file: IO[bytes]) -> None:
    """Write the record of `SearchResult.to_dict`."""
    started = False
    for part in ranked.parts():
        record = part.to_dict()
        hits = record.pop("hits")
        if not started:
            whole = record | {"more": part.offset + len(ranked) < part.matched}
            file.write(json_bytes(whole).removesuffix(b"\n}") + b',\n  "hits": [')
        for hit in hits:
            file.write((b",\n    " if started else b"\n    ") + json_bytes(hit).replace(b"\n", b"\n    "))
            started = True
    file.write(b"\n  ]\n}\n" if started else b"]\n}\n")


def write_csv(ranked: Ranked, path: Path) -> None:
    """Write the hits as CSV; bytes of file names that are not text are written as they are."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(_kinds(ranked)) or _FIRST, lineterminator="\n")
        writer.writeheader()
        for part in ranked.parts():
            writer.writerows(hit_rows(part))


def write_parquet(ranked: Ranked, path: Path) -> None:
    """Write the hits as Parquet; what is not text in file names is spelled out (\\udcXX), a key whose values are of
    several kinds is JSON.

    Raises: MissingExtraError without PyArrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    kinds = _kinds(ranked) or dict.fromkeys(_FIRST, frozenset())
    found = {
        name: types.get(next(iter(kind)), pa.string()) if len(kind) == 1 else pa.string()
        for name, kind in kinds.items()
    }
    known = {name: _known_type(name, pa) for name in kinds if name in (*_FIRST, "id") or name.startswith("prob_")}
    schema = pa.schema(list((found | known).items()))
    texts = {name for name in schema.names if schema.field(name).type == pa.string()}

    def as_table(part: SearchResult) -> Any:
        rows = [
            {name: spelled(value) if name in texts and value is not None else value for name, value in row.items()}
            for row in hit_rows(part)
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    tables = map(as_table, ranked.parts())
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(tables, _PARTS_PER_GROUP)):
            writer.write_table(pa.concat_tables(group))


def check_place(path: Path | None) -> None:
    """Refuse an output that is a folder or lies in none, before anything is searched. Raises: UsageError."""
    if path is not None and str(path) != "-" and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(f"Cannot write {path}: name a file in a folder that is there.")


def _kinds(ranked: Ranked) -> dict[str, frozenset[type]]:
    """Return the columns of the rows, in order, and the kinds of values in each: photos of several tables bring several
    keys.

    Where no photo of the index brought a key, the first part has every column, and the others are not read.
    """
    kinds: dict[str, set[type]] = {}
    parts = ranked.parts() if ranked.index.brings_keys() else islice(ranked.parts(), 1)
    for row in chain.from_iterable(hit_rows(part) for part in parts):
        for name, value in row.items():
            kind = kinds.setdefault(name, set())
            if value is not None:
                kind.add(type(value))
    return {name: frozenset(kind) for name, kind in kinds.items()}


def _known_type(name: str, pa: Any) -> Any:
    return pa.int64() if name in _COUNTS else pa.string() if name in _TEXTS else pa.float64()


def json_bytes(value: Any) -> bytes:
    """Return JSON; names that are no text stay escapes: \\udcff is JSON, and survives the round trip."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
