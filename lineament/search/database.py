"""The index file: one DuckDB database with five tables, opened so that it can touch nothing else.

    meta(key, value)                      schema version, model id, card, attribute names
    roots(root_id, path)                  the indexed folders, absolute; or `from:` and the file that sources came
                                          out of (`search/paths.py`)
    files(file_id, root_id, path, ...)    one row per photo: size, mtime, hash, status
    faces(file_id, face, ..., prob_NAME)  one row per face: box, keypoints, quality, one FLOAT column per attribute
    keys(file_id, id, columns, record)    what came with a photo from a table or a record: its id, its columns
                                          (JSON), the record's hash

Convention: `path` columns hold the bytes the file system uses, so undecodable names survive; `file` is the same for
human eyes. Boxes and keypoints are in pixels of the upright image. No thumbnail, no crop and no identity embedding is
stored (`docs/search.md` says why).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineament.decision.layer import Decision
from lineament.errors import DataError, MissingExtraError, UsageError
from lineament.search.sql import column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

INDEX_SCHEMA = 2
LOCAL_ONLY: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_SEALED: dict[str, Any] = {**LOCAL_ONLY, "enable_external_access": "false"}
"""The file may come from anyone: no SQL in it can read another file or fetch an extension."""

_TABLES = """
CREATE TABLE meta (key VARCHAR, value VARCHAR);
CREATE TABLE roots (root_id INTEGER, path BLOB);
CREATE TABLE files (file_id BIGINT, root_id INTEGER, path BLOB, file VARCHAR, size BIGINT, mtime_ns BIGINT,
    sha256 VARCHAR, status VARCHAR, error VARCHAR, width INTEGER, height INTEGER, model VARCHAR,
    scene UBIGINT, taken DOUBLE);
"""
_KEYS = "CREATE TABLE IF NOT EXISTS keys (file_id BIGINT, id VARCHAR, columns VARCHAR, record VARCHAR)"

FACE_COLUMNS = (
    "x1", "y1", "x2", "y2", "detection_prob", "eye_distance", "sharpness", "yaw", "pitch", "roll",
    "right_eye_x", "right_eye_y", "left_eye_x", "left_eye_y", "nose_x", "nose_y",
    "right_mouth_x", "right_mouth_y", "left_mouth_x", "left_mouth_y", "right_eye_ratio", "left_eye_ratio",
)  # fmt: skip


class OtherSchemaError(DataError):
    """The index was made by another version, with other tables."""


@dataclass(frozen=True)
class Meta:
    """What the index was made with."""

    model: str
    attributes: tuple[str, ...]
    card: Mapping[str, Any]

    @property
    def decision(self) -> Decision:
        return Decision.from_dict(self.card["decision"])


def connect(path: Path, *, read_only: bool, threads: int | None = None) -> DuckDBPyConnection:
    """Open an index file.

    Raises: MissingExtraError without DuckDB; UsageError where there is no such file (read_only) or another process
        holds it;
    DataError for a file that is no DuckDB database.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError("duckdb", "search") from error
    if read_only and not path.is_file():
        raise UsageError(f"There is no index at {path}. Make one with: lineament index FOLDER --db {path}")
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} for the index does not exist. Create it first.")
    config: dict[str, Any] = {**_SEALED, **({} if threads is None else {"threads": threads})}
    try:
        return duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.IOException as error:
        raise duckdb_error(path, error) from error


def duckdb_error(path: Path, error: Exception) -> UsageError | DataError:
    """Return what a failure to open a file means to the user."""
    if "lock" in str(error):
        return UsageError(
            f"{path} is in use by another process (a running `lineament index`, or a server that searches it). Wait "
            "for it or stop it."
        )
    return DataError(f"{path} is not an index ({error}). Make one with: lineament index FOLDER --db {path}")


def read_meta(con: DuckDBPyConnection, origin: Path) -> Meta | None:
    """Return what the index says of itself, None for a new file.

    Raises: DataError for a database that is no index; OtherSchemaError for one of another schema version.
    """
    tables = {row[0] for row in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        return None
    if not {"meta", "roots", "files", "faces"} <= tables:
        raise DataError(
            f"{origin} is a DuckDB database but no Lineament index (tables: {', '.join(sorted(tables))}). Name another "
            "file."
        )
    values = dict(con.execute("SELECT key, value FROM meta").fetchall())
    if values.get("schema") != str(INDEX_SCHEMA):
        raise OtherSchemaError(
            f"{origin} has index schema {values.get('schema')}, this Lineament reads {INDEX_SCHEMA}. "
            "Build it again: `lineament index FOLDER --db FILE --rebuild`."
        )
    return Meta(values["model"], tuple(json.loads(values["attributes"])), json.loads(values["card"]))


def create(con: DuckDBPyConnection, *, model: str, attributes: Sequence[str], card_json: str) -> None:
    """Make the tables of a new index, in the caller's transaction; tables of an older one are dropped."""
    for table in ("keys", "faces", "files", "roots", "meta"):
        con.execute(f"DROP TABLE IF EXISTS {table}")
    con.execute(_TABLES)
    con.execute(_KEYS)
    numbers = ", ".join(f"{name} FLOAT" for name in FACE_COLUMNS)
    probs = ", ".join(f"{column(name)} FLOAT NOT NULL" for name in attributes)
    con.execute(f"CREATE TABLE faces (file_id BIGINT, face INTEGER, {numbers}, {probs})")
    meta = {"schema": str(INDEX_SCHEMA), "model": model, "attributes": json.dumps(list(attributes)), "card": card_json}
    con.executemany("INSERT INTO meta VALUES (?, ?)", [list(pair) for pair in meta.items()])


def has_keys(con: DuckDBPyConnection) -> bool:
    """Return whether an index can hold what came with its photos; one made before there were keys cannot until it is
    written to again."""
    return con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'keys'").fetchone() is not None


def add_keys(con: DuckDBPyConnection) -> None:
    """Give an index made before there were keys its table for them."""
    con.execute(_KEYS)
