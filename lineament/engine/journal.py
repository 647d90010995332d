"""The run folder: config, environment, log of numbers, checkpoint. Plain files; no pickle.

config.json  environment.json  log.csv  checkpoint.safetensors  epoch_K.safetensors  model.safetensors  [tensorboard/]
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.config import TrainConfig, from_dict
from lineament.engine.environment import describe_environment
from lineament.errors import MissingExtraError, ResumeError
from lineament.models.checkpoint import load_tensors, save_tensors

LOG_COLUMNS = ("epoch", "step", "loss", "lr", "images_per_s", "holdout_loss", "holdout_accuracy", "seconds")
CHECKPOINT = "checkpoint.safetensors"


class Journal:
    """What a run writes down. Opening refuses to mix two runs in one folder."""

    def __init__(self, folder: str | os.PathLike[str], config: TrainConfig, facts: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        saved, checkpoint = self.folder / "config.json", self.folder / CHECKPOINT
        self.continues = resume and saved.is_file() and checkpoint.is_file()
        self._board = _board(self.folder / "tensorboard") if config.optimiser.tensorboard else None
        if self.continues:
            # Read through `from_dict`, so that a setting which came later has its default, and an old run goes on.
            if _settings(from_dict(json.loads(saved.read_text()))) != _settings(config):
                raise ResumeError(f"{folder} was trained with another config ({saved}). Use that one, or another --out.")
            return
        if checkpoint.is_file():
            raise ResumeError(f"{folder} already holds a run. Continue it with --resume, or choose another --out.")
        saved.write_text(json.dumps(config.to_dict(), indent=1))
        (self.folder / "environment.json").write_text(json.dumps(describe_environment() | dict(facts), indent=1))
        with (self.folder / "log.csv").open("w", newline="") as file:
            csv.writer(file).writerow(LOG_COLUMNS)

    def log(self, epoch: int, step: int, **numbers: float) -> None:
        """Append one row; columns not given stay empty. TensorBoard gets the same where the config asks for it."""
        cells = [numbers.get(name, math.nan) for name in LOG_COLUMNS[2:]]
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()
        with (self.folder / "log.csv").open("a", newline="") as file:
            csv.writer(file).writerow([epoch, step, *("" if math.isnan(cell) else f"{cell:.6g}" for cell in cells)])

    def log_attributes(self, epoch: float, names: tuple[str, ...], losses: Tensor, weights: Tensor) -> None:
        """Append each attribute's mean training loss and loss weight of the window that ends at `epoch` (2.5: half of the third is done)."""
        path, rows = self.folder / "attributes.csv", zip(names, losses.tolist(), weights.tolist(), strict=True)
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(("epoch", "attribute", "loss", "weight"))
            writer.writerows([f"{epoch:.6g}", name, f"{loss:.6g}", f"{weight:.6g}"] for name, loss, weight in rows)

    def forget_after(self, step: int) -> None:
        """Drop rows written after `step`: steps that a killed run did and its checkpoint does not know."""
        path = self.folder / "log.csv"
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        kept = [row for row in rows[1:] if len(row) == len(LOG_COLUMNS) and int(row[1]) <= step]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *kept])

    def save(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Write the checkpoint atomically."""
        plain = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        save_tensors(self.folder / CHECKPOINT, plain, header)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the checkpoint."""
        return load_tensors(self.folder / CHECKPOINT)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors whose name starts with `prefix`, the prefix cut off."""
    return ((name[len(prefix) :], tensor) for name, tensor in tensors.items() if name.startswith(prefix))


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What decides the numbers: everything but the words of the claim and where else the log is written."""
    record = json.loads(json.dumps(config.to_dict()))
    record["optimiser"].pop("tensorboard")
    return {key: value for key, value in record.items() if key != "claim"}


def _board(folder: Path) -> Any:
    """Return TensorBoard's writer. Raises: MissingExtraError without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "train") from error
    return SummaryWriter(str(folder))
