"""A plain folder of images without labels: what a region network can be made from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lineament.data.labelled import LabelledFiles
from lineament.errors import DataError

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".heic"}


class ImageFolder:
    """Every picture under `root`, by name. The table has no attribute. Raises: DataError where there is none."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)
        found = sorted(path for path in self._root.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
        if not found:
            raise DataError(f"No picture under {self._root} ({', '.join(sorted(_ENDINGS))}).")
        files = tuple(path.relative_to(self._root).as_posix() for path in found)
        self.table = LabelledFiles(files, (), np.zeros((len(files), 0), np.int8), np.zeros((len(files), 0), bool))

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of row `row`."""
        return (self._root / self.table.files[row]).read_bytes()
