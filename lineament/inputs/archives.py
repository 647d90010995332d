"""Photos inside archives: tar (plain, gzip, bzip2, xz), as WebDataset shards are, and zip.

    shard.tar -> members -> items "shard.tar::name"      album.zip -> members -> items "album.zip::name"

Convention: members are read one after the other as they are asked for, so an archive of any size takes the memory of
one photo. Hard and symbolic links are photos too: they follow in a second pass, each beside the member that it leads
to. Companions and hidden files are passed over, as in folders.
"""

from __future__ import annotations

import lzma
import posixpath
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from lineament.errors import ImageError, NotFoundError, TooLargeError, TruncatedError, UnsupportedError
from lineament.images import MAX_BYTES
from lineament.inputs.item import SEPARATOR, SUFFIXES, Item, of_os_error, passed_over

_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError, LookupError,
    struct.error,
)  # fmt: skip
"""What the standard library raises for archives that are cut or damaged; OSError is told apart, it may be the
disk's."""
_MOST_LINKS = 40
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def tar_items(file: Path | BinaryIO, name: str) -> Iterator[Item]:
    """Yield a tar archive's pictures in their order, then the links to them; what cannot be read of it is one item with
    an error.

    Args: file: a path or a seekable binary file. name: what sources call it. The compression is told by content.
    """
    links: dict[str, str] = {}
    try:
        with _opened_tar(file) as archive:
            for member in archive:
                if not _is_photo(member.name):
                    continue
                if member.isfile():
                    yield Item(f"{name}{SEPARATOR}{member.name}", **_read_member(archive, member))
                elif member.issym() or member.islnk():
                    links[member.name] = _target(member)
        if links:
            yield from _linked(file, name, links)
    except OSError as error:
        yield Item(name, error=_of_archive(name, error))
    except _DAMAGED as error:
        yield Item(name, error=_cut(error))


def zip_items(file: Path | BinaryIO, name: str) -> Iterator[Item]:
    """Yield a zip archive's pictures in their order, names with `/` whatever wrote it; what cannot be read is an item
    with an error."""
    try:
        with zipfile.ZipFile(file) as archive:
            photos = [info for info in archive.infolist() if _is_photo(info.filename.replace("\\", "/"))]
            locked = sum(info.flag_bits & 1 for info in photos)
            if locked:
                message = (
                    f"{locked} of the {len(photos)} photos in this zip are encrypted. Unpack it with its password and "
                    "give the folder."
                )
                yield Item(name, error=UnsupportedError(message))
            for info in photos:
                if not info.flag_bits & 1:
                    yield Item(f"{name}{SEPARATOR}{info.filename.replace(chr(92), '/')}", **_unzipped(archive, info))
    except OSError as error:
        yield Item(name, error=_of_archive(name, error))
    except (*_DAMAGED, NotImplementedError) as error:
        yield Item(name, error=_cut(error))


def _opened_tar(file: Path | BinaryIO) -> tarfile.TarFile:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            _refuse_zstandard(opened)
        return tarfile.open(file, "r:*")
    file.seek(0)
    _refuse_zstandard(file)
    file.seek(0)
    return tarfile.open(fileobj=file, mode="r:*")


def _refuse_zstandard(file: BinaryIO) -> None:
    """Raise: tarfile.CompressionError for an archive packed by zstd where this Python (before 3.14) has no reader for
    it."""
    if sys.version_info < (3, 14) and file.read(4) == _ZSTANDARD:
        raise tarfile.CompressionError("Zstandard is read from Python 3.14 on; `zstd -d` unpacks it")


def _is_photo(member: str) -> bool:
    return posixpath.splitext(member)[1].lower() in SUFFIXES and not passed_over(member)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    """Return the data or the error of a tar member. Raises: tarfile.ReadError where the archive ends inside it."""
    if member.size > MAX_BYTES:
        return {"error": TooLargeError(f"{member.size} bytes are more than the cap of {MAX_BYTES}.")}
    entry = archive.extractfile(member)
    assert entry is not None
    data = entry.read()
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return {"data": data}


def _target(link: tarfile.TarInfo) -> str:
    """Return what a link names: a hard link's from the archive's root, a symbolic one's from the link's own folder."""
    return link.linkname if link.islnk() else posixpath.join(posixpath.dirname(link.name), link.linkname)


def _linked(file: Path | BinaryIO, name: str, links: dict[str, str]) -> Iterator[Item]:
    """Yield an item for each link (name -> target), through links to links, by a second pass over the archive."""
    plain = {posixpath.normpath(link): posixpath.normpath(target) for link, target in links.items()}
    waiting: dict[str, list[str]] = {}
    for link in links:
        end, steps = plain[posixpath.normpath(link)], 0
        while end in plain and steps < _MOST_LINKS:
            end, steps = plain[end], steps + 1
        waiting.setdefault(end, []).append(link)
    with _opened_tar(file) as archive:
        for member in archive:
            found = waiting.pop(posixpath.normpath(member.name), []) if member.isfile() else []
            read = _read_member(archive, member) if found else {}
            yield from (Item(f"{name}{SEPARATOR}{link}", **read) for link in found)
    for end, lost in waiting.items():
        error = NotFoundError(f"A link to {end}, which is no file in this archive.")
        yield from (Item(f"{name}{SEPARATOR}{link}", error=error) for link in lost)


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any]:
    """Return the data or the error of a zip member, through symbolic links."""
    for _ in range(_MOST_LINKS):
        if info.file_size > MAX_BYTES:
            return {"error": TooLargeError(f"{info.file_size} bytes are more than the cap of {MAX_BYTES}.")}
        try:
            with archive.open(info) as entry:
                data = _whole(entry, info.file_size)
        except NotImplementedError as error:
            return {
                "error": UnsupportedError(
                    f"{error}: this compression of zip is not read. Unpack it and give the folder."
                )
            }
        except (*_DAMAGED, OSError, RuntimeError) as error:
            return {"error": TruncatedError(f"This member of the zip is damaged or cut ({error}).")}
        if not stat.S_ISLNK(info.external_attr >> 16):
            return {"data": data}
        end = posixpath.normpath(posixpath.join(posixpath.dirname(info.filename), data.decode("utf-8", "replace")))
        if end not in archive.NameToInfo:
            return {"error": NotFoundError(f"A link to {end}, which is no file in this archive.")}
        info = archive.NameToInfo[end]
    return {"error": NotFoundError("Its links lead in a circle.")}


def _whole(entry: IO[bytes], size: int) -> bytes:
    data = entry.read(size + 1)  # a zip that says less than it unpacks to must not fill the memory
    if len(data) != size:
        raise zipfile.BadZipFile("it is not as long as the archive says")
    return data


def _of_archive(name: str, error: OSError) -> ImageError:
    """Return what an OSError means: the disk's have a number, those of gzip and bzip2 about damaged data have none."""
    return _cut(error) if error.errno is None else of_os_error(name, error)


def _cut(error: BaseException) -> ImageError:
    said = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, tarfile.CompressionError):
        return UnsupportedError(f"The archive's compression is not read: {said}.")
    if said.startswith("file could not be opened"):  # tarfile then lists what each of its readers said
        said = "it does not begin as one"
    return TruncatedError(f"The archive is damaged or ends early ({said}); photos after that point were not read.")
