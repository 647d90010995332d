"""Photos in Parquet tables (`[parquet]`): a column of bytes, or of structs as dataset hubs write them.

    table.parquet -> rows -> items "table.parquet::row"

Convention: rows are read in batches as they are asked for, so a table of any size takes the memory of a few photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lineament.errors import MissingExtraError, UnreadableError
from lineament.inputs.item import SEPARATOR, Item, of_os_error

_IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content")


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
