"""Odd and hostile photo files, made from code and one public-domain portrait: the table that tests and
`benchmarks/bad_input.py` share.

Each kind says what `load_image` must answer: "ok" with the size of the whole picture, or the code of one error.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import odd_parts as parts
from odd_bytes import BYTES

WHOLE = (160, 200)
PATHS: dict[str, tuple[str, Callable[[Path], str]]] = {}


@dataclass(frozen=True)
class Odd:
    """One kind of file. make(folder) creates it and returns its path; expected: "ok" or an error code; size: (width,
    height) if ok."""

    kind: str
    make: Callable[[Path], str]
    expected: str
    size: tuple[int, int] | None = None


def _path(expected: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    def register(make: Callable[[Path], str]) -> Callable[[Path], str]:
        PATHS[make.__name__] = (expected, make)
        return make

    return register


def _photo_at(path: str | bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 - the name may be bytes
        file.write(parts.encode())


@_path("not_a_file")
def folder_named_jpg(folder: Path) -> str:
    path = folder / "folder.jpg"
    path.mkdir()
    return str(path)


@_path("not_a_file")
def link_to_a_folder(folder: Path) -> str:
    path = folder / "link_to_folder.jpg"
    path.symlink_to(folder)
    return str(path)


@_path("not_a_file")
def pipe_without_a_writer(folder: Path) -> str:
    path = folder / "pipe.jpg"
    os.mkfifo(path)
    return str(path)


@_path("not_a_file")
def socket_file(folder: Path) -> str:
    path = folder / "s.jpg"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return str(path)


@_path("not_a_file")
def link_to_an_endless_device(folder: Path) -> str:
    path = folder / "zero.jpg"
    path.symlink_to("/dev/zero")
    return str(path)


@_path("not_a_file")
def link_to_the_null_device(folder: Path) -> str:
    path = folder / "null.jpg"
    path.symlink_to("/dev/null")
    return str(path)


@_path("empty")
def kernel_file_of_zero_length(folder: Path) -> str:
    path = folder / "version.jpg"
    path.symlink_to("/proc/version")
    return str(path)


@_path("not_found")
def no_such_file(folder: Path) -> str:
    return str(folder / "missing.jpg")


@_path("not_found")
def dangling_link(folder: Path) -> str:
    path = folder / "dangling.jpg"
    path.symlink_to(folder / "nowhere.jpg")
    return str(path)


@_path("not_found")
def loop_of_links(folder: Path) -> str:
    first, second = folder / "loop_a.jpg", folder / "loop_b.jpg"
    first.symlink_to(second)
    second.symlink_to(first)
    return str(first)


@_path("not_found")
def name_longer_than_allowed(folder: Path) -> str:
    return str(folder / ("a" * 5000 + ".jpg"))


@_path("not_found")
def file_used_as_a_folder(folder: Path) -> str:
    _photo_at(str(folder / "plain.jpg"))
    return str(folder / "plain.jpg" / "inner.jpg")


@_path("not_found")
def name_with_a_nul_character(folder: Path) -> str:
    return str(folder / "a\x00b.jpg")


@_path("permission")
def unreadable_to_this_user(folder: Path) -> str:
    path = folder / "locked.jpg"
    _photo_at(str(path))
    path.chmod(0)
    return str(path)


@_path("too_large")
def half_a_gigabyte_of_holes(folder: Path) -> str:
    path = folder / "sparse.png"
    path.write_bytes(parts.PNG)
    os.truncate(path, (512 << 20) + 1)
    return str(path)


@_path("unreadable")
def sparse_file_of_zeros(folder: Path) -> str:
    path = folder / "holes.jpg"
    path.touch()
    os.truncate(path, 400 << 20)
    return str(path)


@_path("ok")
def link_to_a_photo(folder: Path) -> str:
    _photo_at(str(folder / "target.jpg"))
    path = folder / "link.jpg"
    path.symlink_to("target.jpg")
    return str(path)


@_path("ok")
def name_that_is_no_text(folder: Path) -> str:
    path = os.fsencode(folder) + b"/\xff\xfe\x80.jpg"
    _photo_at(path)
    return os.fsdecode(path)


@_path("ok")
def name_with_newline_and_quotes(folder: Path) -> str:
    path = folder / "a\n'b\" \u202e\U0001f600.jpg"
    _photo_at(str(path))
    return str(path)


@_path("ok")
def jpeg_named_png(folder: Path) -> str:
    path = folder / "jpeg_inside.png"
    _photo_at(str(path))
    return str(path)


def _writer(kind: str, make: Callable[[], bytes], suffix: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        path = folder / f"{kind}.{suffix}"
        path.write_bytes(make())
        return str(path)

    return write


def _expected(kind: str, expected: str) -> str:
    if kind == "heic_header" and find_spec("pillow_heif") is not None:
        return "truncated"  # with the plug-in it is decoded, and this one is only a header
    return expected


def table() -> tuple[Odd, ...]:
    """Return every kind this platform can make, in a fixed order."""
    files = [
        Odd(kind, _writer(kind, make, suffix), _expected(kind, code), size)
        for kind, (code, size, suffix, make) in BYTES.items()
    ]
    paths = [Odd(kind, make, code, WHOLE if code == "ok" else None) for kind, (code, make) in PATHS.items()]
    if os.name == "nt":
        paths = [odd for odd in paths if odd.kind in ("no_such_file", "folder_named_jpg", "jpeg_named_png")]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        paths = [
            odd for odd in paths if odd.expected != "permission"
        ]  # the administrator may read everything; tested with another user
    if not Path("/proc/version").exists():
        paths = [odd for odd in paths if odd.kind != "kernel_file_of_zero_length"]
    return (*files, *paths)
