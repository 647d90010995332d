"""What a training reads: decoded crops, targets, and where a config names them cached regions and landmarks."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.config import DataConfig, TrainConfig, expand
from lineament.data.celeba import Official
from lineament.data.hub_parquet import HubParquet
from lineament.data.labelled import LabelledFiles, Source, Subset
from lineament.data.loader import CropCache
from lineament.data.synthetic import SyntheticSource
from lineament.data.table import LabelTable
from lineament.errors import ConfigError, DataError

_SYNTHETIC_FACES = 512


@dataclass(frozen=True)
class Batch:
    """crops (B,3,218,178) uint8; targets (B,A) float32; known (B,A) bool; region (B,K,h,w) or None; landmarks (B,L,2) in 0..1 or None."""

    crops: Tensor
    targets: Tensor
    known: Tensor
    region: Tensor | None = None
    landmarks: Tensor | None = None


class Material:
    """All training data of a run, by row."""

    def __init__(self, cache: CropCache, region: Any = None, landmarks: Any = None) -> None:
        self.table, self._crops = cache.table, cache.crops
        self._region, self._landmarks = region, landmarks

    def batch(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Batch:
        """Return the batch of `rows`."""
        region = None if self._region is None else torch.from_numpy(self._region[rows]).float() / 255
        landmarks = None if self._landmarks is None else torch.from_numpy(self._landmarks[rows].astype(np.float32))
        return Batch(
            torch.from_numpy(self._crops[rows]),
            torch.from_numpy(self.table.targets[rows].astype(np.float32)),
            torch.from_numpy(self.table.known[rows]),
            region,
            landmarks,
        )


def open_source(data: DataConfig) -> Source:
    """Open the data set a config names. Raises: ConfigError for an unknown layout; DataError from the reader."""
    if data.layout == "synthetic":
        return SyntheticSource(data.limit or _SYNTHETIC_FACES, split=data.split)
    path = expand(data.path)
    if data.layout == "table":
        return LabelTable(path, None if data.images is None else expand(data.images), data.split, data.attributes)
    if data.layout == "parquet":
        return HubParquet(path, data.attributes, data.split)
    if data.layout == "official":
        return Official(path, data.split)
    raise ConfigError(f"Unknown data.layout {data.layout!r}. Use parquet, official, table or synthetic.")


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


def load_material(config: TrainConfig) -> Material:
    """Open, filter and decode (or map) everything a run needs."""
    source = open_source(config.data)
    keep = np.ones(len(source.table), bool)
    if config.data.exclude is not None:
        left_out = _excluded(config.data.exclude)
        keep &= np.array([file not in left_out for file in source.table.files])
    rows = np.flatnonzero(keep)[: config.data.limit]
    cache = CropCache(Subset(source, rows), config.data.cache)
    return Material(cache, _per_row(config.data.regions, cache.table), _per_row(config.data.landmarks, cache.table))
