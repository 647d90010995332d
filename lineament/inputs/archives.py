"""Photos inside archives: tar, as WebDataset shards are.

    shard.tar -> members -> items "shard.tar::name"

Convention: members are read one after the other as they are asked for, so an archive of any size takes the memory of one photo.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lineament.errors import TruncatedError
from lineament.inputs.item import SEPARATOR, SUFFIXES, Item, of_os_error


def tar_items(file: Path | BinaryIO, name: str) -> Iterator[Item]:
    """Yield a tar archive's pictures in their order; what cannot be read of it is one item with an error. name: what sources call it."""
    mode: Any = "r:*" if name.lower().endswith(".tar") else "r|gz"
    try:
        with tarfile.open(file, mode) if isinstance(file, Path) else tarfile.open(fileobj=file, mode=mode) as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    entry = archive.extractfile(member)
                    assert entry is not None
                    data = entry.read()
                    if len(data) < member.size:
                        raise tarfile.ReadError("unexpected end of data")
                    yield Item(f"{name}{SEPARATOR}{member.name}", data=data)
    except (tarfile.TarError, EOFError) as error:
        yield Item(name, error=TruncatedError(f"The archive is damaged or ends early ({error}); photos after that point were not read."))
    except OSError as error:
        yield Item(name, error=of_os_error(name, error))
