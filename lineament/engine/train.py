"""Training: one journey, one function.

    crops uint8 -> resized x -> augmented x -> logits -> terms -> loss -> weights, averaged weights
    (B,3,218,178)  (B,3,H,W)    (B,3,h,w)     (B,A)     (B,A)    ()

Order, augmentation and dropout of step t depend only on (seed, t): a run killed at any moment and resumed repeats the uninterrupted one.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lineament.config import TrainConfig
from lineament.data.loader import balancing, batches, epoch_order, split_by_identity
from lineament.data.transforms import Frame, augment
from lineament.engine.journal import Journal, under
from lineament.engine.material import Batch, Material, load_material
from lineament.engine.optimise import Average, create_optimiser, descend, learning_rate
from lineament.engine.parallel import join
from lineament.errors import UsageError
from lineament.models.build import build_network
from lineament.models.checkpoint import begin, save_network
from lineament.models.layers import TorchOutput
from lineament.objectives.distill import taught
from lineament.objectives.landmarks import landmark_loss
from lineament.objectives.losses import create_loss, masked_terms, per_attribute, positive_rates, reduce
from lineament.objectives.weighting import create_weighting

Rows = npt.NDArray[np.intp]
_STEP_SEEDS = 1_000_003  # a prime, so that (seed, step) pairs do not meet
_LOG_EVERY = 20


@dataclass
class Progress:
    """Told after every step: for progress bars and tests."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    images_per_s: float
    seconds_left: float


class Trainer:
    """The state of one run: network, averaged weights, optimiser, position. `run()` carries it to the end.

    Args: config; out: run folder; resume: continue the run in `out` if there is one; start: trained weights (name, run folder or file) whose
    matching tensors the network begins with (`not_copied` names the rest); by default the config's `model.start`.

    Raises: ConfigError, DataError, ModelFileError, ResumeError, each naming the fix.
    """

    def __init__(self, config: TrainConfig, out: str | os.PathLike[str], *, resume: bool = False, start: str | None = None) -> None:
        self.config, self.out, settings = config, Path(out), config.optimiser
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(config.seed)
        self.device, self.team = torch.device(settings.device), join(settings.device)
        self.material: Material = load_material(config)
        table = self.material.table
        start = start or config.model.start
        network: Any = build_network(config.model, table.attributes, random_trunk=start is not None)
        self.network: Any = network.to(self.device)
        self.not_copied = [] if start is None else begin(self.network, start)
        self.network.to(memory_format=torch.channels_last)
        self.train_rows, self.holdout_rows = split_by_identity(table, config.data.holdout, config.seed)
        self.steps_per_epoch = len(self.train_rows) // settings.batch
        if self.steps_per_epoch == 0:
            raise UsageError(f"{len(self.train_rows)} training images do not fill one batch of {settings.batch}. Lower optimiser.batch.")
        self.weighting = create_weighting(config.weighting.name, table.attributes, self.network.groups, **config.weighting.options)
        known = torch.from_numpy(table.known[self.train_rows])
        rates = positive_rates(torch.from_numpy(table.targets[self.train_rows].astype(np.float32)), known)
        self.loss = create_loss(config.loss.name, rates, **config.loss.options)
        self.optimiser = create_optimiser(self.network, self.weighting, settings)
        self.average = Average(self.network, settings.ema)
        self.parallel_network = self.team.wrap(self.network)
        self.position, self.seconds = 0, 0.0
        self._window_losses = torch.zeros(2, len(table.attributes))  # sums and counts of per-attribute losses in this window of the weighting
        self._best, self._waited = math.inf, 0
        facts = {"data_fingerprint": table.fingerprint(), "images": len(self.train_rows)}
        self.journal = Journal(self.out, config, facts, resume=resume)
        if self.journal.continues:
            self._load_checkpoint()

    # ---- the sentence -------------------------------------------------------------------------------------------------------------

    def step(self, rows: Rows) -> float:
        """Do one optimisation step on the images `rows`; return its loss."""
        settings, preprocess = self.config.optimiser, self.network.preprocess
        generator = self._seeded()
        batch = self.material.batch(self.team.share(rows))
        frame = Frame(preprocess.resize(batch.crops), self._region(batch), batch.landmarks)  # (B,3,H,W)
        frame = augment(frame, self.config.augment, generator)  # (B,3,h,w)
        x = self._to_network(preprocess.normalise(frame.x))  # (B,3,h,w)
        with self._precision():
            output: TorchOutput = self.parallel_network(x, region=frame.region)
        loss = self._objective(output, batch, frame.landmarks)  # ()
        descend(loss, self.optimiser, self.learning_rate(), settings.clip_norm)
        self.average.update(self.network, self.position)
        return float(loss.detach())

    def run(self, watch: Callable[[Progress], None] | None = None) -> Path:
        """Train to the end (or until the held-out loss has not fallen for `patience` epochs); return the path of the averaged weights."""
        settings, last_saved = self.config.optimiser, time.monotonic()
        self.network.train()
        for epoch in range(self.position // self.steps_per_epoch, settings.epochs):
            for rows in batches(self.order(epoch), settings.batch, self.position % self.steps_per_epoch):
                began = time.monotonic()
                loss = self.step(rows)
                took = time.monotonic() - began
                self.position, self.seconds = self.position + 1, self.seconds + took
                if self._window_ends():
                    self._learn_weights(self._holdout_losses()[0] if self.weighting.needs_heldout else None)
                if watch:
                    watch(self._progress(epoch, loss, took))
                if self.position % _LOG_EVERY == 0 and self.team.leads:
                    self._log(epoch, loss=loss, images_per_s=len(rows) / took)
                if time.monotonic() - last_saved > 60 * settings.checkpoint_minutes:
                    self.save_checkpoint()
                    last_saved = time.monotonic()
            if self._end_epoch(epoch):
                break
        return self._finish()

    # ---- parts of a step ----------------------------------------------------------------------------------------------------------

    def order(self, epoch: int) -> Rows:
        """Return the order in which an epoch sees the training rows."""
        weight, blocks = balancing(self.material.table, self.train_rows, self.config.data.balance), self.material.blocks
        return epoch_order(self.train_rows, self.config.seed, epoch, weight=weight, blocks=None if blocks is None else blocks[self.train_rows])

    def learning_rate(self) -> float:
        """Return the rate of the current step."""
        return learning_rate(self.config.optimiser, self.position, self.config.optimiser.epochs * self.steps_per_epoch)

    def _seeded(self) -> torch.Generator:
        seed = (self.config.seed * _STEP_SEEDS + self.position) * self.team.size + self.team.rank
        torch.manual_seed(seed)  # dropout
        return torch.Generator().manual_seed(seed)

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.config.optimiser.precision == "bf16" else nullcontext()

    def _region(self, batch: Batch) -> Tensor | None:
        """Return the masks that move with the images: cached ones, or those a network holds for every face."""
        fixed = getattr(self.network, "whole_frame_region", None)
        if batch.region is not None or fixed is None:
            return batch.region
        masks: Tensor | None = fixed(len(batch.crops))
        return None if masks is None else masks.to(batch.crops.device)

    def _to_network(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last).to(self.device)

    def _objective(self, output: TorchOutput, batch: Batch, landmarks: Tensor | None) -> Tensor:
        targets, known = taught(batch.targets, batch.known, batch.teacher, self.config.loss.distill, self.config.loss.teacher_fills_unknown)
        targets, known = targets.to(self.device), known.to(self.device)
        answers = [output.logits] if output.branches is None else list(output.branches)
        terms = torch.stack([masked_terms(self.loss, logits.float(), targets, known) for logits in answers]).mean(0)  # (B,A)
        by_attribute = per_attribute(terms.detach(), known).cpu()
        self._window_losses += torch.stack([by_attribute, torch.ones_like(by_attribute)])
        self.weighting.update(by_attribute)
        loss = reduce(terms, known, self.weighting.weights().to(self.device)) + self.weighting.penalty()
        if output.landmarks is not None and landmarks is not None:
            loss = loss + self.config.loss.landmark * landmark_loss(output.landmarks.float(), landmarks.to(self.device))
        return loss

    # ---- looking ------------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, rows: Rows) -> Tensor:
        """Return the logits (N,A) of the averaged network on whole, unaugmented images."""
        logits = [torch.zeros(0, len(self.material.table.attributes))]
        with self.average.inside(self.network), self._precision():
            for first in range(0, len(rows), 64):
                batch = self.material.batch(rows[first : first + 64])
                x = self._to_network(self.network.preprocess(batch.crops))
                logits.append(self.network(x, region=batch.region).logits.float().cpu())
        return torch.cat(logits)

    def _holdout_losses(self) -> tuple[Tensor | None, float]:
        """Return the per-attribute losses (A,) and the accuracy at 0.5 on the held-out slice of train; None where nothing is held out."""
        if not len(self.holdout_rows):
            return None, math.nan
        table, logits = self.material.table, self.predict(self.holdout_rows)
        targets = torch.from_numpy(table.targets[self.holdout_rows].astype(np.float32))
        known = torch.from_numpy(table.known[self.holdout_rows])
        right = ((logits >= 0) == (targets > 0.5)) & known
        return per_attribute(masked_terms(self.loss, logits, targets, known), known), float(right.sum() / known.sum())

    def _end_epoch(self, epoch: int) -> bool:
        """Log, weigh, save; return True where training should stop early."""
        numbers = {}
        heldout, accuracy = self._holdout_losses()
        if heldout is not None:
            numbers = {"holdout_loss": float(heldout.mean()), "holdout_accuracy": accuracy}
        self._learn_weights(heldout)
        if self.team.leads:
            self._log(epoch, **numbers)
            with self.average.inside(self.network) as network:
                save_network(self.out / f"epoch_{epoch + 1}.safetensors", network, self.config)
        improved = numbers.get("holdout_loss", math.inf) < self._best
        self._best, self._waited = min(self._best, numbers.get("holdout_loss", math.inf)), 0 if improved else self._waited + 1
        self.save_checkpoint()
        return self.config.optimiser.patience is not None and self._waited >= self.config.optimiser.patience

    def _window_ends(self) -> bool:
        """Whether the weighting learns now, within an epoch; the last window ends with the epoch."""
        into, windows = self.position % self.steps_per_epoch, self.config.weighting.windows
        return into in {self.steps_per_epoch * k // windows for k in range(1, windows)}

    def _learn_weights(self, heldout: Tensor | None) -> None:
        """End a window: the weighting learns from its mean losses (A,), and the journal keeps them."""
        sums, counts = self._window_losses
        losses, epoch = sums / counts.clamp(min=1), self.position / self.steps_per_epoch
        self.weighting.end_window(losses, heldout)
        self._window_losses = torch.zeros_like(self._window_losses)
        if self.team.leads:
            self.journal.log_attributes(epoch, self.material.table.attributes, losses, self.weighting.weights().detach())

    def _progress(self, epoch: int, loss: float, took: float) -> Progress:
        total = self.config.optimiser.epochs * self.steps_per_epoch
        left = (total - self.position) * self.seconds / self.position
        return Progress(epoch, self.position, total, loss, self.config.optimiser.batch / took, left)

    def _log(self, epoch: int, **numbers: float) -> None:
        self.journal.log(epoch + 1, self.position, lr=self.learning_rate(), seconds=self.seconds, **numbers)

    # ---- keeping ------------------------------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write everything a resumed run needs, atomically; only the leading process writes."""
        if not self.team.leads:
            return
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
        tensors |= {f"weighting.{name}": tensor for name, tensor in self.weighting.state_dict().items()}
        tensors["window_losses"] = self._window_losses
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items() if value is not None}
        header = {"position": self.position, "seconds": self.seconds, "best": self._best, "waited": self._waited}
        self.journal.save(tensors, header)

    def _load_checkpoint(self) -> None:
        tensors, header = self.journal.load()
        self.network.load_state_dict(dict(under("network.", tensors)))
        for name, tensor in under("average.", tensors):
            self.average.tensors[name].copy_(tensor)
        weighting = dict(under("weighting.", tensors))
        if weighting:
            self.weighting.load_state_dict(weighting)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimiser.", tensors):
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self._window_losses = tensors.get("window_losses", self._window_losses)
        self.position, self.seconds = int(header["position"]), float(header["seconds"])
        self._best, self._waited = float(header.get("best", math.inf)), int(header.get("waited", 0))
        self.journal.forget_after(self.position)

    def _finish(self) -> Path:
        path = self.out / "model.safetensors"
        if self.team.leads:
            with self.average.inside(self.network) as network:
                save_network(path, network, self.config)
        return path
