"""A teacher's answers on training images, computed once: networks and views averaged, one row of probabilities per
image.

    crops -> views (plain, mirrored, then jittered ones) -> networks -> probs (V x T, N, A) -> mean (N,A) float16, NaN
        where no network has the name

Convention: view 0 is the image as it is, view 1 its mirror; later ones are cropped at a random place and brightened as
training does it, every other one mirrored too. Draws depend on (seed, view, block of rows), so a file can be made again
bit by bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lineament.config import AugmentConfig
from lineament.data.block_file import Progress, npy_header, write_blocks
from lineament.data.transforms import Frame, augment, mirror
from lineament.errors import ConfigError
from lineament.files import sha256_of
from lineament.models.checkpoint import find_weights, load_network_file
from lineament.training.dataset import Material

_AT_ONCE = 32
_KEPT = 0.92
"""Share of each side that a jittered view keeps, as the shipped training crop does (216 of 235)."""


@dataclass(frozen=True)
class Teacher:
    """A trained network that answers for others."""

    network: Any
    file: Path

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(self.network.attributes)


def load_teachers(names: Sequence[str]) -> list[Teacher]:
    """Load networks by shipped name, run folder or file. Raises: ModelFileError; ConfigError for none."""
    if not names:
        raise ConfigError(
            "A teacher needs at least one trained network: a shipped name, a run folder or a safetensors file."
        )
    files = [find_weights(name) for name in names]
    return [Teacher(load_network_file(file)[0], file) for file in files]


def view_of(x: Tensor, view: int, generator: torch.Generator) -> Tensor:
    """Return view `view` of resized images (N,3,h,w) in 0-255."""
    frame = Frame(x)
    if view >= 2:
        size = (round(_KEPT * x.shape[2]), round(_KEPT * x.shape[3]))
        frame = augment(frame, AugmentConfig(crop=size, flip=False, brightness=0.1), generator)
    if view % 2:
        frame = mirror(frame, torch.ones(len(x), dtype=torch.bool))
    return frame.x


def teacher_probs(
    teachers: Sequence[Teacher],
    material: Material,
    *,
    views: int = 2,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
) -> npt.NDArray[np.float16]:
    """Return the probabilities (N,A) of the data's attributes, mean over networks that know the name and over views.

    Raises: ConfigError for fewer than one view, or if no network knows any of the attributes.
    """
    answer, rows = (
        answering(teachers, material, views=views, seed=seed, device=device, precision=precision),
        len(material.table),
    )
    return np.concatenate([answer(first, min(first + _AT_ONCE, rows)) for first in range(0, rows, _AT_ONCE)])


def answering(
    teachers: Sequence[Teacher], material: Material, *, views: int, seed: int, device: str, precision: str
) -> Callable[[int, int], npt.NDArray[np.float16]]:
    """Return what answers rows first..end, as `teacher_probs` puts them together. Raises: as it does."""
    if views < 1:
        raise ConfigError(f"A teacher needs at least one view, not {views}.")
    names = material.table.attributes
    if not any(name in teacher.attributes for teacher in teachers for name in names):
        raise ConfigError(f"No teacher knows any attribute of the data ({', '.join(names[:4])} ...).")
    for teacher in teachers:
        teacher.network.to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def answer(first: int, end: int) -> npt.NDArray[np.float16]:
        crops = material.batch(np.arange(first, end)).crops
        total, votes = torch.zeros(end - first, len(names)), torch.zeros(len(names))
        for teacher in teachers:
            there = [names.index(name) for name in teacher.attributes if name in names]
            columns = [teacher.attributes.index(names[place]) for place in there]
            for view in range(views):
                generator = torch.Generator().manual_seed((seed * 1009 + view) * 1_000_003 + first)
                total[:, there] += _answers(teacher, crops, view, generator, device, precision)[:, columns]
                votes[there] += 1
        return np.asarray(torch.where(votes > 0, total / votes, torch.nan).numpy().astype(np.float16))

    return answer


def _answers(
    teacher: Teacher, crops: Tensor, view: int, generator: torch.Generator, device: str, precision: str
) -> Tensor:
    preprocess = teacher.network.preprocess
    x = view_of(preprocess.resize(crops.to(device)).cpu(), view, generator).to(device)
    x = preprocess.normalise(x).contiguous(memory_format=torch.channels_last)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        logits = teacher.network(x).logits
    return torch.sigmoid(logits.float()).cpu()


def write_teacher(
    path: str | os.PathLike[str],
    teachers: Sequence[Teacher],
    material: Material,
    *,
    views: int = 2,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
    progress: Progress | None = None,
) -> Path:
    """Write the array that `loss.teacher` reads, and beside it (`.json`) which files said so; the array appears only
    once it is whole.

    An interrupted call with the same teachers and views is gone on with. Raises: as `teacher_probs`; DataError where
    the disk is full.
    """
    target, shape = Path(path), material.table.targets.shape
    said = [{"file": str(teacher.file), "sha256": sha256_of(teacher.file)} for teacher in teachers]
    table = material.table
    about = {
        "data_fingerprint": table.fingerprint(), "attributes": list(table.attributes), "views": views, "seed": seed,
        "precision": precision, "teachers": said,
    }  # fmt: skip
    answer = answering(teachers, material, views=views, seed=seed, device=device, precision=precision)
    header = npy_header(shape, np.float16)
    write_blocks(
        target, shape, np.float16, answer, header=header, at_once=_AT_ONCE, recipe=json.dumps(about), progress=progress
    )
    target.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return target
