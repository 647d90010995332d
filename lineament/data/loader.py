"""Decoded crops as one memory-mapped uint8 array, and the order in which a training sees them.

A crop is decoded once; several trainings on one machine share the pages. The order and the augmentation of step t
depend only on (seed, t), so a run killed at any step goes on exactly where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.data.block_file import Progress, write_blocks
from lineament.data.labelled import LabelledFiles, Source, read_or_error
from lineament.errors import DataError, ImageError
from lineament.geometry import CROP_SIZE
from lineament.images import load_image

CropDecoder = Callable[[bytes], npt.NDArray[np.uint8]]
_BLOCKS_MIXED = 2
"""Blocks of a stream that are shuffled into each other: as many as a Parquet reader keeps in memory."""


def decode_crop(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the crop (3,218,178) uint8 RGB of an encoded aligned image; another size is resized (CelebA's own is
    178x218)."""
    pixels = load_image(data).pixels
    if pixels.shape[:2] != CROP_SIZE:
        pixels = np.asarray(Image.fromarray(pixels).resize((CROP_SIZE[1], CROP_SIZE[0]), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_each(
    encoded: Sequence[bytes | ImageError], decode: CropDecoder, pool: Executor
) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Return the crops (N,3,218,178) of encoded images, black where one gives no pixels, and of those place -> why."""

    def attempt(data: bytes | ImageError) -> npt.NDArray[np.uint8] | ImageError:
        if isinstance(data, ImageError):
            return data
        try:
            return decode(data)
        except ImageError as error:
            return error

    found = list(pool.map(attempt, encoded))
    black = np.zeros((3, *CROP_SIZE), np.uint8)
    damaged = {place: str(crop) for place, crop in enumerate(found) if isinstance(crop, ImageError)}
    return np.stack([black if isinstance(crop, ImageError) else crop for crop in found]), damaged


class CropCache:
    """All crops of a source, decoded: `crops` (N,3,218,178) uint8, memory-mapped from `folder`/<fingerprint>[-kind].u8.

    A picture that gives no pixels is a black crop whose labels are not known, so that it teaches nothing; `damaged`
    says which and why, as does the file beside the crops. The fingerprint is of names and labels: after replacing
    pictures under their old names, delete the folder.

    Args: decode: encoded image -> crop, `decode_crop` for images that are crops; kind: names any other way of decoding
        in the file's name; progress: told (crops done, crops in all) while they are decoded. What an interruption
        leaves is gone on with.
    Raises: DataError where no image could be read, and where the disk is full.
    """

    def __init__(
        self,
        source: Source,
        folder: str | os.PathLike[str],
        decode: CropDecoder = decode_crop,
        kind: str = "",
        progress: Progress | None = None,
    ) -> None:
        self.table: LabelledFiles = source.table
        self.path = crop_file(self.table, folder, kind)
        shape = (len(self.table), 3, *CROP_SIZE)
        if not crops_complete(self.path, shape):
            self._fill(source, shape, decode, progress)
        self.crops = np.memmap(self.path, np.uint8, "r", shape=shape)
        self.damaged: dict[str, str] = json.loads(self.path.with_suffix(".json").read_text()).get("damaged", {})
        if self.damaged:
            self.table.known[[row for row, file in enumerate(self.table.files) if file in self.damaged]] = False

    def _fill(self, source: Source, shape: tuple[int, ...], decode: CropDecoder, progress: Progress | None) -> None:
        if shape[0] == 0:
            raise DataError(
                "The training data hold no image. Check data.path, data.split and data.exclude in the config."
            )
        damaged: dict[str, str] = {}
        with ThreadPoolExecutor(_decoders()) as pool:

            def crops(first: int, end: int) -> npt.NDArray[np.uint8]:
                found, why = decode_each([read_or_error(source, row) for row in range(first, end)], decode, pool)
                damaged.update({self.table.files[first + place]: reason for place, reason in why.items()})
                return found

            write_blocks(self.path, shape, np.uint8, crops, at_once=256, notes=damaged, progress=progress)
        if len(damaged) == shape[0]:
            raise DataError(
                f"None of the {shape[0]} training images could be read; the first, {self.table.files[0]}: "
                f"{damaged[self.table.files[0]]}"
            )
        self.path.with_suffix(".json").write_text(json.dumps({"shape": list(shape), "damaged": damaged}))


def crop_file(table: LabelledFiles, folder: str | os.PathLike[str], kind: str = "") -> Path:
    """Return where the decoded crops of a table lie, or will."""
    return Path(folder) / f"{table.fingerprint()}{'-' if kind else ''}{kind}.u8"


def crops_complete(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file of crops at `path` is whole and of `shape`."""
    done = path.with_suffix(".json")
    return done.is_file() and path.is_file() and json.loads(done.read_text())["shape"] == list(shape)


def _decoders() -> int:
    """Return how many threads decode: those of the machine, since decoding leaves the interpreter's lock alone."""
    return max(2, min(16, os.cpu_count() or 2))


def split_by_identity(
    table: LabelledFiles, holdout: int, seed: int = 0
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return (train rows, held-out rows): about `holdout` rows, whole people at a time (whole images where no identity
    is known)."""
    people = (
        np.arange(len(table))
        if table.identity is None
        else np.where(table.identity < 0, -1 - np.arange(len(table)), table.identity)
    )
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


def balancing(table: LabelledFiles, rows: npt.NDArray[np.intp], power: float) -> npt.NDArray[np.float64] | None:
    """Return how often each of `rows` should be seen (N,), mean 1; None for power 0, or where no label is known.

    Convention: an image counts the mean over its known attributes of (0.5 / share of its class)^power, so images of
    rare classes come more often.
    """
    if power == 0:
        return None
    truth, known = table.targets[rows] == 1, table.known[rows]
    seen = np.maximum(known.sum(0), 1)
    rate = np.clip((truth & known).sum(0) / seen, 1 / seen, 1 - 1 / seen)
    rarity = np.where(known, (0.5 / np.where(truth, rate, 1 - rate)) ** power, 0.0)
    weight = rarity.sum(1) / np.maximum(known.sum(1), 1)
    labelled = known.any(1)
    if not labelled.any():
        return None
    weight[~labelled] = weight[labelled].mean()
    return np.asarray(weight / weight.mean())


def epoch_order(
    rows: npt.NDArray[np.intp],
    seed: int,
    epoch: int,
    *,
    weight: npt.NDArray[np.float64] | None = None,
    blocks: npt.NDArray[np.intp] | None = None,
) -> npt.NDArray[np.intp]:
    """Return the order (N,) in which an epoch sees `rows`. Same seed and epoch, same order.

    Args: weight (N,): how often each row comes, mean 1 (systematic resampling: floor or ceiling of it); blocks (N,):
        the block of each row; blocks come in random order, a few at a time, rows shuffled within those.
    """
    rng = np.random.default_rng([seed, epoch])
    if weight is None and blocks is None:
        return rng.permutation(rows)
    chosen = np.arange(len(rows))
    if weight is not None:
        ends = np.concatenate(
            [[0], np.floor(np.cumsum(weight) * len(rows) / weight.sum() + rng.random()).astype(np.int64)]
        )
        ends[-1] = len(rows)
        chosen = np.repeat(chosen, np.diff(ends))
    if blocks is None:
        order: npt.NDArray[np.intp] = rows[rng.permutation(chosen)]
        return order
    names, place = np.unique(blocks[chosen], return_inverse=True)
    turn = rng.permutation(len(names))[place] // _BLOCKS_MIXED
    return np.asarray(rows[chosen[np.lexsort((rng.random(len(chosen)), turn))]])


def batches(order: npt.NDArray[np.intp], batch: int, first_step: int = 0) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the row numbers of each full batch of an epoch's order, from `first_step` on, each batch sorted for
    reading."""
    for step in range(first_step, len(order) // batch):
        yield np.sort(order[step * batch : (step + 1) * batch])
