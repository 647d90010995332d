"""Photos in object stores (`[parquet]`): S3, Google Cloud Storage, Azure, HDFS, whatever PyArrow opens by address.

    s3://bucket/folder -> addresses of its pictures -> items
    s3://bucket/shard.tar -> members -> items "s3://bucket/shard.tar::name"

Convention: credentials and regions are the store's own business (its usual environment variables); nothing is asked for
here. A file is read as a stream, so an archive of any size takes the memory of one photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from lineament.errors import ImageError, NotFoundError, UnreadableError, UsageError
from lineament.inputs.archives import tar_items, zip_items
from lineament.inputs.item import SUFFIXES, TAR_SUFFIXES, VIDEO_SUFFIXES, ZIP_SUFFIX, Item, of_os_error, passed_over
from lineament.inputs.parquet import arrow, parquet_items
from lineament.inputs.tables import TableColumns, is_table, table_items


def remote_names(uri: str) -> Iterator[Item]:
    """Yield, still closed, the file that an address names or every picture below it, names sorted. What is not there is
    an item with an error."""
    store, path = store_of(uri)
    try:
        info = store.get_file_info(path)
        if info.type.name == "NotFound":
            yield Item(uri, error=NotFoundError(f"There is nothing at {uri}."))
        elif info.type.name == "Directory":
            yield from (Item(name, closed=True) for name in _below(store, path, uri))
        else:
            yield Item(uri, closed=True)
    except OSError as error:
        yield Item(uri, error=_of(uri, error))


def remote_items(uri: str, table: TableColumns | None = None) -> Iterator[Item]:
    """Yield the photos of one file in an object store: itself, or those in it where it is an archive or a table."""
    lower = uri.lower()
    if lower.endswith(VIDEO_SUFFIXES):
        yield Item(uri, error=UnreadableError("Videos are read from local files only. Copy it here first."))
        return
    store, path = store_of(uri)
    try:
        with store.open_input_file(path) as file:
            if lower.endswith(TAR_SUFFIXES):
                yield from tar_items(file, uri)
            elif lower.endswith(ZIP_SUFFIX):
                yield from zip_items(file, uri)
            elif table is not None and is_table(uri, table):
                yield from table_items(file, uri, table, remote_items)
            elif lower.endswith(".parquet"):
                yield from parquet_items(file, uri)
            else:
                yield Item(uri, data=file.read())
    except OSError as error:
        yield Item(uri, error=_of(uri, error))


def _below(store: Any, path: str, uri: str) -> list[str]:
    """Return the addresses of the pictures below a folder, sorted."""
    from pyarrow.fs import FileSelector

    found = store.get_file_info(FileSelector(path, recursive=True))
    names = [
        info.path for info in found if info.type.name == "File" and PurePosixPath(info.path).suffix.lower() in SUFFIXES
    ]
    below = (name.removeprefix(path.rstrip("/")).lstrip("/") for name in names)
    return sorted(f"{uri.rstrip('/')}/{name}" for name in below if not passed_over(name))


@lru_cache(maxsize=64)
def _store(uri: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    store, path = FileSystem.from_uri(uri)
    return store, path


def store_of(uri: str) -> tuple[Any, str]:
    """Return the store of an address and the path in it. Raises: UsageError for a kind of store that PyArrow does not
    open."""
    pyarrow, _ = arrow()

    try:
        _, slash, below = uri.partition("://")[2].partition("/")
        if not slash or "?" in uri or uri.startswith("file:"):
            store, path = _store(uri)
        else:  # a store's connections serve every file of a bucket
            store, path = _store(uri[: len(uri) - len(below)])
            path = f"{path.rstrip('/')}/{below}"
    except pyarrow.ArrowException as error:
        raise UsageError(
            f"{uri} cannot be opened ({str(error).splitlines()[0]}). Known: s3://, gs://, abfss://, hdfs://, file:///."
        ) from error
    return store, path


def _of(uri: str, error: OSError) -> ImageError:
    found = of_os_error(uri, error)
    return (
        found
        if not isinstance(found, UnreadableError)
        else UnreadableError(f"Reading {uri} failed: {str(error).splitlines()[0]}")
    )
