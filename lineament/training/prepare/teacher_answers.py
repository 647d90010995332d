"""A teacher's answers on training images, computed once: networks and views averaged, one row of probabilities per image.

    crops -> views (plain, mirrored, then jittered ones) -> networks -> probs (V x T, N, A) -> mean (N,A) float16, NaN where no network has the name

Convention: view 0 is the image as it is, view 1 its mirror; later ones are cropped at a random place and brightened as training does it, every
other one mirrored too. Draws depend on (seed, view, block of rows), so a file can be made again bit by bit.
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
from lineament.data.transforms import Frame, augment, mirror
from lineament.errors import ConfigError
from lineament.models.checkpoint import find_weights, load_network_file
from lineament.runtime.card import sha256_of
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
        raise ConfigError("A teacher needs at least one trained network: a shipped name, a run folder or a safetensors file.")
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


@torch.no_grad()
def teacher_probs(
    teachers: Sequence[Teacher],
    material: Material,
    *,
    views: int = 2,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
    progress: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.float16]:
    """Return the probabilities (N,A) of the data's attributes, mean over networks that know the name and over views.

    Raises: ConfigError for fewer than one view, or if no network knows any of the attributes.
    """
    if views < 1:
        raise ConfigError(f"A teacher needs at least one view, not {views}.")
    names, rows = material.table.attributes, len(material.table)
    if not any(name in teacher.attributes for teacher in teachers for name in names):
        raise ConfigError(f"No teacher knows any attribute of the data ({', '.join(names[:4])} ...).")
    out = np.full((rows, len(names)), np.nan, np.float16)
    for teacher in teachers:
        teacher.network.to(device, memory_format=torch.channels_last)
    for first in range(0, rows, _AT_ONCE):
        block = np.arange(first, min(first + _AT_ONCE, rows))
        crops = material.batch(block).crops
        total, votes = torch.zeros(len(block), len(names)), torch.zeros(len(names))
        for teacher in teachers:
            there = [names.index(name) for name in teacher.attributes if name in names]
            columns = [teacher.attributes.index(names[place]) for place in there]
            for view in range(views):
                generator = torch.Generator().manual_seed((seed * 1009 + view) * 1_000_003 + first)
                total[:, there] += _answers(teacher, crops, view, generator, device, precision)[:, columns]
                votes[there] += 1
        out[block] = torch.where(votes > 0, total / votes, torch.nan).numpy().astype(np.float16)
        progress(int(block[-1]) + 1)
    return out


def _answers(teacher: Teacher, crops: Tensor, view: int, generator: torch.Generator, device: str, precision: str) -> Tensor:
    preprocess = teacher.network.preprocess
    x = view_of(preprocess.resize(crops.to(device)).cpu(), view, generator).to(device)
    x = preprocess.normalise(x).contiguous(memory_format=torch.channels_last)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        logits = teacher.network(x).logits
    return torch.sigmoid(logits.float()).cpu()


def write_teacher(path: str | os.PathLike[str], probs: npt.NDArray[np.float16], teachers: Sequence[Teacher], facts: dict[str, Any]) -> Path:
    """Write the array that `loss.teacher` reads, and beside it (`.json`) which files said so; the array appears only once it is whole."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(target.name + ".part")
    with aside.open("wb") as file:
        np.save(file, probs)
    aside.replace(target)
    about = facts | {"teachers": [{"file": str(teacher.file), "sha256": sha256_of(teacher.file)} for teacher in teachers]}
    target.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return target
