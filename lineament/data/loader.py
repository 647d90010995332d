"""Decoded crops as one memory-mapped uint8 array, and the order in which a training sees them.

A crop is decoded once; several trainings on one machine share the pages. The order and the augmentation of step t depend only on (seed, t), so
a run killed at any step goes on exactly where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.data.labelled import LabelledFiles, Source
from lineament.errors import DataError
from lineament.images import load_image

CROP_HW = (218, 178)


def decode_crop(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the crop (3,218,178) uint8 RGB of an encoded aligned image; another size is resized (CelebA's own is 178x218)."""
    pixels = load_image(data).pixels
    if pixels.shape[:2] != CROP_HW:
        pixels = np.asarray(Image.fromarray(pixels).resize((CROP_HW[1], CROP_HW[0]), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


class CropCache:
    """All crops of a source, decoded: `crops` (N,3,218,178) uint8, memory-mapped from `folder`/<fingerprint>.u8."""

    def __init__(self, source: Source, folder: str | os.PathLike[str]) -> None:
        self.table: LabelledFiles = source.table
        self.path = Path(folder) / f"{self.table.fingerprint()}.u8"
        shape = (len(self.table), 3, *CROP_HW)
        if not self._complete(shape):
            self._fill(source, shape)
        self.crops = np.memmap(self.path, np.uint8, "r", shape=shape)

    def _complete(self, shape: tuple[int, ...]) -> bool:
        done = self.path.with_suffix(".json")
        return done.is_file() and self.path.is_file() and json.loads(done.read_text())["shape"] == list(shape)

    def _fill(self, source: Source, shape: tuple[int, ...]) -> None:
        if shape[0] == 0:
            raise DataError("The training data hold no image. Check data.path, data.split and data.exclude in the config.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        crops = np.memmap(self.path, np.uint8, "w+", shape=shape)
        encoded = (source.read_bytes(row) for row in range(shape[0]))
        with ThreadPoolExecutor(2) as pool:
            for first in range(0, shape[0], 1024):
                block = [data for _, data in zip(range(min(1024, shape[0] - first)), encoded, strict=False)]
                crops[first : first + len(block)] = np.stack(list(pool.map(decode_crop, block)))
        crops.flush()
        self.path.with_suffix(".json").write_text(json.dumps({"shape": list(shape)}))


def split_by_identity(table: LabelledFiles, holdout: int, seed: int = 0) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return (train rows, held-out rows): about `holdout` rows, whole people at a time (whole images where no identity is known)."""
    people = table.identity if table.identity is not None else np.arange(len(table))
    order = np.random.default_rng(seed).permutation(np.unique(people))
    counts = dict(zip(*np.unique(people, return_counts=True), strict=True))
    chosen, total = set(), 0
    for person in order:
        if total >= holdout:
            break
        chosen.add(person)
        total += int(counts[person])
    held = np.isin(people, list(chosen))
    return np.flatnonzero(~held), np.flatnonzero(held)


def batches(rows: npt.NDArray[np.intp], batch: int, seed: int, epoch: int, first_step: int = 0) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the row numbers of each full batch of an epoch, from `first_step` on. Same seed and epoch, same order."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    for step in range(first_step, len(order) // batch):
        yield np.sort(order[step * batch : (step + 1) * batch])
