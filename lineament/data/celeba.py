"""The official CelebA release: a folder, or the zip of one, as downloaded.

    list_attr_celeba.txt, list_eval_partition.txt, identity_CelebA.txt, img_align_celeba/*.jpg (or img_align_celeba.zip)

Source: Liu et al., ICCV 2015 (arXiv 1411.7766). Partition 0/1/2 = train/val/test. Any subset of the release is fine.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from lineament.data.labelled import LabelledFiles
from lineament.errors import DataError

SPLITS = ("train", "val", "test")
_IMAGES = "img_align_celeba"


class Official:
    """CelebA as released. `root`: the folder (or a zip file) that holds the lists; images as a folder or as img_align_celeba.zip beside them.

    Rows are the images that have both labels and a file, in list order; the rest is counted in `table.missing`.

    Raises: DataError naming the file that is missing or the line that is malformed.
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "all") -> None:
        self._root = Path(root)
        if not self._root.exists():
            raise DataError(f"No CelebA release at {self._root}. Give the folder that holds list_attr_celeba.txt.")
        self._zip = zipfile.ZipFile(self._root) if zipfile.is_zipfile(self._root) else None
        self._inner: zipfile.ZipFile | None = None
        self._where = self._locate_images()
        self.table = self._read_table(split)

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded JPEG of row `row`."""
        where = self._where[self.table.files[row]]
        if isinstance(where, Path):
            return where.read_bytes()
        archive, member = where
        return archive.read(member)

    def _locate_images(self) -> dict[str, Path | tuple[zipfile.ZipFile, str]]:
        archive = self._zip
        if archive is None:
            folder = self._root / _IMAGES
            if folder.is_dir():
                return {entry.name: Path(entry.path) for entry in os.scandir(folder) if entry.is_file()}
            packed = self._root / f"{_IMAGES}.zip"
            if not packed.is_file():
                raise DataError(f"Neither {folder} nor {packed} is there. CelebA's aligned images belong in one of them.")
            archive = self._inner = zipfile.ZipFile(packed)
        return {Path(name).name: (archive, name) for name in archive.namelist() if name.lower().endswith(".jpg")}

    def _lines(self, name: str, required: bool) -> list[str]:
        if self._zip is not None:
            members = [member for member in self._zip.namelist() if Path(member).name == name]
            text = self._zip.read(members[0]).decode("utf-8") if members else None
        else:
            path = self._root / name
            text = path.read_text("utf-8") if path.is_file() else None
        if text is None:
            if required:
                raise DataError(f"{name} is missing in {self._root}. It is part of CelebA's release (Anno/ or Eval/).")
            return []
        return text.splitlines()

    def _pairs(self, name: str) -> dict[str, int]:
        try:
            return {file: int(value) for file, value in (line.split() for line in self._lines(name, False) if line.strip())}
        except ValueError as error:
            raise DataError(f"{name}: each line must read 'FILE NUMBER' ({error}).") from error

    def _read_table(self, split: str) -> LabelledFiles:
        if split not in (*SPLITS, "all"):
            raise DataError(f"Unknown split {split!r}. Use train, val, test or all.")
        lines = self._lines("list_attr_celeba.txt", True)
        attributes = tuple(lines[1].split())
        parts, people = self._pairs("list_eval_partition.txt"), self._pairs("identity_CelebA.txt")
        if split != "all" and not parts:
            raise DataError(f"list_eval_partition.txt is missing in {self._root}, so the split {split!r} is unknown. Use --split all.")
        files, rows, listed = [], [], 0
        for number, line in enumerate(lines[2:], 3):
            cells = line.split()
            if not cells or (split != "all" and parts.get(cells[0], -1) != SPLITS.index(split)):
                continue
            if len(cells) != len(attributes) + 1 or not set(cells[1:]) <= {"1", "-1"}:
                raise DataError(f"list_attr_celeba.txt line {number}: expected a file name and {len(attributes)} values of 1 or -1.")
            listed += 1
            if cells[0] in self._where:
                files.append(cells[0])
                rows.append([value == "1" for value in cells[1:]])
        targets = np.array(rows, np.int8).reshape(len(files), len(attributes))
        identity = np.array([people.get(file, -1) for file in files], np.int64) if people else None
        names = np.array([SPLITS[parts[file]] if file in parts else "" for file in files]) if parts else None
        return LabelledFiles(tuple(files), attributes, targets, np.ones(targets.shape, bool), identity, names, missing=listed - len(files))
