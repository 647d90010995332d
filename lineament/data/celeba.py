"""CelebA as it is handed on: its authors' folders, torchvision's, the CSV copies, as folders or zips.

    list_attr_celeba.txt, list_eval_partition.txt, identity_CelebA.txt, img_align_celeba/*.jpg (or img_align_celeba.zip)

The lists may lie in the folder itself or up to three folders down (Anno/, Eval/, celeba/), as text or as CSV
(`image_id,...`), in any Unicode encoding; the images beside them or in Img/, as JPEG or as the PNG release. Source: Liu
et al., ICCV 2015 (arXiv 1411.7766). Partition 0/1/2 = train/val/test. Any subset of the release is fine.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineament.data.celeba_files import ReleaseFiles
from lineament.data.labelled import SPLITS, LabelledFiles, unknown_split
from lineament.errors import DataError, UnreadableError
from lineament.schema import CELEBA_40

_CANONICAL = {name.lower(): name for name in CELEBA_40}
_LISTS = ("list_attr_celeba", "list_eval_partition", "identity_CelebA")


class Official:
    """CelebA as released. `root`: the folder (or a zip file) that holds the lists; `images`: the folder or zip of the
    images, looked for beside.

    Rows are the images that have both labels and a file, in list order; the rest is counted in `table.missing`.

    Raises: DataError naming the file that is missing or the line that is malformed.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str = "all", images: str | os.PathLike[str] | None = None
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise unknown_split(split, (*SPLITS, "all"))
        self._files = ReleaseFiles(Path(root), None if images is None else Path(images))
        self.table = self._read_table(split)

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of row `row`. Raises: UnreadableError for a damaged member of a zip; OSError."""
        found = self._files.image(self.table.files[row])
        if found is None:
            raise UnreadableError(f"{self.table.files[row]} is not there.")
        return found()

    def _pairs(self, name: str) -> dict[str, int]:
        """Return file -> number of a list of pairs, {} where it is missing. Raises: DataError naming the line."""
        listed = self._files.listed(name)
        pairs: dict[str, int] = {}
        for number, cells in [] if listed is None else listed.rows:
            try:
                (file, value) = cells
                pairs[file] = int(value)
                np.int64(pairs[file])
            except (ValueError, OverflowError) as error:
                raise DataError(
                    f"{listed.name if listed else name} line {number}: each line must read 'FILE NUMBER' ({error})."
                ) from error
        return pairs

    def _parts(self) -> dict[str, str]:
        parts = self._pairs(_LISTS[1])
        odd = next((file for file, part in parts.items() if part not in range(len(SPLITS))), None)
        if odd is not None:
            raise DataError(f"{_LISTS[1]}: {odd} has the part {parts[odd]}. Known: 0 (train), 1 (val), 2 (test).")
        return {file: SPLITS[part] for file, part in parts.items()}

    def _read_table(self, split: str) -> LabelledFiles:
        listed = self._files.listed(_LISTS[0])
        if listed is None:
            raise DataError(
                f"{_LISTS[0]}.txt is missing in {self._files.root}. It is part of CelebA's release (Anno/)."
            )
        attributes = tuple(_CANONICAL.get(name.lower(), name) for name in listed.header)
        if not attributes:
            raise DataError(
                f"{listed.name} is empty: a count, a line of attribute names and a line per image are expected. Copy "
                "it again."
            )
        if len(set(attributes)) < len(attributes):
            raise DataError(f"{listed.name} names an attribute twice.")
        parts, people = self._parts(), self._pairs(_LISTS[2])
        if split != "all" and not parts:
            raise DataError(
                f"{_LISTS[1]}.txt is missing in {self._files.root} (Eval/), so the split {split!r} is unknown. Use "
                "--split all."
            )
        files, rows, count = [], [], 0
        for number, cells in listed.rows:
            if split != "all" and parts.get(cells[0]) != split:
                continue
            if len(cells) != len(attributes) + 1 or not set(cells[1:]) <= listed.values:
                expected = " or ".join(sorted(listed.values, reverse=True))
                raise DataError(
                    f"{listed.name} line {number}: expected a file name and {len(attributes)} values of {expected}."
                )
            count += 1
            if self._files.image(cells[0]) is not None:
                files.append(cells[0])
                rows.append([value in ("1", "+1", "True", "true") for value in cells[1:]])
        targets = np.array(rows, np.int8).reshape(len(files), len(attributes))
        identity: npt.NDArray[np.int64] | None = (
            np.array([people.get(file, -1) for file in files], np.int64) if people else None
        )
        names = np.array([parts.get(file, "") for file in files], np.str_) if parts else None
        return LabelledFiles(
            tuple(files), attributes, targets, np.ones(targets.shape, bool), identity, names, missing=count - len(files)
        )
