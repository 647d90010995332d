"""The state of a training as a checkpoint holds it: plain tensors by name, and a few numbers.

network.* average.* weighting.* side.* optimiser.NUMBER.* window_losses      position, seconds, best, waited, best_epoch
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lineament.config import TrainConfig
from lineament.data.labelled import LabelledFiles
from lineament.errors import ModelFileError
from lineament.files import sha256_of
from lineament.models.checkpoint import find_weights


class Resumable(Protocol):
    """What of a trainer a checkpoint holds: see `training.trainer.Trainer`, whose attributes these are."""

    network: nn.Module
    average: Any
    weighting: Any
    side: Any
    window: Any
    optimiser: torch.optim.Optimizer
    patience: Any
    position: int
    seconds: float


def facts_of(config: TrainConfig, table: LabelledFiles, images: int) -> dict[str, Any]:
    """Return what a run's environment records beside versions: which data, how many images it trains on, which weights
    it began with."""
    facts: dict[str, Any] = {"data_fingerprint": table.fingerprint(), "images": images}
    if config.model.start is None:
        return facts
    try:
        return facts | {"start": {"name": config.model.start, "sha256": sha256_of(find_weights(config.model.start))}}
    except ModelFileError:  # a resumed run needs them no longer
        return facts


def gather(trainer: Resumable) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and numbers that a resumed run needs."""
    tensors = {f"network.{name}": tensor for name, tensor in trainer.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in trainer.average.tensors.items()}
    tensors |= {f"weighting.{name}": tensor for name, tensor in trainer.weighting.state_dict().items()}
    tensors |= {f"side.{name}": tensor for name, tensor in trainer.side.state_dict().items()}
    tensors["window_losses"] = trainer.window.table
    for number, state in trainer.optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items() if value is not None
        }
    patience = {key: getattr(trainer.patience, key) for key in ("best", "waited", "best_epoch")}
    return tensors, {"position": trainer.position, "seconds": trainer.seconds} | patience


def restore(trainer: Resumable, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Put a freshly built trainer where `gather` found its predecessor."""
    trainer.network.load_state_dict(dict(_under("network.", tensors)))
    for name, tensor in _under("average.", tensors):
        trainer.average.tensors[name].copy_(tensor)
    weighting = dict(_under("weighting.", tensors))
    if weighting:
        trainer.weighting.load_state_dict(weighting)
    side = dict(_under("side.", tensors))
    if side:
        trainer.side.load_state_dict(side)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimiser.", tensors):
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    trainer.optimiser.load_state_dict({"state": state, "param_groups": trainer.optimiser.state_dict()["param_groups"]})
    trainer.window.table.copy_(tensors["window_losses"])
    trainer.position, trainer.seconds = int(numbers["position"]), float(numbers["seconds"])
    patience = trainer.patience
    patience.best, patience.waited = float(numbers.get("best", math.inf)), int(numbers.get("waited", 0))
    patience.best_epoch = int(numbers.get("best_epoch", 0))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors whose name starts with `prefix`, the prefix cut off."""
    return ((name[len(prefix) :], tensor) for name, tensor in tensors.items() if name.startswith(prefix))
