"""LFWA: LFW's photos with CelebA's 40 names, as its authors publish them (`.mat`), or the same labels as text.

    ROOT/lfw_att_40.mat (AttrName, label, name), or ROOT/lfw_att_40.txt;  ROOT/lfw/PERSON/PERSON_0001.jpg (250x250)

The text is CelebA's list layout: a count, a line of attribute names, then `PERSON/FILE 1 -1 ...` (or 1 and 0). Photos
are not crops: train and evaluate with `align: detect`. Both MATLAB formats are read: the old one with SciPy, v7.3
(HDF5) with h5py.

Split: rows 1 to 6,263 train, the other 6,880 of 13,143 test. Sources disagree: one public config cuts at index < 6263
(6,262 rows if indices begin at 1), one set of reading notes speaks of 13,232 images in halves. The cut is by row, never
after a shuffle.
Source: Liu et al., ICCV 2015 (arXiv 1411.7766). Not run here: no copy was at hand; tested on files in the published
layout.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.data.labelled import LabelledFiles
from lineament.data.unicode import decode_text
from lineament.errors import DataError, MissingExtraError

TRAIN_ROWS, ALL_ROWS = 6_263, 13_143
_LABELS = ("lfw_att_40.mat", "lfw_att_40.txt")
_IMAGES = ("lfw", "lfw-deepfunneled", "lfw-funneled", ".")
_DAMAGED = (
    ValueError,
    OSError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    AttributeError,
    zlib.error,
    struct.error,
)
"""What SciPy and h5py raise for damaged files: their parsers trust the file."""
_READER = (
    "import pathlib, sys; from lineament.data.lfwa import answer_mat; "
    "sys.stdout.write(answer_mat(pathlib.Path(sys.argv[1])))"
)
Labels = tuple[tuple[str, ...], list[str], npt.NDArray[np.float64]]


class LFWA:
    """LFWA as published. `root`: the folder of the labels, or the label file; `images`: the folder of PERSON folders,
    looked for beside it.

    Rows are the images that have both labels and a file, in list order; the rest is counted in `table.missing`. split:
    train, test or all, cut at row `train_rows` of the list. identity is the folder's name, numbered.

    Raises: DataError naming what is missing or malformed; MissingExtraError without SciPy or h5py where the file needs
        it.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "all",
        images: str | os.PathLike[str] | None = None,
        *,
        train_rows: int = TRAIN_ROWS,
    ) -> None:
        labels = _label_file(Path(root))
        attributes, names, values = read_mat(labels) if labels.suffix == ".mat" else read_text(labels)
        if split not in ("train", "test", "all"):
            raise DataError(
                f"LFWA has the splits train and test (or all), not {split!r}. Use --split test, or --split all."
            )
        if not np.isin(values, (-1, 0, 1)).all():
            raise DataError(f"{labels}: labels must be 1 and 0 (or 1 and -1).")
        self._root = _image_folder(labels.parent, names) if images is None else Path(images)
        part = np.where(np.arange(len(names)) < train_rows, "train", "test")
        rows = np.flatnonzero((part == split) | (split == "all"))
        there = np.array([row for row in rows if (self._root / names[row]).is_file()], np.intp)
        people = {person: number for number, person in enumerate(sorted({name.partition("/")[0] for name in names}))}
        identity = np.array([people[name.partition("/")[0]] for name in names], np.int64)
        targets = (values == 1).astype(np.int8)
        whole = LabelledFiles(
            tuple(names),
            attributes,
            targets,
            np.ones(targets.shape, bool),
            identity,
            part,
            missing=len(rows) - len(there),
        )
        self.table = whole.take(there)

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded photo of row `row`."""
        return (self._root / self.table.files[row]).read_bytes()


def _label_file(root: Path) -> Path:
    for path in (root, *(root / name for name in _LABELS)):
        if path.is_file():
            return path
    raise DataError(f"No LFWA labels at {root}: neither {' nor '.join(_LABELS)} is there.")


def _image_folder(beside: Path, names: list[str]) -> Path:
    if not names:
        raise DataError(f"The LFWA labels in {beside} name no photo. Copy them again.")
    for folder in _IMAGES:
        if any((beside / folder / name).is_file() for name in names[:50]):
            return beside / folder
    raise DataError(
        f"No photo of {names[0]!r} and the next in {beside} or its folders {', '.join(_IMAGES[:-1])}. Give data.images."
    )


def read_text(path: Path) -> Labels:
    """Return (attributes, names, values (N,A)) of a list in CelebA's layout. Raises: DataError naming the line."""
    lines = decode_text(path.read_bytes()).splitlines()
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise DataError(f"{path} line 1: expected the number of images, then a line of attribute names.")
    attributes, names, rows = tuple(lines[1].split()), [], []
    for number, line in enumerate(lines[2:], 3):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(attributes) + 1 or not set(cells[1:]) <= {"1", "-1", "0"}:
            raise DataError(
                f"{path} line {number}: expected a file name and {len(attributes)} values of 1 and 0 (or 1 and -1)."
            )
        names.append(_path(cells[0]))
        rows.append([float(cell) for cell in cells[1:]])
    return attributes, names, np.array(rows, np.float64).reshape(len(names), len(attributes))


def read_mat(path: Path) -> Labels:
    """Return (attributes, names, values (N,A)) of a MATLAB file with AttrName, label and name, read in a process of its
    own.

    A damaged file can end its reader (SciPy's C code) with a signal, which would take the whole run along.
    Raises: DataError, MissingExtraError.
    """
    root = str(Path(__file__).resolve().parents[2])
    where = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    done = subprocess.run(
        [sys.executable, "-c", _READER, str(path)],
        capture_output=True,
        env=where,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise DataError(f"{path} is not a whole MATLAB file (its reader ended with {how}). Download it again.")
    answer = json.loads(done.stdout)
    if "extra" in answer:
        raise MissingExtraError(answer["extra"], "train")
    if "refused" in answer:
        raise DataError(answer["refused"])
    return (
        tuple(answer["attributes"]),
        answer["names"],
        np.array(answer["values"], np.float64).reshape(len(answer["names"]), -1),
    )


def answer_mat(path: Path) -> str:
    """Return what `read_mat` asks its process for, as JSON: attributes, names and values, or why there are none."""
    try:
        attributes, names, values = _read_mat(path)
    except MissingExtraError as error:
        return json.dumps({"extra": error.package})
    except DataError as error:
        return json.dumps({"refused": str(error)})
    return json.dumps({"attributes": attributes, "names": names, "values": values.tolist()})


def _read_mat(path: Path) -> Labels:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise MissingExtraError("SciPy", "train") from error
    try:
        found = loadmat(path)
    except NotImplementedError:  # SciPy's word for MATLAB v7.3
        return _read_hdf5(path)
    except (MatReadError, *_DAMAGED) as error:
        raise DataError(f"{path} is not a whole MATLAB file ({error}). Download it again.") from error
    _need(path, found)
    words = {key: [_word(cell) for cell in np.asarray(found[key]).ravel()] for key in ("AttrName", "name")}
    try:
        values = np.asarray(found["label"], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: label holds something that is not a number ({error}).") from error
    return _checked(path, words["AttrName"], words["name"], values)


def _read_hdf5(path: Path) -> Labels:
    """MATLAB v7.3: cells are references to arrays of character codes, matrices lie transposed."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "train") from error
    try:
        with h5py.File(path, "r") as file:
            _need(path, file)
            words = {
                key: ["".join(map(chr, np.ravel(file[cell]))) for cell in np.ravel(file[key])]
                for key in ("AttrName", "name")
            }
            values = np.asarray(file["label"], np.float64).T
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path} is not a whole MATLAB file ({error}). Download it again.") from error
    return _checked(path, words["AttrName"], words["name"], values)


def _need(path: Path, found: Any) -> None:
    missing = [key for key in ("AttrName", "label", "name") if key not in found]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}: not LFWA's label file.")


def _word(cell: Any) -> str:
    """Return the text of a MATLAB cell, however deeply SciPy nests it."""
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0] if cell.size else ""
    return str(cell)


def _path(name: str) -> str:
    return name.strip().replace("\\", "/")


def _checked(path: Path, attributes: list[str], names: list[str], values: npt.NDArray[np.float64]) -> Labels:
    if values.shape != (len(names), len(attributes)):
        raise DataError(
            f"{path}: label is {values.shape}, but there are {len(names)} names and {len(attributes)} attributes."
        )
    return tuple(name.strip().replace(" ", "_") for name in attributes), [_path(name) for name in names], values
