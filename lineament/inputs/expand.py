"""From what the user names to single items: files, folders, patterns, lists, archives, tables.

    INPUT... -> items, in a fixed order, one per record

Convention: a folder gives its pictures depth first, names sorted, companions and hidden files passed over
(`item.passed_over`); nothing here opens a photo, so nothing here can fail on one. What cannot be listed is an item with
an error, never left out.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lineament.errors import NotFoundError, PermissionDeniedError, UnreadableError
from lineament.inputs.item import (
    CAMERA,
    CONTAINER_SUFFIXES,
    SUFFIXES,
    TAR_SUFFIXES,
    VIDEO_SUFFIXES,
    ZIP_SUFFIX,
    Item,
    passed_over,
)
from lineament.inputs.lists import listed, read_list, stdin_items
from lineament.inputs.tables import TableColumns, check_table, is_table, table_items


def check_inputs(inputs: Iterable[str | os.PathLike[str]], table: TableColumns | None = None) -> None:
    """Raise what would stop a run halfway, before any output is touched: a list that cannot be read, a missing extra, a
    missing column."""
    for given in inputs:
        text = os.fsdecode(given)
        if text.startswith("@") and not os.path.lexists(text):
            read_list(text[1:])
        if is_uri(text):
            from lineament.inputs.object_store import store_of

            store_of(text)
        elif text.lower().endswith(".parquet"):
            from lineament.inputs.parquet import arrow

            arrow()
        if not is_uri(text):
            check_table(text, table or TableColumns())
        if is_camera(text):
            from lineament.inputs.video import device_of

            device_of(text)
        if text.lower().endswith(VIDEO_SUFFIXES) or is_camera(text):
            from lineament.inputs.video import pyav

            pyav()


@dataclass(frozen=True)
class Reading:
    """How inputs are read. every: seconds between a video's frames; without: real paths of folders to leave out (the
    run's own outputs);
    expand: False leaves archives, tables, videos and object-store files closed, so that another process may open them.
    table: what the columns of tables mean."""

    every: float = 1.0
    without: frozenset[str] = frozenset()
    expand: bool = True
    table: TableColumns = field(default_factory=TableColumns)


def items(inputs: Iterable[str | os.PathLike[str]], reading: Reading | None = None) -> Iterator[Item]:
    """Yield the photos that inputs name.

    Args: inputs: a file; a folder (every picture in it, at any depth); a pattern with * ? [ ] where no file has that
        name; @FILE, a list of paths, one per line or separated by NUL; "-", the same list on stdin, or a picture; a tar
        or zip archive; a Parquet file with pictures; a video, of which frames are taken.
    """
    reading = reading or Reading()
    for given in inputs:
        text = os.fsdecode(given)
        if text == "-":
            yield from stdin_items()
        elif text.startswith("@") and not os.path.lexists(text):
            yield from listed(read_list(text[1:]))
        else:
            for item in _named(text, reading):
                yield from opened(item, reading) if item.closed and reading.expand else (item,)


def opened(item: Item, reading: Reading | None = None) -> Iterator[Item]:
    """Yield the photos in a closed item, in their order."""
    reading = reading or Reading()
    every, table = reading.every, reading.table
    name, lower = item.source, item.source.lower()
    if is_camera(name):
        from lineament.inputs.video import camera_items

        yield from camera_items(name, every)
    elif item.path is None:
        from lineament.inputs.object_store import remote_items

        yield from remote_items(name, table)
    elif lower.endswith(TAR_SUFFIXES):
        from lineament.inputs.archives import tar_items

        yield from tar_items(item.path, name)
    elif lower.endswith(ZIP_SUFFIX):
        from lineament.inputs.archives import zip_items

        yield from zip_items(item.path, name)
    elif is_table(name, table):
        from lineament.inputs.object_store import remote_items

        yield from table_items(item.path, name, table, remote_items)
    elif lower.endswith(".parquet"):
        from lineament.inputs.parquet import parquet_items

        yield from parquet_items(item.path, name)
    else:
        from lineament.inputs.video import video_items

        yield from video_items(item.path, every, name)


def is_uri(text: str) -> bool:
    """Return whether an input is in an object store (s3://, gs://, abfss://, hdfs://, file://): a name with a scheme
    that is no local file.

    >>> is_uri("s3://bucket/a.parquet"), is_uri("a/b.jpg")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None and not os.path.lexists(text)


def is_camera(text: str) -> bool:
    """Return whether an input is a camera: camera:0, camera:/dev/video2."""
    return text.startswith(CAMERA) and len(text) > len(CAMERA) and not os.path.lexists(text)


def _named(text: str, reading: Reading) -> Iterator[Item]:
    if is_uri(text):
        from lineament.inputs.object_store import remote_names

        yield from remote_names(text)
    elif is_camera(text):
        yield Item(text, closed=True)
    elif not os.path.lexists(text) and any(mark in text for mark in "*?["):
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - keeps the names as the pattern spells them
        if not found:
            yield Item(text, error=NotFoundError(f"No file matches the pattern {text}."))
        for name in found:
            if not _meets_hidden(name, text):
                yield from _named(name, reading)
    elif Path(text).is_dir():
        yield from _folder(text, reading.without)
    else:
        yield Item(text, Path(text), closed=text.lower().endswith(CONTAINER_SUFFIXES) or is_table(text, reading.table))


def _meets_hidden(name: str, pattern: str) -> bool:
    """Return whether a find of a pattern is passed over: for a part of its path that the pattern does not spell out."""
    return any(passed_over(part) and part not in pattern for part in Path(name).parts)


def _folder(folder: str, without: frozenset[str]) -> Iterator[Item]:
    """Yield a folder's pictures, depth first, names sorted. Links to folders are not followed (they may lead back)."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except PermissionError:
        yield Item(folder, error=PermissionDeniedError(f"The folder {folder} may not be listed by this user."))
        return
    except OSError as error:
        yield Item(folder, error=UnreadableError(f"The folder {folder} cannot be listed: {error.strerror}."))
        return
    for entry in entries:
        if passed_over(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            if not without or os.path.realpath(entry.path) not in without:
                yield from _folder(entry.path, without)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - a million times
            yield Item(entry.path, Path(entry.path))
