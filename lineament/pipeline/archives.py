"""Photos inside archives and tables: tar (WebDataset shards) and Parquet with picture bytes.

    shard.tar -> members -> items "shard.tar::name"      table.parquet -> rows -> items "table.parquet::row"

Convention: members are read one after the other as they are asked for, so an archive of any size takes the memory of one photo.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lineament.errors import ImageError, MissingExtraError, NotFoundError, PermissionDeniedError, TruncatedError, UnreadableError
from lineament.pipeline.sources import SEPARATOR, SUFFIXES, Item

_IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content")


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


def parquet_items(file: Path | BinaryIO, name: str) -> Iterator[Item]:
    """Yield the pictures of a Parquet file: a column of bytes, or of {"bytes", "path"} as the Hugging Face hub stores them.

    The source is NAME::ROW, rows counted from 0.
    """
    pyarrow, parquet = arrow()
    try:
        table = parquet.ParquetFile(file)
        column = _image_column(table.schema_arrow)
        if column is None:
            yield Item(name, error=UnreadableError(f"No column of pictures: one of {', '.join(_IMAGE_COLUMNS)} must hold bytes."))
            return
        row = 0
        for batch in table.iter_batches(32, columns=[column]):
            for value in batch.column(0).to_pylist():
                data = value.get("bytes") if isinstance(value, dict) else value
                yield Item(f"{name}{SEPARATOR}{row}", data=data, error=None if data is not None else UnreadableError("The row holds no picture."))
                row += 1
    except pyarrow.ArrowException as error:
        yield Item(name, error=UnreadableError(f"Not a Parquet file, or damaged: {error}"))
    except OSError as error:
        yield Item(name, error=of_os_error(name, error))


def arrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet. Raises: MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    return pyarrow, pyarrow.parquet


def _image_column(schema: Any) -> str | None:
    import pyarrow

    for name in _IMAGE_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind) or pyarrow.types.is_struct(kind):
                return name
    return None


def of_os_error(path: str, error: OSError) -> ImageError:
    """Return what a failure to open or read a file means, as the error of its record."""
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"There is no file {path}.")
    if isinstance(error, PermissionError):
        return PermissionDeniedError(f"{path} may not be read by this user.")
    return UnreadableError(f"Reading {path} failed: {error.strerror or error}.")
