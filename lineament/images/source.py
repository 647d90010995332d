"""Reading bytes from a path or a file object: regular files only, never blocking, never more than the cap.

The kind of file is asked before it is opened, because opening a pipe waits for a writer and reading a device never
ends.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from lineament.errors import (
    EmptyError,
    ImageError,
    NotAFileError,
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnreadableError,
    UsageError,
)

HEAD = 4096
"""Bytes looked at before the rest is read, so that a video of half a gigabyte is refused after one page."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_BY_ERRNO: dict[int | None, type[ImageError]] = {
    errno.ENOENT: NotFoundError, errno.ENOTDIR: NotFoundError, errno.ELOOP: NotFoundError,
    errno.ENAMETOOLONG: NotFoundError, errno.EACCES: PermissionDeniedError, errno.EPERM: PermissionDeniedError,
    errno.EISDIR: NotAFileError, errno.ENXIO: NotAFileError, errno.ENODEV: NotAFileError,
}  # fmt: skip
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)  # fmt: skip
_REASONS = {
    errno.ENOENT: "there is no such file (or the link leads nowhere)", errno.ENOTDIR: (
        "a part of the path is not a folder"
    ),
    errno.ELOOP: "the links form a loop", errno.ENAMETOOLONG: "the name is longer than the file system allows",
    errno.EACCES: "this user may not read it; change its permissions",
    errno.EPERM: "this user may not read it; change its permissions",
}  # fmt: skip


class Reader(Protocol):
    """Anything with `read(n)` that returns bytes."""

    def read(self, size: int, /) -> bytes: ...


def _file_error(path: str, error: OSError) -> ImageError:
    kind = _BY_ERRNO.get(error.errno, UnreadableError)
    return kind(f"Cannot read {path!r}: {_REASONS.get(error.errno or 0, error.strerror or 'the system refused')}.")


def _check_regular(path: str, status: os.stat_result, max_bytes: int) -> None:
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise NotAFileError(f"{path!r} is {name}, not a photo file.")
    if status.st_size == 0:  # also every file of /proc and /sys, some of which block when read
        raise EmptyError(f"{path!r} has zero bytes.")
    if status.st_size > max_bytes:
        raise TooLargeError(
            f"{path!r} has {status.st_size} bytes, more than the cap of {max_bytes}. Raise max_bytes if it is a photo."
        )


def open_regular(path: str | os.PathLike[str], max_bytes: int) -> int:
    """Return a file descriptor of a regular, non-empty file of at most `max_bytes` bytes; the caller closes it.

    Raises: NotFoundError, NotAFileError, PermissionDeniedError, EmptyError, TooLargeError; UnreadableError for a
        failing disk.
    """
    name = os.fsdecode(os.fspath(path))
    try:
        _check_regular(name, os.stat(name), max_bytes)  # noqa: PTH116 - a Path of an odd name costs more than it says
        descriptor = os.open(name, _FLAGS)
    except ValueError as error:  # a NUL character, or a character the file system cannot spell
        raise NotFoundError(f"Cannot read {name!r}: no file can have this name.") from error
    except OSError as error:
        raise _file_error(name, error) from error
    try:
        _check_regular(name, os.fstat(descriptor), max_bytes)  # it may have been replaced by a pipe in between
    except ImageError:
        os.close(descriptor)
        raise
    return descriptor


class FileBytes:
    """A regular file open for reading in two steps: `read(n)` for the head, then the rest."""

    def __init__(self, path: str | os.PathLike[str], max_bytes: int) -> None:
        self.name = os.fsdecode(os.fspath(path))
        self._file = os.fdopen(open_regular(path, max_bytes), "rb", buffering=0)

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int, /) -> bytes:
        parts, wanted = [], size
        while wanted > 0:
            try:
                part = self._file.read(min(wanted, 1 << 24))
            except OSError as error:
                raise _file_error(self.name, error) from error
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


def read_stream(stream: Reader, size: int) -> bytes:
    """Return up to `size` bytes of a file object, from where it stands.

    Raises: UsageError for a text stream or one that is closed; UnreadableError where reading fails.
    """
    if getattr(stream, "closed", False) is True:
        raise UsageError("The file object is closed. Pass it while it is open, or pass the path.")
    data: object = None
    try:
        data = stream.read(size)
    except UnicodeDecodeError:
        data = ""  # a text stream, met at bytes that are no text
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableError(f"The file object could not be read: {reason}.") from error
    if not isinstance(data, bytes):
        raise UsageError(
            f"The file object gave {type(data).__name__}, not bytes. Open the file in binary mode: open(path, 'rb')."
        )
    return data


def take(stream: Reader, head: bytes, max_bytes: int) -> bytes:
    """Return `head` and everything after it.

    Raises: TooLargeError once more than `max_bytes` have come, whatever the size was said to be.
    """
    data = head + read_stream(stream, max_bytes + 1 - len(head)) if len(head) <= max_bytes else head
    if len(data) > max_bytes:
        raise TooLargeError(f"More than the cap of {max_bytes} bytes. Raise max_bytes if it is a photo.")
    return data
