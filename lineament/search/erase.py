"""Take photos out of an index so that nothing of them is left in its bytes.

    names -> file ids -> every other row into FILE.part -> fsync -> rename over FILE

Convention: a database that deletes rows marks them and leaves their bytes where they were, in its pages and its log. So
what goes out of an index goes by writing the file anew without it. Killed before the rename, the old file stands as it
was and the same command does it again; killed after it, the work is done. Rows that a run *replaces* (a changed photo,
another model) leave a mark in `meta` in the transaction that replaces them, and the file is written anew at that run's
end, or by the next one that finds the mark.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineament.errors import DataError, UsageError
from lineament.search.database import LOCAL_ONLY, connect, create, duckdb_error, read_meta
from lineament.search.paths import full_path

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MARK = "erase"
"""The key in `meta` that says: replaced rows may still lie in the file's bytes."""

_REST = ("-wal", ".wal", ".tmp")


@dataclass(frozen=True)
class Forgotten:
    """What `forget` took out. unknown: names that the index does not hold."""

    photos: int
    faces: int
    unknown: tuple[str, ...]


def forget(db: str | Path, names: Iterable[str | os.PathLike[str]], *, threads: int | None = None) -> Forgotten:
    """Take photos, or every photo below a folder, out of an index, and out of the bytes of its file.

    Args: names: files or folders, relative to the working folder or absolute, which need not exist any more; or the
        source of a record, as `index --from` took it in (`s3://bucket/a.jpg`, `shard.tar::a.jpg`).
    Raises: UsageError where there is no index or another process has it open; DataError for a file that is no index.
    """
    path = Path(db)
    if not path.is_file():
        raise UsageError(f"There is no index at {path}.")
    con = connect(path, read_only=False, threads=threads)
    try:
        if read_meta(con, path) is None:
            raise DataError(f"{path} is empty: there is nothing to forget.")
        ids, unknown = _named(con, [os.fspath(name) for name in names])
        faces = _count_faces(con, ids)
        pending = is_marked(con)
    finally:
        con.close()
    if ids or pending:
        rewrite(path, without=ids)
    else:
        clear_rest(path)
    return Forgotten(len(ids), faces, unknown)


def _named(con: DuckDBPyConnection, names: list[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return the file ids of photos that are, or lie below, one of the names; and the names that are neither."""
    exact = {text: name for name in names for text in (name, str(Path(name).resolve()), os.path.abspath(name))}  # noqa: PTH100 - links as given
    below = {text.rstrip(os.sep) + mark: name for text, name in exact.items() for mark in (os.sep, "/", "::")}
    found, known = [], set()
    for number, root, relative in con.execute(
        "SELECT file_id, roots.path, files.path FROM files JOIN roots USING (root_id)"
    ).fetchall():
        place = full_path(bytes(root), bytes(relative))
        hits = {exact[place]} if place in exact else {name for start, name in below.items() if place.startswith(start)}
        if hits:
            found.append(int(number))
            known |= hits
    return found, tuple(name for name in names if name not in known)


def _count_faces(con: DuckDBPyConnection, ids: Collection[int]) -> int:
    counted = con.execute(
        "SELECT count(*) FROM faces WHERE file_id IN (SELECT unnest(CAST(? AS BIGINT[])))", [list(ids)]
    ).fetchone()
    return int(counted[0]) if counted else 0


def mark(con: DuckDBPyConnection) -> None:
    """Note, in the caller's transaction, that bytes of replaced rows are to be erased."""
    if not is_marked(con):
        con.execute("INSERT INTO meta VALUES (?, '1')", [MARK])


def is_marked(con: DuckDBPyConnection) -> bool:
    """Return whether an erasure is due."""
    return con.execute("SELECT 1 FROM meta WHERE key = ?", [MARK]).fetchone() is not None


def rewrite(db: Path, *, without: Collection[int] = ()) -> None:
    """Write an index anew, without some photos and without whatever else its old bytes held, and put it in the old
    one's place at once.

    Convention: folders of which no photo is left are left out too. The file is held alone meanwhile: a process that has
    it open, and so holds the old bytes, is named in the refusal. Needs as much free disk as the new file takes.
    Raises: UsageError where another process has the file open.
    """
    import duckdb

    clear_rest(db)
    part = db.with_name(db.name + ".part")
    con = duckdb.connect(str(part), config=LOCAL_ONLY)
    try:
        try:
            con.execute(f"ATTACH {_quoted(str(db))} AS old")
        except duckdb.IOException as error:
            raise duckdb_error(db, error) from error
        con.execute("SET enable_external_access = false")
        _copy(con, list(without))
        con.execute("CHECKPOINT old")
        con.execute("DETACH old")
        con.execute("CHECKPOINT")
    except BaseException:
        con.close()
        clear_rest(db)
        raise
    con.close()
    sync(part)
    shutil.copymode(db, part)
    part.replace(db)
    sync(db.parent)
    clear_rest(db)


def _copy(con: DuckDBPyConnection, without: list[int]) -> None:
    """Copy the tables of `old` but for some files; rows keep their order, which breaks ties between equal scores."""
    values = dict(con.execute("SELECT key, value FROM old.meta").fetchall())
    con.begin()
    create(con, model=values["model"], attributes=_names(values["attributes"]), card_json=values["card"])
    con.execute("CREATE TEMP TABLE gone AS SELECT unnest(CAST(? AS BIGINT[])) AS file_id", [without])
    extra = {key: value for key, value in values.items() if key not in ("schema", "model", "attributes", "card", MARK)}
    for pair in extra.items():
        con.execute("INSERT INTO meta VALUES (?, ?)", list(pair))
    for table in ("files", "faces", "keys"):
        if table in {
            row[0]
            for row in con.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'old'").fetchall()
        }:
            con.execute(
                f"INSERT INTO {table} BY NAME SELECT * FROM old.{table} WHERE file_id NOT IN (SELECT file_id FROM gone)"
            )
    con.execute("INSERT INTO roots SELECT * FROM old.roots WHERE root_id IN (SELECT root_id FROM files)")
    con.execute("DROP TABLE gone")
    con.commit()


def _names(text: str) -> list[str]:
    import json

    return list(json.loads(text))


def _quoted(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def clear_rest(db: Path) -> None:
    """Remove what a killed rewrite left beside an index, and what spilled from memory; call it only while no one else
    writes."""
    part = db.with_name(db.name + ".part")
    part.unlink(missing_ok=True)
    for end in _REST:
        with suppress(FileNotFoundError):
            part.with_name(part.name + end).unlink() if end != ".tmp" else shutil.rmtree(
                part.with_name(part.name + end)
            )
    shutil.rmtree(db.with_name(db.name + ".tmp"), ignore_errors=True)


def sync(path: Path) -> None:
    """Make what was written to a file, or a rename within a folder, last through a power cut; where a folder cannot be
    opened, nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
