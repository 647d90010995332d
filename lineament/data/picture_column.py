"""The column of a Parquet table that holds pictures, whatever wrote it: which column, and the pictures of one cell.

    schema -> column name;   cell -> pictures: bytes, or the path of a file, or why there is neither

Shapes: bytes (binary, large, view, of fixed size, dictionary), {"bytes", "path"} as dataset hubs write images, lists of
either, lists of numbers 0..255, text that names files. Source: the Hugging Face hub's `Image` feature (struct<bytes:
binary, path: string>; its schema metadata `huggingface` says which columns are images). Reconstructed here: the other
names, and their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineament.errors import ImageError, NotFoundError, UnreadableError

NAMES = (
    "image",
    "img",
    "picture",
    "photo",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "bytes",
    "image_bytes",
    "img_bytes",
    "content",
    "images",
)
"""Columns that hold pictures by their name, in any case; the first that is there is taken."""
PATH_NAMES = ("image_path", "file_name", "filename", "file", "path")
"""Columns of text that name picture files, taken where no column holds pictures."""
_BYTES_KEYS, _PATH_KEYS = ("bytes", "data", "content"), ("path", "file_name", "filename")

_SHOWN = 200
_NO_VALUE = (ValueError, TypeError, KeyError, OverflowError, NotImplementedError)


@dataclass(frozen=True)
class Picture:
    """One picture of a cell. data: its encoded bytes; path: the file that the cell names instead; error: why there is
    neither."""

    data: bytes | None = None
    path: str | None = None
    error: ImageError | None = None

    def read(self, folder: Path | None) -> bytes:
        """Return the encoded bytes; a path is one below the table's folder. Raises: ImageError."""
        if self.error is not None:
            raise self.error
        return self.data if self.data is not None else located(self.path or "", folder).read_bytes()


def column_of(schema: Any) -> str | None:
    """Return the column of an Arrow schema that holds pictures (or, failing that, names their files); None where there
    is none."""
    by_name: dict[str, str] = {}
    for name in schema.names:
        by_name.setdefault(name.lower(), name)
    kinds = {name: _kind(schema.field(schema.names.index(name)).type) for name in schema.names}
    for name in (*_declared(schema), *(by_name[known] for known in NAMES if known in by_name)):
        if kinds.get(name):
            return name
    holding = [name for name in schema.names if kinds[name] == "pictures"]
    if len(holding) == 1:  # by its type alone, where nothing else could be meant
        return str(holding[0])
    return next((by_name[known] for known in PATH_NAMES if known in by_name and kinds[by_name[known]] == "text"), None)


def names_files(kind: Any) -> bool:
    """Return whether an Arrow type holds text, which can only name files."""
    return _kind(kind) == "text"


def pictures_of(cell: Any) -> list[Picture]:
    """Return the pictures of a cell as Arrow gives it to Python: one, or those of a list; an empty cell is one with an
    error."""
    if isinstance(cell, (list, tuple)) and cell and not _is_numbers(cell) and not _is_pixels(cell):
        return [_picture(part) for part in cell]
    return [_picture(cell)]


def located(path: str, folder: Path | None) -> Path:
    """Return the file that a cell names, relative to the table's folder. Raises: NotFoundError saying what would
    help."""
    if "://" in path:
        raise NotFoundError(
            f"The row names {path[:_SHOWN]} and holds no bytes. Nothing is fetched: download the pictures, or write a "
            "table that holds them."
        )
    if folder is None:
        raise NotFoundError(
            f"The row names the file {path[:_SHOWN]!r} and holds no bytes; files are read only beside a table on this "
            "machine."
        )
    try:
        found = [where for where in (folder / path, folder / Path(path.replace("\\", "/"))) if where.is_file()]
    except (OSError, ValueError):
        found = []
    if not found:
        raise NotFoundError(
            f"The row holds no bytes and names {path[:_SHOWN]!r}, which is no file in {folder}. Paths are relative to "
            "the table's folder."
        )
    return found[0]


def cell_values(column: Any) -> list[Any]:
    """Return the cells of an Arrow array as Python values; one that is no value (text that is not UTF-8) as an
    UnreadableError."""
    try:
        return list(column.to_pylist())
    except _NO_VALUE:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except _NO_VALUE as error:
        return UnreadableError(f"The row cannot be read ({error}).")


def _picture(cell: Any) -> Picture:
    if isinstance(cell, ImageError):
        return Picture(error=cell)
    if isinstance(cell, Mapping):
        return _of_struct({str(key).lower(): value for key, value in cell.items()})
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return Picture(data=bytes(cell))
    if isinstance(cell, str) and cell:
        return Picture(path=cell)
    if isinstance(cell, (list, tuple)) and _is_numbers(cell):
        return Picture(data=bytes(cell))
    if cell is None or cell in ("", [], ()):
        return Picture(error=UnreadableError("The row holds no picture."))
    return Picture(
        error=UnreadableError(
            f"The row holds {type(cell).__name__}, not an encoded picture. Write the bytes of its JPEG or PNG file."
        )
    )


def _of_struct(cell: Mapping[str, Any]) -> Picture:
    data = next((cell[key] for key in _BYTES_KEYS if cell.get(key) is not None), None)
    path = next((cell[key] for key in _PATH_KEYS if cell.get(key)), None)
    if isinstance(data, str):
        message = (
            "The row holds text where the bytes of a picture belong. If it is base64, decode it when writing the table."
        )
        return Picture(error=UnreadableError(message))
    return _picture(path if data is None else data)


def _is_pixels(cell: Any) -> bool:
    """Return whether a list is an array of pixels (rows of pixels of channels), of which nothing says the size and the
    order."""
    inner = cell[0]
    return isinstance(inner, (list, tuple)) and len(inner) > 0 and isinstance(inner[0], (list, tuple))


def _is_numbers(cell: Any) -> bool:
    return len(cell) > 0 and all(type(value) is int and 0 <= value <= 255 for value in cell)


def _declared(schema: Any) -> list[str]:
    """Return the columns that the hub's own metadata call images."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [
            name
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "Image" and name in schema.names
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _kind(kind: Any) -> str:
    """Return "pictures" for a type that holds bytes, "text" for one that can only name files, "" for any other."""
    import pyarrow
    from pyarrow import types

    if isinstance(kind, pyarrow.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    if types.is_struct(kind):
        names = {kind.field(place).name.lower(): place for place in range(kind.num_fields)}
        found = next((names[key] for key in (*_BYTES_KEYS, *_PATH_KEYS) if key in names), None)
        return "" if found is None else "pictures"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or "list_view" in str(kind):
        return "pictures" if types.is_integer(kind.value_type) else _kind(kind.value_type)
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or str(kind) == "binary_view"
    ):
        return "pictures"
    return "text" if types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view" else ""
