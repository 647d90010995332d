"""Open an index to write to it: what it was made with, and the folder or file that rows come out of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lineament.errors import UsageError
from lineament.search.database import Meta, OtherSchemaError, add_keys, create, read_meta
from lineament.search.erase import mark
from lineament.search.paths import FROM

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lineament.runtime.card import Card


def open_index(
    con: DuckDBPyConnection, db: Path, model: str, card: Card, attributes: Sequence[str], rebuild: bool
) -> Meta:
    """Return the index's meta, making the tables where there are none, or where another model or version may start
    over.

    Raises: UsageError for an index of another model without `rebuild`; DataError for a file that is no index.
    """
    try:
        meta = read_meta(con, db)
    except OtherSchemaError:
        if not rebuild:
            raise
        return _made(con, model, card, attributes, again=True)
    if meta is None:
        return _made(con, model, card, attributes, again=False)
    if meta.model == model:
        add_keys(con)
        return meta
    if not rebuild:
        raise UsageError(
            f"{db} was made with {meta.model}, and answers of {model} do not mix with them. Use --rebuild to start "
            "over, --model to "
            "name the old model, or another --db. An own attribute (--with) needs the photos again, since no face's "
            "features are stored."
        )
    return _made(con, model, card, attributes, again=True)


def _made(con: DuckDBPyConnection, model: str, card: Card, attributes: Sequence[str], *, again: bool) -> Meta:
    con.begin()
    create(con, model=model, attributes=attributes, card_json=card.to_json())
    if again:
        mark(con)
    con.commit()
    return Meta(model, tuple(attributes), card.document)


def folder_id(con: DuckDBPyConnection, folder: Path) -> int:
    """Return the number of an indexed folder, adding it when new. Raises: UsageError where it lies in another one, or
    the other in it."""
    own = os.fsencode(folder)
    for root in _roots(con):
        other = Path(os.fsdecode(root))
        if root != own and not root.startswith(FROM) and (folder.is_relative_to(other) or other.is_relative_to(folder)):
            raise UsageError(
                f"{folder} and the already indexed {other} lie in each other, so photos would come twice. Index "
                f"{other} instead."
            )
    return _root_id(con, own)


def source_id(con: DuckDBPyConnection, file: str) -> int:
    """Return the number of a file that sources come out of (records, a table, an archive), adding it when new."""
    return _root_id(con, FROM + os.fsencode(file))


def _roots(con: DuckDBPyConnection) -> dict[bytes, int]:
    return {bytes(path): int(number) for number, path in con.execute("SELECT root_id, path FROM roots").fetchall()}


def _root_id(con: DuckDBPyConnection, root: bytes) -> int:
    known = _roots(con)
    if root not in known:
        known[root] = max(known.values(), default=-1) + 1
        con.execute("INSERT INTO roots VALUES (?, ?)", [known[root], root])
    return known[root]
