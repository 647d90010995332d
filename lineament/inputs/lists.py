"""Lists of photos, `@FILE` and stdin: one path per line or separated by NUL, in any Unicode encoding; on stdin also a
picture itself.

    bytes -> paths -> items

Convention: without a byte-order mark a name is the bytes that stand there, so that every file name can be listed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lineament.data.unicode import decode_text, encoding_of
from lineament.errors import ImageError, UnsupportedError, UsageError
from lineament.images.formats import sniff
from lineament.images.source import HEAD
from lineament.inputs.item import Item

_CONTROL = frozenset(range(1, 32)) - frozenset(b"\t\n\r")
_MARKUP = (b"<?xml", b"<svg", b"<!doctype", b"<html")


def read_list(name: str) -> bytes:
    """Return the bytes of a list. Raises: UsageError where it cannot be read."""
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot read the list @{name}: {reason}. It holds one path per line.") from error


def listed(data: bytes) -> Iterator[Item]:
    """Yield an item for each path of a list."""
    encoding, _ = encoding_of(data)
    if encoding is None:
        parts = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
        names = [os.fsdecode(part) for part in parts if part]
    else:
        text = decode_text(data)
        names = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    for name in names:
        if name:
            yield Item(name, Path(name))


def stdin_items() -> Iterator[Item]:
    """Yield what stdin holds: a list of photos, or one picture in any format, which is then told (or refused) by its
    content."""
    data = sys.stdin.buffer.read()
    if _is_list(data):
        yield from listed(data)
    else:
        yield Item("-", data=data)


def _is_list(data: bytes) -> bool:
    """Return whether bytes are a list of names: text in some encoding. Whatever holds other control characters is a
    picture, or should be."""
    head = data[:HEAD]
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        return False
    first = head.partition(b"\0")[0].partition(b"\n")[0].removesuffix(b"\r")
    if _CONTROL.isdisjoint(head):
        return not _is_foreign(head) or _exists(first)
    return encoding_of(data)[0] is not None or _exists(first)  # characters of UTF-16, or odd ones in a file's name


def _is_foreign(head: bytes) -> bool:
    """Return whether bytes begin as a file of a known kind that is not decoded (PDF, PNM ...)."""
    try:
        sniff(head)
    except UnsupportedError:
        return True
    except ImageError:
        return False
    return False


def _exists(name: bytes) -> bool:
    try:
        return bool(name) and os.path.lexists(name)
    except ValueError:
        return False
