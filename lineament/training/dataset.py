"""The training set: decoded crops, targets, and where a config names them cached regions, landmarks and a teacher's
answers.

crops come from a cache of decoded crops, or from a stream that decodes at every step; both give the same batch for the
same rows.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.config import DataConfig, LossConfig, TrainConfig, expand
from lineament.data.block_file import Progress
from lineament.data.celeba import Official
from lineament.data.hub_parquet import HubParquet
from lineament.data.image_folder import ImageFolder
from lineament.data.labelled import Chosen, LabelledFiles, Source, Subset, blocks_of, read_or_error
from lineament.data.lfwa import LFWA
from lineament.data.loader import CropCache, CropDecoder, decode_crop, decode_each
from lineament.data.mirror import MIRROR
from lineament.data.regions import GROUPS
from lineament.data.reserved import reserved
from lineament.data.synthetic import SyntheticSource
from lineament.data.table import LabelTable
from lineament.errors import ConfigError, DataError

_SYNTHETIC_FACES = 512


@dataclass(frozen=True)
class Batch:
    """crops (B,3,218,178) uint8; targets (B,A) float32; known (B,A) bool; region (B,K,h,w), landmarks (B,L,2) in 0..1,
    teacher (B,A), identity (B,) int64, or None."""

    crops: Tensor
    targets: Tensor
    known: Tensor
    region: Tensor | None = None
    landmarks: Tensor | None = None
    teacher: Tensor | None = None

    def pinned(self) -> Batch:
        """Return the batch in page-locked memory, from which a card can fetch while the processor goes on."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`, bytes as bytes; from page-locked memory without waiting."""
        return self if device.type == "cpu" else self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        parts = (getattr(self, one.name) for one in fields(self))
        return Batch(*(None if part is None else change(part) for part in parts))  # type: ignore[arg-type]

    identity: Tensor | None = None


class Stream:
    """Crops of a source decoded whenever they are asked for: nothing is kept, so a set may be larger than memory and
    disk.

    `blocks` (N,) is what an epoch's order shuffles within, None where the source reads any row as cheaply as the next.
    """

    def __init__(self, source: Source, decode: CropDecoder = decode_crop, threads: int = 2) -> None:
        self.table, self.blocks = source.table, blocks_of(source)
        self.damaged: dict[str, str] = {}
        self._source, self._decode, self._pool = source, decode, ThreadPoolExecutor(threads, "decode")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        chosen = np.arange(len(self))[rows]
        # Bytes are read by this thread in order, since shards are read in sequence; only decoding is shared.
        encoded = [read_or_error(self._source, int(row)) for row in chosen]
        crops, damaged = decode_each(encoded, self._decode, self._pool)
        for place, why in damaged.items():
            self.table.known[chosen[place]] = False
            self.damaged[self.table.files[chosen[place]]] = why
        return crops


class Material:
    """All training data of a run, by row. `crops[rows]` (B,3,218,178) uint8; `blocks` as in `Stream`, None for a cache.

    `damaged`: pictures that gave no pixels, file -> why: black crops whose labels are not known. A stream learns of
    them as it reads.
    """

    def __init__(
        self,
        table: LabelledFiles,
        crops: Any,
        *,
        region: Any = None,
        landmarks: Any = None,
        teacher: Any = None,
        damaged: Mapping[str, str] | None = None,
    ) -> None:
        self.damaged: Mapping[str, str] = {} if damaged is None else damaged
        self.table, self.crops = table, crops
        self.teacher_facts = (
            Path(str(teacher.filename)).with_suffix(".json") if isinstance(teacher, np.memmap) else None
        )
        """Where the file beside the teacher's array says which networks it was."""
        self.blocks = crops.blocks if isinstance(crops, Stream) else None
        self.region, self.landmarks, self._teacher = region, landmarks, teacher

    def batch(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Batch:
        """Return the batch of `rows`."""
        crops = torch.from_numpy(
            self.crops[rows]
        )  # first: reading may find that a picture is damaged, and then its labels are not known
        region = None if self.region is None else torch.from_numpy(self.region[rows]).float() / 255
        landmarks = None if self.landmarks is None else torch.from_numpy(self.landmarks[rows].astype(np.float32))
        teacher = None if self._teacher is None else torch.from_numpy(self._teacher[rows].astype(np.float32))
        return Batch(
            crops,
            torch.from_numpy(self.table.targets[rows].astype(np.float32)),
            torch.from_numpy(self.table.known[rows]),
            region,
            landmarks,
            teacher,
            None if self.table.identity is None else torch.from_numpy(self.table.identity[rows]),
        )


def open_training_source(data: DataConfig) -> Source:
    """Open the data set a config names. Raises: ConfigError for an unknown layout; DataError from the reader."""
    if data.layout == "synthetic":  # drawn, not read: it needs no path
        drawn = SyntheticSource(data.limit or _SYNTHETIC_FACES, split=data.split)
        return drawn if data.attributes is None else Chosen(drawn, data.attributes)
    path = expand(data.path)
    if data.layout == "table":
        return LabelTable(
            path, None if data.images is None else expand(data.images), data.split, attributes=data.attributes
        )
    if data.layout == "images":
        return ImageFolder(path)
    if data.layout == "parquet":
        return HubParquet(path, data.attributes, data.split)
    source: Source
    if data.layout == "official":
        source = Official(path, data.split)
    elif data.layout == "lfwa":
        source = LFWA(path, data.split, None if data.images is None else expand(data.images))
    else:
        raise ConfigError(
            f"Unknown data.layout {data.layout!r}. Use parquet, official, lfwa, table, images or synthetic."
        )
    return source if data.attributes is None else Chosen(source, data.attributes)


def _excluded(path: str) -> set[str]:
    file = expand(path)
    if not file.is_file():
        raise DataError(f"data.exclude names {file}, which is not there.")
    with file.open(newline="", encoding="utf-8") as opened:
        return {row[0] for row in csv.reader(opened) if row}


def per_row_file(path: str, table: LabelledFiles) -> Path:
    """Return the file of an array (N,...) saved beside the crops: {fingerprint} in its name is the table's."""
    return Path(str(expand(path)).replace("{fingerprint}", table.fingerprint()))


def _per_row(path: str | None, table: LabelledFiles) -> Any:
    """Memory-map an array (N,...) saved beside the crops, checked against the table's rows."""
    if path is None:
        return None
    file = per_row_file(path, table)
    if not file.is_file():
        raise DataError(f"No cached array at {file}. `lineament prepare` makes it (docs/training-device.md).")
    array = np.load(file, mmap_mode="r")
    if len(array) != len(table):
        raise DataError(f"{file} holds {len(array)} rows, the data {len(table)}. Make it again.")
    return array


def cache_kind(align: str) -> str:
    """Return what the file of crops that were decoded for `data.align` is called beside its fingerprint. Raises:
    ConfigError for an unknown one."""
    if align not in _CACHE_KINDS:
        raise ConfigError(f"Unknown data.align {align!r}. Use stored or detect.")
    return _CACHE_KINDS[align]


_CACHE_KINDS = {"stored": "", "detect": "detect"}


def crop_decoder(align: str) -> tuple[CropDecoder, str]:
    """Return how an encoded image becomes a crop, and what caches made that way are called."""
    kind = cache_kind(align)
    if align == "stored":
        return decode_crop, kind
    from lineament.training.prepare.detected_crops import Detected

    return Detected(), kind


def load_rows(config: TrainConfig) -> Subset:
    """Open the data and leave out what the config leaves out."""
    source = open_training_source(config.data)
    keep = np.ones(len(source.table), bool)
    if config.data.exclude is not None:
        left_out = _excluded(config.data.exclude)
        keep &= np.array([file not in left_out for file in source.table.files])
    if config.data.people != "all":
        if source.table.identity is None:
            raise ConfigError(
                f"data.people: {config.data.people} needs to know who is who, and these data do not say. Use people: "
                "all."
            )
        keep &= reserved(source.table.identity, len(keep)) == (config.data.people == "reserved")
    return Subset(source, np.flatnonzero(keep)[: config.data.limit])


def load_material(config: TrainConfig, progress: Progress | None = None) -> Material:
    """Open, filter and decode (or map, or stream) everything a run needs. Args: progress: told while crops are
    decoded."""
    data, source = config.data, load_rows(config)
    decode, kind = crop_decoder(data.align)
    kept = (
        Stream(source, decode) if data.cache is None else CropCache(source, expand(data.cache), decode, kind, progress)
    )
    table, crops = source.table, kept if isinstance(kept, Stream) else kept.crops
    region, landmarks = _per_row(data.regions, table), _per_row(data.landmarks, table)
    return Material(
        table, crops, region=region, landmarks=landmarks, teacher=_teacher(config, table), damaged=kept.damaged
    )


def load_images(config: TrainConfig, progress: Progress | None = None, **data: Any) -> Material:
    """Open a config's images and labels without its cached arrays and its teacher: what those are made from.

    Args: progress: told while crops are decoded; data: settings of the config's data section to change.
    """
    images = replace(config.data, regions=None, landmarks=None, **data)
    return load_material(replace(config, data=images, loss=LossConfig()), progress)


def check_fit(material: Material, network: Any, config: TrainConfig) -> None:
    """Raises: ConfigError where the crop is larger than the input, and where cached masks or landmarks are not what the
    network answers, or what a mirror can turn."""
    crop, whole = config.augment.crop, config.model.input_size
    if crop is not None and (crop[0] > whole[0] or crop[1] > whole[1]):
        raise ConfigError(f"augment.crop {list(crop)} does not fit into model.input_size {list(whole)}.")
    region, points, mirrored = material.region, material.landmarks, config.augment.flip
    said = getattr(network, "landmarks", 0)  # a network of your own may mean something else by the name
    wanted = said if isinstance(said, int) else 0
    if region is not None and (region.ndim != 4 or region.shape[1] != len(GROUPS)):
        raise ConfigError(
            f"data.regions must be (N,{len(GROUPS)},h,w), the groups {', '.join(GROUPS)}; it is {region.shape}."
        )
    if wanted and points is None:
        raise ConfigError(
            f"The network learns {wanted} landmarks, and data.landmarks names none. Name an array, or set "
            "model.options.landmarks: 0."
        )
    if points is None:
        return
    if points.ndim != 3 or points.shape[2] != 2 or (wanted and points.shape[1] != wanted):
        raise ConfigError(
            f"data.landmarks must be (N,{wanted or 'L'},2), as model.options.landmarks says; it is {points.shape}."
        )
    if mirrored and points.shape[1] not in MIRROR:
        raise ConfigError(
            f"augment.flip: no mirror table is known for {points.shape[1]} landmarks ({', '.join(map(str, MIRROR))} "
            "are). Set augment.flip: false."
        )


def _teacher(config: TrainConfig, table: LabelledFiles) -> Any:
    if config.loss.teacher is None and (config.loss.distill or config.loss.teacher_fills_unknown):
        raise ConfigError(
            "loss.distill and loss.teacher_fills_unknown need loss.teacher: the file for the answers of "
            "prepare.teachers."
        )
    array = _per_row(config.loss.teacher, table)
    if array is not None and array.shape != table.targets.shape:
        raise DataError(
            f"The teacher {config.loss.teacher} holds {array.shape}, the data {table.targets.shape}. Make it again."
        )
    return array
