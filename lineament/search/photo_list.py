"""The photos a folder holds, and whether each is still the one that was indexed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lineament.inputs.item import SUFFIXES, passed_over


@dataclass(frozen=True)
class PhotoFile:
    """A photo file as the folder shows it: `relative` is its path under the root in the file system's bytes, `/`
    between parts."""

    path: str
    relative: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Listing:
    """Photos sorted by relative path, and the folders (relative, with a trailing `/`) that could not be read."""

    photos: tuple[PhotoFile, ...]
    unreadable: tuple[bytes, ...]


def list_photos(root: Path) -> Listing:
    """Return the photos under a folder, deepest included.

    Convention: companions and hidden names are passed over, by `analyze`'s rule (`inputs.item.passed_over`); links to
    files are followed, links to folders are not, so no photo comes twice through a loop.
    """
    photos: list[PhotoFile] = []
    unreadable: list[bytes] = []

    def refuse(error: OSError) -> None:
        unreadable.append(_relative(str(error.filename), root) + b"/")

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not passed_over(name))
        for name in names:
            photo = _photo(os.path.join(folder, name), root)  # noqa: PTH118 - Path() would copy a million names
            if photo is not None:
                photos.append(photo)
    return Listing(tuple(sorted(photos, key=lambda photo: photo.relative)), tuple(unreadable))


def _photo(path: str, root: Path) -> PhotoFile | None:
    name = os.path.basename(path)  # noqa: PTH119
    if passed_over(name) or os.path.splitext(name)[1].lower() not in SUFFIXES:  # noqa: PTH122
        return None
    try:
        seen = os.stat(path)  # noqa: PTH116
    except OSError:  # a dangling link, or gone since the folder was listed
        return None
    return (
        PhotoFile(path, _relative(path, root), seen.st_size, seen.st_mtime_ns) if stat.S_ISREG(seen.st_mode) else None
    )


def _relative(path: str, root: Path) -> bytes:
    return os.fsencode(os.path.relpath(path, root).replace(os.sep, "/"))


def readable(name: bytes) -> str:
    """Return a path for human eyes and VARCHAR columns: undecodable bytes as `\\xff`. Not meant to be turned back.

    >>> readable(b'caf\\xe9.jpg')
    'caf\\\\xe9.jpg'
    """
    return os.fsdecode(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
