"""One input of a run: the file or bytes to answer, the name its record shows, and the file name endings that say what
holds photos."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from lineament.errors import ImageError, NotFoundError, PermissionDeniedError, UnreadableError, UsageError

SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dib", ".heic", ".heif",
        ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".mpo",
    }
)  # fmt: skip
"""What a folder's file must end in to be taken for a picture; a file named by itself may end in anything."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
ZIP_SUFFIX = ".zip"
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
TABLE_SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
CONTAINER_SUFFIXES = (*TAR_SUFFIXES, ZIP_SUFFIX, ".parquet", *TABLE_SUFFIXES, *VIDEO_SUFFIXES)
"""What a file's name must end in for the photos in it to be taken one by one."""

PASSED_OVER = frozenset({"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN"})
"""Folders of thumbnails, companions and deleted files that network drives, macOS and Windows put beside photos."""

CAMERA = "camera:"
SEPARATOR = "::"
"""Between a file and the member, row or time in it, in a source."""


@dataclass(frozen=True)
class Item:
    """One input. source: what its record shows; path: the file; data: bytes or array where it is not a file of its own;
    error: why not.

    closed: it is an archive, table, video or object-store file whose photos `opened` gives; only with `Reading.expand`
    False. keys: what came with it from a table ("id", "columns"), for its record. note: what was done to get the pixels
    of an array, for the record's own note.
    """

    source: str
    path: Path | None = None
    data: Any = None
    error: ImageError | None = None
    closed: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None

    def fingerprint(self) -> str:
        """Return what changes when the photo does: size and modification time of a file, the hash of bytes, "-" where
        there is nothing."""
        if self.data is not None:
            return sha256(self.data).hexdigest()[:16]
        if self.path is None:
            return "-"
        try:
            found = self.path.stat()
        except (OSError, ValueError):
            return "-"
        return f"{found.st_size}:{found.st_mtime_ns}"


def passed_over(name: str) -> bool:
    """Return whether a path below a folder or in an archive is a companion or hidden: a part of it begins with a dot or
    is in `PASSED_OVER`.

    The one rule of `analyze` and `index`, for folders, archives and object stores. A file that is named by itself is
    always tried.

    >>> passed_over("a/._b.jpg"), passed_over("photos/@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg"), passed_over("./a/b.jpg")
    (True, True, False)
    """
    return any(part in PASSED_OVER or (part.startswith(".") and part not in (".", "..")) for part in name.split("/"))


def source_hash(source: str) -> bytes:
    """Return 32 bytes that depend on the source's name only, the same on every machine; undecodable names count by
    their bytes."""
    return sha256(os.fsencode(source)).digest()


def parse_shard(text: str) -> tuple[int, int]:
    """Return (I, N) of "I/N". I counts from 1; 0 is the same shard as N, so that job arrays that count from 0 work too.

    >>> parse_shard("2/4"), parse_shard("0/4")
    ((2, 4), (4, 4))
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()) or int(parts) < 1 or int(part) > int(parts):
        raise UsageError(f"--shard wants I/N with I from 1 to N, for example 1/4; got {text!r}.")
    return int(part) or int(parts), int(parts)


def in_shard(source: str, shard: tuple[int, int]) -> bool:
    """Return whether a source belongs to shard (I, N); each belongs to exactly one."""
    return int.from_bytes(source_hash(source)[:8], "big") % shard[1] == shard[0] % shard[1]


def of_os_error(path: str, error: OSError) -> ImageError:
    """Return what a failure to open or read a file means, as the error of its record."""
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"There is no file {path}.")
    if isinstance(error, PermissionError):
        return PermissionDeniedError(f"{path} may not be read by this user.")
    return UnreadableError(f"Reading {path} failed: {error.strerror or error}.")
