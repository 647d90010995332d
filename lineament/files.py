"""Files on the disk: written whole or not at all, their hash, and names and values as text.

target -> a new file beside it -> target, at once
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(target: str | os.PathLike[str], *, unique: bool = False) -> Iterator[Path]:
    """Give a path beside `target` to write to; what was written takes `target`'s place at once when the block ends, and
    goes when it fails.

    Killed at any moment, `target` is the old file or the new one. What must outlast a power cut is synced by the block.

    Args: unique: the path beside it is hidden and this thread's own, for targets that several processes or threads may
        write.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.txt")) as partial:
    ...         _ = partial.write_text("new")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('a.txt', 'new')]
    """
    place = Path(target)
    partial = place.with_name(
        f".{place.name}.{os.getpid()}.{threading.get_ident()}.part" if unique else f"{place.name}.part"
    )
    try:
        yield partial
        partial.replace(place)
    except BaseException:
        with suppress(OSError):  # the block's own error is the one to hear of
            partial.unlink(missing_ok=True)
        raise


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hex digits. Raises: OSError."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def escaped(text: str) -> str:
    """Return text that any UTF-8 stream takes: bytes that are no text, as file names may hold them, become escapes.

    >>> escaped("caf\\udce9.jpg")
    'caf\\\\udce9.jpg'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def spelled(value: object) -> str:
    """Return a value as text that any UTF-8 stream takes: text escaped, anything else as JSON.

    >>> spelled("a"), spelled([1, None])
    ('a', '[1, null]')
    """
    return escaped(value) if isinstance(value, str) else json.dumps(value)
