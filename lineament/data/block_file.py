"""Large arrays written block by block: an interruption or a full disk loses at most the block at hand.

rows 0..N of equal size -> TARGET.part and TARGET.part.json (how many rows are whole) -> TARGET, once it is whole
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.errors import DataError
from lineament.files import replacing

Progress = Callable[[int, int], None]
"""Told (rows done, rows in all)."""
_SAVE_SECONDS = 5.0


def npy_header(shape: tuple[int, ...], kind: Any) -> bytes:
    """Return the bytes with which NumPy's own file of such an array begins."""
    buffer = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def size_text(size: float) -> str:
    """Return a size in bytes for people, in powers of ten.

    >>> size_text(18_951_000_000)
    '19.0 GB'
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def free_bytes(path: Path) -> int:
    """Return the free space of the disk that `path`, there yet or not, is or will be on."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def write_blocks(
    target: Path,
    shape: tuple[int, ...],
    kind: Any,
    compute: Callable[[int, int], npt.NDArray[Any]],
    *,
    header: bytes = b"",
    at_once: int = 32,
    recipe: str = "",
    notes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write an array of `shape` (N,...) to `target`; what an earlier call left behind is gone on with. Returns `notes`
    as `compute` left them.

    Args: compute: (first, end) -> rows first..end of that shape; header: bytes before the rows; recipe: what decides
        the numbers, so that a part made by another is begun anew; notes: JSON that `compute` adds to, kept with the
        rows it belongs to.
    Raises: DataError where the disk is full; what was written stays.
    """
    part, state = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")
    row_bytes = int(np.dtype(kind).itemsize * np.prod(shape[1:], dtype=np.int64))
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = {"shape": list(shape), "kind": np.dtype(kind).str, "recipe": recipe}
    kept, done = ({} if notes is None else notes), 0
    if part.is_file() and state.is_file():
        before = json.loads(state.read_text("utf-8"))
        if before.get("facts") == facts and part.stat().st_size >= len(header) + before["rows"] * row_bytes:
            done = int(before["rows"])
            kept.update(before["notes"])
    try:
        with part.open("r+b" if done else "wb") as file:
            file.truncate(len(header) + done * row_bytes)
            file.seek(0)
            file.write(header)
            file.seek(0, os.SEEK_END)
            _fill(file, state, facts, kept, done, shape, kind, compute, at_once, progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        whole = size_text(len(header) + shape[0] * row_bytes)
        raise DataError(
            f"The disk of {target.parent} is full: {target.name} needs {whole}. Free space and run the same again; "
            "what was done stays."
        ) from error
    part.replace(target)
    state.unlink(missing_ok=True)
    return kept


def _fill(
    file: Any,
    state: Path,
    facts: dict[str, Any],
    notes: dict[str, Any],
    done: int,
    shape: tuple[int, ...],
    kind: Any,
    compute: Callable[[int, int], npt.NDArray[Any]],
    at_once: int,
    progress: Progress | None,
) -> None:
    """Compute and append the rows that are missing; say from time to time how many are whole, also when cut off."""
    saved, whole = time.monotonic(), done
    try:
        for first in range(done, shape[0], at_once):
            end = min(first + at_once, shape[0])
            block = np.ascontiguousarray(compute(first, end), kind)
            if block.shape != (end - first, *shape[1:]):
                raise DataError(f"Rows of shape {block.shape[1:]} do not fit {state.name}, which holds {shape[1:]}.")
            file.write(block.data)
            file.flush()
            whole = end
            if time.monotonic() - saved > _SAVE_SECONDS:
                saved = time.monotonic()
                _note(state, facts, notes, whole)
            if progress is not None:
                progress(end, shape[0])
    finally:
        _note(state, facts, notes, whole)


def _note(state: Path, facts: dict[str, Any], notes: dict[str, Any], rows: int) -> None:
    with replacing(state) as partial:
        partial.write_text(json.dumps({"facts": facts, "rows": rows, "notes": notes}), "utf-8")
