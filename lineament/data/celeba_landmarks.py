"""The five points that CelebA's release lists for its aligned images: `list_landmarks_align_celeba.txt`.

COUNT / names of ten columns / FILE x y x y x y x y x y

Source: Liu et al., ICCV 2015 (arXiv 1411.7766). The release's "left eye" lies left in the picture: it is the subject's
right one. Its whole numbers are taken for pixels, whose centres lie half a pixel further (reconstructed: the release
does not say).
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineament.errors import DataError
from lineament.geometry import CROP_SIZE

NAME = "list_landmarks_align_celeba.txt"
_FOLDERS = ("", "Anno", "celeba", "celeba/Anno")


def release_keypoints(root: str | os.PathLike[str], files: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """Return the points (N,5,2) of `files` in 0..1 of the crop, NaN for one that is not listed; None where the release
    has no such list.

    Convention: the order of `Faces.keypoints`: subject's right eye, left eye, nose, right and left mouth corner.
    Raises: DataError naming a line that is malformed.
    """
    lines = _lines(Path(root))
    if lines is None:
        return None
    row = {Path(file).name: number for number, file in enumerate(files)}
    points = np.full((len(files), 5, 2), np.nan, np.float32)
    for number, line in enumerate(lines[2:], 3):
        cells = line.split()
        if not cells or cells[0] not in row:
            continue
        try:
            points[row[cells[0]]] = (np.array([float(cell) for cell in cells[1:]]).reshape(5, 2) + 0.5) / [
                CROP_SIZE[1],
                CROP_SIZE[0],
            ]
        except ValueError as error:
            raise DataError(f"{NAME} line {number}: expected a file name and ten numbers ({error}).") from error
    return points


def _lines(root: Path) -> list[str] | None:
    if root.is_dir():
        for folder in _FOLDERS:
            if (root / folder / NAME).is_file():
                return (root / folder / NAME).read_text("utf-8").splitlines()
    elif zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            for member in archive.namelist():
                if Path(member).name == NAME:
                    return archive.read(member).decode("utf-8").splitlines()
    return None
