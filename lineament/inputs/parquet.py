"""Photos in Parquet tables (`[parquet]`): bytes, structs as dataset hubs write them, lists of either, or the names of
files.

    table.parquet -> rows -> items "table.parquet::row"

Convention: rows are read in batches as they are asked for, so a table of any size takes the memory of a few photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lineament.data.picture_column import NAMES, Picture, cell_values, column_of, located, pictures_of
from lineament.errors import ImageError, MissingExtraError, UnreadableError
from lineament.inputs.item import SEPARATOR, Item, of_os_error

_ROWS_AT_ONCE = 32


def parquet_items(file: Path | BinaryIO, name: str) -> Iterator[Item]:
    """Yield the pictures of a Parquet file's picture column (`data.picture_column`); files that it names are read
    beside it.

    The source is NAME::ROW, rows counted from 0, and NAME::ROW.PLACE for each of several pictures in a row.
    """
    pyarrow, parquet = arrow()
    try:
        table = parquet.ParquetFile(file)
        column = column_of(table.schema_arrow)
        if column is None:
            shown = ", ".join(table.schema_arrow.names[:6])
            message = (
                f"No column of pictures: one named {', '.join(NAMES[:4])} ... must hold bytes, or name files. The "
                f"columns: {shown} ..."
            )
            yield Item(name, error=UnreadableError(message))
            return
        row = 0
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=[column]):
            for cell in cell_values(batch.column(0)):
                yield from picture_items(
                    cell, f"{name}{SEPARATOR}{row}", file.parent if isinstance(file, Path) else None
                )
                row += 1
    except pyarrow.ArrowException as error:
        yield Item(name, error=UnreadableError(f"Not a Parquet file, or damaged: {first_line(error)}"))
    except OSError as error:
        yield Item(name, error=of_os_error(name, error))


def picture_items(cell: Any, source: str, folder: Path | None) -> Iterator[Item]:
    """Yield the pictures of one cell of a picture column. folder: where files that it names are looked for; None where
    there is none."""
    pictures = pictures_of(cell)
    for place, picture in enumerate(pictures):
        yield _item(source + (f".{place}" if len(pictures) > 1 else ""), picture, folder)


def _item(source: str, picture: Picture, folder: Path | None) -> Item:
    if picture.path is None:
        return Item(source, data=picture.data, error=picture.error)
    try:
        return Item(source, located(picture.path, folder))
    except ImageError as error:
        return Item(source, error=error)


def first_line(error: BaseException) -> str:
    """Return what Arrow says of an error in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def arrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet. Raises: MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    return pyarrow, pyarrow.parquet
