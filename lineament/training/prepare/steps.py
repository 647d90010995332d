"""What a config's run reads and is not there yet, made before its first step: `lineament prepare`, and
`lineament train` by itself.

    config -> needs (trunk weights, start, crops, landmarks, region network, masks, teacher's answers) -> the files it
        names

What cannot be had is one sentence before anything is computed; space is stated before it is filled; what an
interruption leaves is gone on with.
"""

from __future__ import annotations

import inspect
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lineament.config import TrainConfig, expand, load_settings
from lineament.data.block_file import Progress, free_bytes, size_text
from lineament.data.celeba_landmarks import release_keypoints
from lineament.data.loader import crop_file, crops_complete
from lineament.data.regions import GROUPS
from lineament.errors import ConfigError, DataError, ModelFileError
from lineament.geometry import CROP_SIZE
from lineament.models.build import network_class, trunk_weights
from lineament.models.checkpoint import find_weights
from lineament.training.dataset import Material, cache_kind, load_images, load_rows, per_row_file
from lineament.training.prepare import caches
from lineament.training.prepare.region_network import (
    RegionConfig,
    find_region_weights,
    load_region_network,
    make_region_network,
)
from lineament.training.prepare.teacher_answers import load_teachers, write_teacher

ANNOTATED = (5, 468)
"""How many landmarks can be had: five of the release or the detector, 468 of the face mesh."""


@dataclass(frozen=True)
class Teller:
    """Who is told: `say` a sentence, `progress` of a named piece of work, (name, done, of how many)."""

    say: Callable[[str], None] = lambda text: None
    progress: Callable[[str, int, int], None] = lambda name, done, total: None

    def of(self, name: str) -> Progress:
        """Return what one piece of work reports to."""
        return lambda done, total: self.progress(name, done, total)


@dataclass
class Preparation:
    """One config's preparation. Args: device: where networks run; allow_download: of trunk weights, the only thing that
    is ever fetched."""

    config: TrainConfig
    device: str = "cpu"
    allow_download: bool = False
    teller: Teller = field(default_factory=Teller)

    def run(self) -> list[Path]:
        """Make what is missing; return the files that were made. Raises: ConfigError, DataError, ModelFileError, each
        naming the fix."""
        check_possible(self.config)
        trunk_weights(self.config.model, allow_download=self.allow_download)
        missing, made = list(self._missing()), list[Path]()
        if missing:
            self._state_space(missing)
        while missing:
            part = missing[0]
            began = time.monotonic()
            self.teller.say(f"Making {part.what}: {part.path}")
            part.make()
            self.teller.say(f"Done in {time.monotonic() - began:.0f} s: {part.path}")
            made.append(part.path)
            missing = list(
                self._missing()
            )  # anew: decoding may have found damaged pictures, whose labels then are not known
            if missing and missing[0].path in made:
                raise DataError(f"{missing[0].path} was made, and is not there. Is the folder being cleaned meanwhile?")
        return made

    def _state_space(self, missing: list[Part]) -> None:
        """Say what is about to be written. Raises: DataError where the disk has no room for it."""
        rows = len(load_rows(self.config).table)
        listed = ", ".join(f"{part.what} ({size_text(part.size)})" for part in missing)
        need, free = sum(part.size for part in missing), min(free_bytes(part.path.parent) for part in missing)
        self.teller.say(
            f"{self.config.name} needs, for {rows:,} images: {listed}. {size_text(need)} in all, {size_text(free)} are "
            "free."
        )
        if need > free:
            raise DataError(
                f"{size_text(need)} are needed and {size_text(free)} are free where {missing[0].path.parent} lies. "
                "Free space, name another folder "
                "(--set data.cache=DIR), or decode at every step (--set data.cache=null)."
            )

    def _missing(self) -> Iterator[Part]:
        """Yield what is not there, in the order in which it can be made."""
        config, table = self.config, load_rows(self.config).table
        data, wanted, rows = config.data, config.model.options.get("region_weights"), len(table)
        sizes = part_sizes(config, rows, table.targets.shape[1])
        if data.cache is not None:
            path = crop_file(table, expand(data.cache), cache_kind(data.align))
            shape = (rows, 3, *CROP_SIZE)
            if crops_complete(path, shape):
                table = self._images().table
            else:
                yield Part("decoded crops", path, sizes["decoded crops"], self._images)
        if data.landmarks is not None and not (path := per_row_file(data.landmarks, table)).is_file():
            yield Part("landmarks", path, sizes["landmarks"], partial(self._landmarks, path))
        if wanted is not None and not (path := expand(str(wanted))).is_file():
            yield Part("the region network", path, sizes["the region network"], partial(self._region_network, path))
        if data.regions is not None and not (path := per_row_file(data.regions, table)).is_file():
            yield Part(f"masks ({config.prepare.masks})", path, sizes["masks"], partial(self._masks, path))
        if config.loss.teacher is not None and not (path := per_row_file(config.loss.teacher, table)).is_file():
            yield Part("the teachers' answers", path, sizes["the teachers' answers"], partial(self._teacher, path))

    # ---- how each is made

    def _images(self) -> Material:
        return load_images(self.config, progress=self.teller.of("crops"))

    def _landmarks(self, path: Path) -> None:
        material, data, tell = self._images(), self.config.data, self.teller.of("landmarks")
        if landmarks_of(self.config) == 468:
            caches.write_mesh_landmarks(material.crops, caches.MeshPoints(), path, tell)
            return
        listed = (
            release_keypoints(expand(data.path), material.table.files)
            if data.layout == "official" and data.align == "stored"
            else None
        )
        if listed is not None and not np.isnan(listed).all():
            self.teller.say("The five points are those that the release lists.")
            caches.write_release_landmarks(listed, path)
            return
        from lineament.detection.retinaface import RetinaFace

        self.teller.say("The release lists no points here: our detector finds them.")
        # Aligned crops are upright and of one size: what a photo's detector does beyond one pass changes nothing here.
        caches.write_landmarks(
            material.crops, RetinaFace(threads=1, second_look=False, rescue=False).detect, path, tell
        )

    def _region_network(self, path: Path) -> None:
        there = find_region_weights(regions_name(self.config))
        if there is not None:
            self.teller.say(f"Taken from {there}.")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(there, path)
            return
        settings = load_settings(RegionConfig, regions_name(self.config))
        crops = self._images().crops if settings.images else None
        make_region_network(
            settings,
            path,
            crops=crops,
            device=self.device,
            say=self.teller.say,
            progress=self.teller.of("region network"),
        )
        if self.config.data.regions is not None and self.config.prepare.masks != "keypoints":
            # Masks that are there already are those of a network that is gone.
            per_row_file(self.config.data.regions, load_rows(self.config).table).unlink(missing_ok=True)

    def _masks(self, path: Path) -> None:
        crops, kind, tell = self._images().crops, self.config.prepare.masks, self.teller.of("masks")
        if kind == "keypoints":
            caches.write_keypoint_regions(crops, caches.MeshPoints(), path, tell)
            return
        wanted = self.config.model.options.get("region_weights")
        weights = None if wanted is None else expand(str(wanted))
        if weights is None or not weights.is_file():
            weights = find_region_weights(regions_name(self.config))
        if weights is None:
            raise ConfigError(
                "Masks need a trained region network: name it in model.options.region_weights, or run `lineament "
                "prepare --config regions`."
            )
        network = load_region_network(weights)
        if kind == "learned":
            caches.write_regions(crops, network, path, tell, self.device)
            return
        learned = path.with_name(path.name + ".learned.npy")
        caches.write_regions(crops, network, learned, tell, self.device)
        caches.write_mean_regions(crops, np.load(learned, mmap_mode="r"), path)
        learned.unlink()

    def _teacher(self, path: Path) -> None:
        wanted = self.config.prepare
        teachers = load_teachers(wanted.teachers)
        write_teacher(path, teachers, self._images(), views=wanted.views, device=self.device,
        precision=wanted.precision,
                      progress=self.teller.of("teachers"))  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Something to make: what, where, about how many bytes, and how."""

    what: str
    path: Path
    size: int
    make: Callable[[], Any]


def part_sizes(config: TrainConfig, rows: int, attributes: int) -> dict[str, int]:
    """Return about how many bytes each part that a config names takes for `rows` images."""
    data, sizes = config.data, dict[str, int]()
    if data.cache is not None:
        sizes["decoded crops"] = 3 * CROP_SIZE[0] * CROP_SIZE[1] * rows
    if data.landmarks is not None:
        sizes["landmarks"] = 8 * rows * landmarks_of(config)
    if config.model.options.get("region_weights") is not None:
        sizes["the region network"] = 40_000_000
    if data.regions is not None:
        sizes["masks"] = rows * len(GROUPS) * caches.REGION_HW[0] * caches.REGION_HW[1]
    if config.loss.teacher is not None:
        sizes["the teachers' answers"] = 2 * rows * attributes
    return sizes


def landmarks_of(config: TrainConfig) -> int:
    """Return how many landmarks a config's network learns: what its options say, else its own default, else five."""
    own = inspect.signature(network_class(config.model.name)).parameters.get("landmarks")
    default = 5 if own is None or not isinstance(own.default, int) else own.default
    return int(config.model.options.get("landmarks", default))


def regions_name(config: TrainConfig) -> str:
    """Return the config that trains this config's region network."""
    return config.prepare.regions or (
        "regions-celeba" if config.model.options.get("region_scale") == "paper" else "regions"
    )


def check_possible(config: TrainConfig) -> None:
    """Raises: ConfigError, ModelFileError: what a config asks for and cannot be had, in one sentence with the fix,
    before anything is computed."""
    device = torch.device(config.optimiser.device) if config.optimiser.device.split(":")[0] in ("cuda", "cpu") else None
    if device is not None and device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"optimiser.device is {config.optimiser.device}, but torch sees no CUDA card here. Use --device cpu, or "
            "install torch for CUDA."
        )
    if config.model.start is not None:
        _check_start(config.model.start)
    count, options = landmarks_of(config), config.model.options
    if config.data.landmarks is not None and count not in ANNOTATED and "{fingerprint}" in config.data.landmarks:
        raise ConfigError(
            f"model.options.landmarks is {count}: only {' or '.join(map(str, ANNOTATED))} can be found. Set one of "
            "them, or name your own array in "
            "data.landmarks."
        )
    if config.loss.teacher is not None and "{fingerprint}" in config.loss.teacher and config.prepare.teachers:
        for name in config.prepare.teachers:
            _check_start(name)
    if config.prepare.masks != "learned" and config.data.regions is None:
        raise ConfigError(f"prepare.masks is {config.prepare.masks}, but data.regions names no file for them.")
    if (
        options.get("mask") == "learned"
        and config.data.regions is None
        and options.get("region_weights") is None
        and config.model.start is None
    ):
        return  # the network itself says what it needs
    if config.optimiser.patience is not None and not config.data.holdout:
        raise ConfigError("optimiser.patience watches the held-out slice of train: set data.holdout above 0.")


def _check_start(name: str) -> None:
    """Raises: ModelFileError naming the config whose run is missing."""
    try:
        find_weights(name)
    except ModelFileError as error:
        run = Path(name)
        if run.parts[:1] == ("runs",) and len(run.parts) == 2:
            raise ModelFileError(
                f"The config starts from the run {name}, which is not there. Train it first (lineament train --config "
                f"{run.name} --data DIR) or name "
                "other weights with --from."
            ) from error
        raise
