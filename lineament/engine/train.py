"""Training: one journey, one function.

    crops uint8 -> x -> augmented x -> logits -> terms -> loss -> weights, averaged weights
    (B,3,218,178)  (B,3,H,W)  (B,3,h,w)   (B,A)     (B,A)

A run folder holds config, environment, log.csv, a checkpoint every few minutes and at the end `model.safetensors`. Order, augmentation and
dropout of step t depend only on (seed, t): a run killed at any moment and resumed repeats the uninterrupted one.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lineament.config import TrainConfig
from lineament.data.loader import batches, split_by_identity
from lineament.data.transforms import Frame, augment
from lineament.engine.environment import describe_environment
from lineament.engine.material import Material, load_material
from lineament.errors import ResumeError, UsageError
from lineament.models.build import build_network
from lineament.models.checkpoint import copy_matching, load_tensors, save_network, save_tensors
from lineament.models.layers import Preprocess, TorchOutput
from lineament.objectives.losses import create_loss, reduce

LOG_COLUMNS = ("epoch", "step", "loss", "lr", "images_per_s", "holdout_loss", "holdout_accuracy", "seconds")
_STEP_SEEDS = 1_000_003  # a prime, so that (seed, step) pairs do not meet


@dataclass
class Progress:
    """Told after every step and epoch: for progress bars and tests."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    images_per_s: float
    seconds_left: float


Watcher = Callable[[Progress], None]


class Trainer:
    """The state of one run: network, averaged weights, optimiser, position. `run()` carries it to the end."""

    def __init__(self, config: TrainConfig, out: str | os.PathLike[str], *, resume: bool = False, start: str | None = None) -> None:
        self.config, self.out = config, Path(out)
        settings = config.optimiser
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(config.seed)
        self.device = torch.device(settings.device)
        self.material: Material = load_material(config)
        table = self.material.table
        self.network = build_network(config.model, table.attributes, random_trunk=start is not None).to(self.device)
        self.not_copied = [] if start is None else copy_matching(self.network, load_tensors(start)[0])
        self.network.to(memory_format=torch.channels_last)
        self.train_rows, self.holdout_rows = split_by_identity(table, config.data.holdout, config.seed)
        self.steps_per_epoch = len(self.train_rows) // settings.batch
        if self.steps_per_epoch == 0:
            raise UsageError(f"{len(self.train_rows)} training images do not fill one batch of {settings.batch}. Lower optimiser.batch.")
        self.loss = create_loss(config.loss.name, **config.loss.options)
        self.optimiser = self._optimiser()
        self.average = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.position, self.seconds = 0, 0.0
        self._open(resume)

    # ---- the sentence -------------------------------------------------------------------------------------------------------------

    def step(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> float:
        """Do one optimisation step on the images `rows`; return its loss."""
        config, preprocess = self.config, cast(Preprocess, self.network.preprocess)
        generator = self._seeded()
        batch = self.material.batch(rows)
        frame = Frame(preprocess.resize(batch.crops), batch.region, batch.landmarks)  # (B,3,H,W)
        frame = augment(frame, config.augment, generator)  # (B,3,h,w)
        x = preprocess.normalise(frame.x).contiguous(memory_format=torch.channels_last).to(self.device)  # (B,3,h,w)
        with self._precision():
            output: TorchOutput = self.network(x, region=frame.region)
        terms = self.loss(output.logits.float(), batch.targets)  # (B,A)
        loss = reduce(terms, batch.known, torch.ones(terms.shape[1]))  # ()
        self._descend(loss)
        return float(loss.detach())

    def run(self, watch: Watcher | None = None) -> Path:
        """Train to the end; return the path of the averaged weights."""
        last_saved = time.monotonic()
        for epoch in range(self.position // self.steps_per_epoch, self.config.optimiser.epochs):
            for rows in batches(self.train_rows, self.config.optimiser.batch, self.config.seed, epoch, self.position % self.steps_per_epoch):
                began = time.monotonic()
                loss = self.step(rows)
                took = time.monotonic() - began
                self.position += 1
                self.seconds += took
                if watch:
                    watch(self._progress(epoch, loss, took))
                if self.position % 20 == 0:
                    self._log(epoch, loss, len(rows) / took)
                if time.monotonic() - last_saved > 60 * self.config.optimiser.checkpoint_minutes:
                    self.save_checkpoint()
                    last_saved = time.monotonic()
            self._end_epoch(epoch)
        return self.finish()

    # ---- parts of a step ----------------------------------------------------------------------------------------------------------

    def _seeded(self) -> torch.Generator:
        seed = self.config.seed * _STEP_SEEDS + self.position
        torch.manual_seed(seed)  # dropout
        return torch.Generator().manual_seed(seed)

    def _precision(self) -> Any:
        if self.config.optimiser.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def learning_rate(self) -> float:
        """Return the rate of the current step: linear warm-up, then cosine to zero."""
        settings = self.config.optimiser
        total = settings.epochs * self.steps_per_epoch
        warm = min(1.0, (self.position + 1) / max(1, settings.warmup_steps))
        return settings.lr * warm * 0.5 * (1 + math.cos(math.pi * self.position / total))

    def _optimiser(self) -> torch.optim.Optimizer:
        settings = self.config.optimiser
        trunk: list[nn.Parameter] = []
        head: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                (trunk if name.startswith("backbone.") else head).append(parameter)
        groups = []
        for parameters, factor in ((trunk, 1.0), (head, settings.head_lr_factor)):
            for decays in (True, False):  # norms and biases are not pulled to zero
                chosen = [p for p in parameters if (p.ndim > 1) == decays]
                if chosen:
                    groups.append({"params": chosen, "factor": factor, "weight_decay": settings.weight_decay if decays else 0.0})
        if settings.name == "sgd":
            return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
        return torch.optim.AdamW(groups, lr=settings.lr)

    def _descend(self, loss: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate() * group["factor"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.optimiser.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimiser.clip_norm)
        self.optimiser.step()
        # A young average forgets fast, so that the first steps do not linger in it.
        decay = min(self.config.optimiser.ema, (1 + self.position) / (10 + self.position))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
                else:
                    self.average[name].copy_(tensor)

    # ---- looking ------------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Tensor:
        """Return the logits (N,A) of the averaged network on whole, unaugmented images."""
        logits = []
        with self._averaged() as network, self._precision():
            for first in range(0, len(rows), 64):
                batch = self.material.batch(rows[first : first + 64])
                x = network.preprocess(batch.crops).contiguous(memory_format=torch.channels_last).to(self.device)
                logits.append(network(x, region=batch.region).logits.float().cpu())
        return torch.cat(logits) if logits else torch.zeros(0, len(self.material.table.attributes))

    def _averaged(self) -> Any:
        return _Swapped(self.network, self.average)

    def _end_epoch(self, epoch: int) -> None:
        logits = self.predict(self.holdout_rows)
        batch_targets = torch.from_numpy(self.material.table.targets[self.holdout_rows].astype(np.float32))
        known = torch.from_numpy(self.material.table.known[self.holdout_rows])
        terms = self.loss(logits, batch_targets)
        loss = float(reduce(terms, known, torch.ones(terms.shape[1]))) if len(logits) else math.nan
        right = ((logits >= 0) == (batch_targets > 0.5)) & known
        accuracy = float(right.sum() / known.sum()) if len(logits) else math.nan
        self._log(epoch, math.nan, math.nan, loss, accuracy)
        with self._averaged() as network:
            save_network(self.out / f"epoch_{epoch + 1}.safetensors", network, self.config)
        self.save_checkpoint()

    def _progress(self, epoch: int, loss: float, took: float) -> Progress:
        total = self.config.optimiser.epochs * self.steps_per_epoch
        left = (total - self.position) * self.seconds / self.position
        return Progress(epoch, self.position, total, loss, self.config.optimiser.batch / took, left)

    def _log(self, epoch: int, loss: float, speed: float, holdout_loss: float = math.nan, holdout_accuracy: float = math.nan) -> None:
        numbers = (loss, self.learning_rate(), speed, holdout_loss, holdout_accuracy, self.seconds)
        with (self.out / "log.csv").open("a", newline="") as file:
            csv.writer(file).writerow([epoch + 1, self.position, *("" if math.isnan(n) else f"{n:.6g}" for n in numbers)])

    # ---- keeping ------------------------------------------------------------------------------------------------------------------

    def _open(self, resume: bool) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        saved = self.out / "config.json"
        if resume and saved.is_file():
            if _settings(json.loads(saved.read_text())) != _settings(json.loads(json.dumps(self.config.to_dict()))):
                raise ResumeError(f"{self.out} was trained with another config ({saved}). Use that one, or another --out.")
            if (self.out / "checkpoint.safetensors").is_file():
                self._load_checkpoint()
            return
        if (self.out / "checkpoint.safetensors").is_file():
            raise ResumeError(f"{self.out} already holds a run. Continue it with --resume, or choose another --out.")
        saved.write_text(json.dumps(self.config.to_dict(), indent=1))
        facts = describe_environment() | {"data_fingerprint": self.material.table.fingerprint(), "images": len(self.train_rows)}
        (self.out / "environment.json").write_text(json.dumps(facts, indent=1))
        with (self.out / "log.csv").open("w", newline="") as file:
            csv.writer(file).writerow(LOG_COLUMNS)

    def save_checkpoint(self) -> None:
        """Write everything a resumed run needs, atomically, as safetensors."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items() if value is not None}
        tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        save_tensors(self.out / "checkpoint.safetensors", tensors, {"position": self.position, "seconds": self.seconds})

    def _load_checkpoint(self) -> None:
        tensors, header = load_tensors(self.out / "checkpoint.safetensors")
        self.network.load_state_dict(dict(_under("network.", tensors)))
        for name, tensor in _under("average.", tensors):
            self.average[name].copy_(tensor)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimiser.", tensors):
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.position, self.seconds = int(header["position"]), float(header["seconds"])

    def finish(self) -> Path:
        """Write the averaged network (fp16) and return its path."""
        path = self.out / "model.safetensors"
        with self._averaged() as network:
            save_network(path, network, self.config)
        return path


class _Swapped:
    """The network with the averaged weights inside, in eval mode, put back on exit."""

    def __init__(self, network: nn.Module, average: dict[str, Tensor]) -> None:
        self._network, self._average = network, average

    def __enter__(self) -> nn.Module:
        self._kept = {name: tensor.clone() for name, tensor in self._network.state_dict().items()}
        self._network.load_state_dict(self._average)
        return self._network.eval()

    def __exit__(self, *_: object) -> None:
        self._network.load_state_dict(self._kept)
        self._network.train()


def _settings(record: dict[str, Any]) -> dict[str, Any]:
    """What decides the numbers: everything but the words of the claim."""
    return {key: value for key, value in record.items() if key != "claim"}


def _under(prefix: str, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((name[len(prefix) :], tensor) for name, tensor in tensors.items() if name.startswith(prefix))
