"""Where the files of a CelebA release lie: its lists and images, in folders, in zips, in zips inside zips.

    root -> list name -> lines;   image name of the lists -> what reads its bytes

Lists name `000001.jpg`; of the PNG release the image is `000001.png`. What macOS and file servers put beside files is
passed over.
"""

from __future__ import annotations

import csv
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from lineament.data.unicode import decode_text
from lineament.errors import DataError, UnreadableError

_DEPTH = 3
_IMAGES = ("img_align_celeba", "img_align_celeba_png")
_SUFFIXES = (".jpg", ".jpeg", ".png")
_SEVEN = ".7z"
_PASSED_OVER = ("__MACOSX", "@eaDir")
_UNZIP = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    struct.error,
)
"""What the standard library raises for damaged, encrypted and strangely packed members."""
_CSV_VALUES = frozenset({"1", "-1", "0", "True", "False", "true", "false"})


@dataclass(frozen=True)
class Listed:
    """A list. header: attribute names, () for a list of pairs; rows: (line number, cells); values: what a label may
    be."""

    name: str
    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    values: frozenset[str] = frozenset({"1", "-1"})


class ReleaseFiles:
    """The files of a release. Raises: DataError where there is none, or its images lie in an archive that is not
    read."""

    def __init__(self, root: Path, images: Path | None = None) -> None:
        self.root = root
        if not root.exists():
            raise DataError(f"No CelebA release at {root}. Give the folder that holds list_attr_celeba.txt.")
        if not root.is_dir() and not zipfile.is_zipfile(root):
            raise DataError(f"{root} is neither a folder nor a zip of CelebA's release. {_advice(root)}".strip())
        self._archive = None if root.is_dir() else _zip(root)
        self._members = {} if self._archive is None else _members(self._archive)
        self._found = dict(_walk(root)) if self._archive is None else {}
        self._images = self._locate(images)

    def image(self, name: str) -> Callable[[], bytes] | None:
        """Return what reads the image that the lists call `name`; None where it is not there."""
        found = self._images.get(name)
        return found or self._images.get(f"{PurePosixPath(name).stem}.png")

    def listed(self, name: str) -> Listed | None:
        """Return a list by its name without ending, text or CSV; None where it is not there. Raises: DataError."""
        for file in (f"{name}.txt", f"{name}.csv"):
            data = self._read(file)
            if data is not None:
                return _parsed(file, decode_text(data), pairs=name != "list_attr_celeba")
        return None

    def _read(self, file: str) -> bytes | None:
        if self._archive is not None:
            member = next(
                (info for name, info in self._members.items() if PurePosixPath(name).name.lower() == file.lower()), None
            )
            return None if member is None else _unzipped(self._archive, member, DataError)
        path = self._found.get(file.lower())
        try:
            return None if path is None else path.read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error

    def _locate(self, images: Path | None) -> dict[str, Callable[[], bytes]]:
        """Return image name -> what reads it."""
        if images is not None:
            return _of_folder(images) if images.is_dir() else _of_zip(_zip(images))
        if self._archive is not None:
            inner = next(
                (
                    info
                    for name, info in self._members.items()
                    if PurePosixPath(name).name in (f"{one}.zip" for one in _IMAGES)
                ),
                None,
            )
            return _of_zip(self._archive if inner is None else _inner(self._archive, inner))
        for name in _IMAGES:
            folder, packed = self._found.get(name), self._found.get(f"{name}.zip")
            inside = _of_folder(folder) if folder is not None and folder.is_dir() else {}
            if inside or (folder is not None and packed is None and not self._packed()):
                return inside
            if packed is not None:
                return _of_zip(_zip(packed))
        seven = self._packed()
        if seven is not None:
            where = f"a folder {_IMAGES[1] if 'png' in seven.name else _IMAGES[0]}"
            raise DataError(
                f"{seven} is a 7z archive, which is not read. Unpack it (7z x '{seven}') so that {where} stands in "
                f"{self.root}."
            )
        raise DataError(
            f"Neither {_IMAGES[0]} nor {_IMAGES[0]}.zip is in {self.root}. CelebA's aligned images belong in one of "
            "them; "
            "--images DIR names another folder."
        )

    def _packed(self) -> Path | None:
        """Return the 7z archive of images that lies there, of several volumes the first."""
        found = [path for name, path in sorted(self._found.items()) if _SEVEN in name and name.startswith("img_")]
        return next((path for path in found if path.is_file()), None)


def _walk(root: Path, depth: int = 0) -> Iterator[tuple[str, Path]]:
    """Yield lower-case name -> path of what lies up to `_DEPTH` folders down, the deepest first, so that the nearest
    counts. The folders of images are named, not listed."""
    try:
        with os.scandir(root) as listing:
            entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        raise DataError(f"The folder {root} cannot be listed: {error.strerror or error}.") from error
    for entry in entries:
        if entry.is_dir() and depth < _DEPTH and entry.name.lower() not in _IMAGES and not _is_hidden(entry.name):
            yield from _walk(Path(entry.path), depth + 1)
    for entry in entries:
        if not _is_hidden(entry.name):
            yield entry.name.lower(), Path(entry.path)


def _of_folder(folder: Path) -> dict[str, Callable[[], bytes]]:
    """Return the images of a folder, or of the one inside it that has its name (as the CSV copies unpack)."""
    found = {
        entry.name: Path(entry.path).read_bytes
        for entry in os.scandir(folder)
        if entry.is_file() and _is_image(entry.name)
    }
    if found:
        return found
    inner = [
        Path(entry.path)
        for entry in sorted(os.scandir(folder), key=lambda one: one.name)
        if entry.is_dir() and not _is_hidden(entry.name)
    ]
    return _of_folder(inner[0]) if len(inner) == 1 else {}


def _of_zip(archive: zipfile.ZipFile) -> dict[str, Callable[[], bytes]]:
    """Return the images of a zip, whatever folders they are in."""
    members = {name: info for name, info in _members(archive).items() if _is_image(PurePosixPath(name).name)}
    locked = sum(info.flag_bits & 1 for info in members.values())
    if locked:
        raise DataError(
            f"{locked} images in {archive.filename} are encrypted. Unpack it with its password and give the folder."
        )
    return {
        PurePosixPath(name).name: partial(_unzipped, archive, info, UnreadableError) for name, info in members.items()
    }


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return name -> member, names with `/` whatever wrote the archive."""
    named = ((info.filename.replace("\\", "/"), info) for info in archive.infolist())
    return {
        name: info
        for name, info in named
        if name and not name.endswith("/") and not any(_is_hidden(part) for part in name.split("/"))
    }


def _zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _UNZIP as error:
        raise DataError(f"{path} is no zip archive, or damaged ({error}). Download it again.") from error


def _inner(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> zipfile.ZipFile:
    """Return a zip inside a zip. Raises: DataError where it was compressed again: each image would unpack all before
    it."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise DataError(
            f"{member.filename} inside {archive.filename} is packed twice. Unpack the outer zip and give the folder."
        )
    try:
        return zipfile.ZipFile(archive.open(member))
    except _UNZIP as error:
        raise DataError(
            f"{member.filename} inside {archive.filename} is damaged ({error}). Download it again."
        ) from error


def _unzipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kind: type[Exception]) -> bytes:
    if member.flag_bits & 1:
        raise kind(
            f"{member.filename} in {archive.filename} is encrypted. Unpack it with its password and give the folder."
        )
    try:
        return archive.read(member)
    except _UNZIP as error:
        raise kind(
            f"{member.filename} in {archive.filename} is damaged or packed in a way that is not read ({error})."
        ) from error


def _parsed(name: str, text: str, *, pairs: bool) -> Listed:
    """Return a list's header and rows. The count in the first line of the authors' list may be missing. Raises:
    DataError."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if name.endswith(".csv"):
        try:
            rows = [
                (number, [cell.strip() for cell in cells])
                for number, cells in enumerate(csv.reader(text.splitlines()), 1)
                if any(cells)
            ]
        except csv.Error as error:
            raise DataError(f"{name} is not a CSV file ({error}).") from error
        header = rows[0][1][1:] if rows else []
        return Listed(name, () if pairs else tuple(header), rows[1:], _csv_values(rows[1:]))
    cells = [(number, line.split()) for number, line in lines]
    if pairs:
        return Listed(name, (), cells)
    if cells and len(cells[0][1]) == 1 and cells[0][1][0].isdecimal():
        cells = cells[1:]
    return Listed(name, tuple(cells[0][1]) if cells else (), cells[1:])


def _csv_values(rows: list[tuple[int, list[str]]]) -> frozenset[str]:
    """Return what the labels of a CSV may be: 1 and 0, or 1 and -1, never all three, of which two would have to mean
    the same."""
    minus = any("-1" in cells[1:] for _, cells in rows)
    return _CSV_VALUES - ({"0"} if minus else {"-1"})


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES and not _is_hidden(name)  # noqa: PTH122 - two hundred thousand times


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _PASSED_OVER


def _advice(path: Path) -> str:
    return f"Unpack it (7z x '{path}') and give the folder." if _SEVEN in path.name.lower() else ""
