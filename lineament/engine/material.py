"""What a training reads: decoded crops, targets, and where a config names them cached regions, landmarks and a teacher's answers.

crops come from a cache of decoded crops, or from a stream that decodes at every step; both give the same batch for the same rows.
"""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.config import DataConfig, TrainConfig, expand
from lineament.data.celeba import Official
from lineament.data.hub_parquet import HubParquet
from lineament.data.labelled import LabelledFiles, Source, Subset, blocks_of
from lineament.data.lfwa import LFWA
from lineament.data.loader import CropCache, Decode, decode_crop
from lineament.data.synthetic import SyntheticSource
from lineament.data.table import LabelTable
from lineament.errors import ConfigError, DataError

_SYNTHETIC_FACES = 512


@dataclass(frozen=True)
class Batch:
    """crops (B,3,218,178) uint8; targets (B,A) float32; known (B,A) bool; region (B,K,h,w), landmarks (B,L,2) in 0..1, teacher (B,A) or None."""

    crops: Tensor
    targets: Tensor
    known: Tensor
    region: Tensor | None = None
    landmarks: Tensor | None = None
    teacher: Tensor | None = None


class Stream:
    """Crops of a source decoded whenever they are asked for: nothing is kept, so a set may be larger than memory and disk.

    `blocks` (N,) is what an epoch's order shuffles within, None where the source reads any row as cheaply as the next.
    """

    def __init__(self, source: Source, decode: Decode = decode_crop, threads: int = 2) -> None:
        self.table, self.blocks = source.table, blocks_of(source)
        self._source, self._decode, self._pool = source, decode, ThreadPoolExecutor(threads, "decode")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        chosen = np.arange(len(self))[rows]
        # Bytes are read by this thread in order, since shards are read in sequence; only decoding is shared.
        encoded = [self._source.read_bytes(int(row)) for row in chosen]
        return np.stack(list(self._pool.map(self._decode, encoded)))


class Material:
    """All training data of a run, by row. `crops[rows]` (B,3,218,178) uint8; `blocks` as in `Stream`, None for a cache."""

    def __init__(self, table: LabelledFiles, crops: Any, *, region: Any = None, landmarks: Any = None, teacher: Any = None) -> None:
        self.table, self.crops = table, crops
        self.blocks = crops.blocks if isinstance(crops, Stream) else None
        self._region, self._landmarks, self._teacher = region, landmarks, teacher

    def batch(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Batch:
        """Return the batch of `rows`."""
        region = None if self._region is None else torch.from_numpy(self._region[rows]).float() / 255
        landmarks = None if self._landmarks is None else torch.from_numpy(self._landmarks[rows].astype(np.float32))
        teacher = None if self._teacher is None else torch.from_numpy(self._teacher[rows].astype(np.float32))
        return Batch(
            torch.from_numpy(self.crops[rows]),
            torch.from_numpy(self.table.targets[rows].astype(np.float32)),
            torch.from_numpy(self.table.known[rows]),
            region,
            landmarks,
            teacher,
        )


def open_source(data: DataConfig) -> Source:
    """Open the data set a config names. Raises: ConfigError for an unknown layout; DataError from the reader."""
    if data.layout == "synthetic":
        return SyntheticSource(data.limit or _SYNTHETIC_FACES, split=data.split)
    path = expand(data.path)
    if data.layout == "table":
        return LabelTable(path, None if data.images is None else expand(data.images), data.split, attributes=data.attributes)
    if data.layout == "parquet":
        return HubParquet(path, data.attributes, data.split)
    if data.layout == "official":
        return Official(path, data.split)
    if data.layout == "lfwa":
        return LFWA(path, data.split, None if data.images is None else expand(data.images))
    raise ConfigError(f"Unknown data.layout {data.layout!r}. Use parquet, official, lfwa, table or synthetic.")


def _excluded(path: str) -> set[str]:
    file = expand(path)
    if not file.is_file():
        raise DataError(f"data.exclude names {file}, which is not there.")
    with file.open(newline="", encoding="utf-8") as opened:
        return {row[0] for row in csv.reader(opened) if row}


def _per_row(path: str | None, table: LabelledFiles) -> Any:
    """Memory-map an array (N,...) saved beside the crops, checked against the table's fingerprint in its name."""
    if path is None:
        return None
    file = Path(str(expand(path)).replace("{fingerprint}", table.fingerprint()))
    if not file.is_file():
        raise DataError(f"No cached array at {file}. Make it first (docs/training.md).")
    array = np.load(file, mmap_mode="r")
    if len(array) != len(table):
        raise DataError(f"{file} holds {len(array)} rows, the data {len(table)}. Make it again.")
    return array


def _decoder(align: str) -> tuple[Decode, str]:
    """Return how an encoded image becomes a crop, and what caches made that way are called."""
    if align == "stored":
        return decode_crop, ""
    if align == "detect":
        from lineament.engine.detected import Detected

        return Detected(), "detect"
    raise ConfigError(f"Unknown data.align {align!r}. Use stored or detect.")


def load_rows(config: TrainConfig) -> Subset:
    """Open the data and leave out what the config leaves out."""
    source = open_source(config.data)
    keep = np.ones(len(source.table), bool)
    if config.data.exclude is not None:
        left_out = _excluded(config.data.exclude)
        keep &= np.array([file not in left_out for file in source.table.files])
    return Subset(source, np.flatnonzero(keep)[: config.data.limit])


def load_material(config: TrainConfig) -> Material:
    """Open, filter and decode (or map, or stream) everything a run needs."""
    data, source = config.data, load_rows(config)
    decode, kind = _decoder(data.align)
    crops = Stream(source, decode) if data.cache is None else CropCache(source, data.cache, decode, kind).crops
    table = source.table
    region, landmarks = _per_row(data.regions, table), _per_row(data.landmarks, table)
    return Material(table, crops, region=region, landmarks=landmarks, teacher=_teacher(config, table))


def _teacher(config: TrainConfig, table: LabelledFiles) -> Any:
    if config.loss.teacher is None and (config.loss.distill or config.loss.teacher_fills_unknown):
        raise ConfigError("loss.distill and loss.teacher_fills_unknown need loss.teacher, made by scripts/cache_teacher.py.")
    array = _per_row(config.loss.teacher, table)
    if array is not None and array.shape != table.targets.shape:
        raise DataError(f"The teacher {config.loss.teacher} holds {array.shape}, the data {table.targets.shape}. Make it again.")
    return array
