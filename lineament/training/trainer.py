"""The training loop: one journey, one function.

    crops uint8 -> resized x -> augmented x -> logits -> terms -> loss -> weights, averaged weights
    (B,3,218,178)  (B,3,H,W)    (B,3,h,w)     (B,A)     (B,A)    ()

Order, augmentation and dropout of step t depend only on (seed, t): a run killed at any moment and resumed repeats the
uninterrupted one.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lineament.config import TrainConfig
from lineament.data.loader import balancing, batches, epoch_order, split_by_identity
from lineament.data.transforms import Frame, augment
from lineament.errors import ConfigError, DataError, DivergedError, LineamentError, UsageError
from lineament.models.build import build_network
from lineament.models.checkpoint import begin, save_network
from lineament.models.layers import TorchOutput
from lineament.objectives.distill import taught
from lineament.objectives.losses import create_loss, masked_terms, per_attribute, positive_rates, reduce
from lineament.objectives.weighting import create_weighting
from lineament.training.checkpoint_state import facts_of, gather, restore
from lineament.training.dataset import Batch, Material, check_fit, load_material
from lineament.training.distributed import join
from lineament.training.heldout import HeldOut, Patience, WindowLosses, measure_held_out
from lineament.training.optimise import Average, create_optimiser, descend, learning_rate
from lineament.training.prefetch import ahead
from lineament.training.prepare.steps import Preparation, Teller
from lineament.training.run_folder import CHECKPOINT, Journal
from lineament.training.side_terms import SideTerms

Rows = npt.NDArray[np.intp]
_STEP_SEEDS = 1_000_003  # a prime, so that (seed, step) pairs do not meet
_LOG_EVERY = 20


@dataclass(frozen=True)
class Preparing:
    """How a run's own preparation goes: whether trunk weights may be fetched, and who is told."""

    allow_download: bool = False
    teller: Teller = field(default_factory=Teller)


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

    Args: config; out: run folder; resume: continue the run in `out` if there is one; start: trained weights (name, run
    folder or file) whose matching tensors the network begins with (`not_copied` names the rest), in place of the
    config's `model.start`; preparing: what the config reads and is not there yet is made first, see
    `training/prepare/steps.py`.

    Raises: ConfigError, DataError, ModelFileError, ResumeError, each naming the fix.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: str | os.PathLike[str],
        *,
        resume: bool = False,
        start: str | None = None,
        preparing: Preparing | None = None,
    ) -> None:
        if start is not None:
            config = replace(config, model=replace(config.model, start=start))
        self.config, self.out, settings = config, Path(out), config.optimiser
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(config.seed)
        self.team = join(settings.device)
        self.device = self.team.device(settings.device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.tf32
        self._prepare(preparing or Preparing(), continues=resume and (self.out / CHECKPOINT).is_file())
        self.material: Material = load_material(self.config)
        table = self.material.table
        self._build(resume=resume)
        self.train_rows, self.holdout_rows = split_by_identity(table, config.data.holdout, config.seed)
        self.steps_per_epoch = len(self.train_rows) // settings.batch
        if self.steps_per_epoch == 0:
            raise UsageError(
                f"{len(self.train_rows)} training images do not fill one batch of {settings.batch}. Lower "
                "optimiser.batch."
            )
        self.weighting = create_weighting(
            config.weighting.name, table.attributes, self.network.groups, **config.weighting.options
        )
        if self.weighting.needs_heldout and not len(self.holdout_rows):
            raise ConfigError(
                f"weighting {config.weighting.name} learns from held-out losses: set data.holdout above 0."
            )
        self.team.average_gradients(self.weighting)
        known = torch.from_numpy(table.known[self.train_rows])
        rates = positive_rates(torch.from_numpy(table.targets[self.train_rows].astype(np.float32)), known)
        self.loss = create_loss(config.loss.name, rates, **config.loss.options)
        self.side = SideTerms(config.loss, table, self.network, self.team)
        self.optimiser = create_optimiser(self.network, self.weighting, settings)
        self.average = Average(self.network, settings.ema)
        self.parallel_network = self.team.wrap(self.network)
        self.scaler = torch.amp.GradScaler(self.device.type) if settings.precision == "fp16" else None
        self.position, self.seconds, self.stopping = 0, 0.0, False
        self.window, self.patience = WindowLosses(len(table.attributes), self.device), Patience(settings.patience)
        self.journal = Journal(
            self.out, config, facts_of(config, table, len(self.train_rows)), resume=resume, team=self.team
        )
        self.journal.keep_copy("teacher.json", self.material.teacher_facts)
        if self.journal.continues:
            restore(self, *self.journal.load())
            self.journal.forget_after(self.position, self.position / self.steps_per_epoch)

    def _prepare(self, preparing: Preparing, *, continues: bool) -> None:
        """Make what the config reads and is not there yet: once, by the leading process, while the others wait.

        Raises: as `Preparation.run`; DataError in the processes that waited in vain.
        """
        failed: LineamentError | None = None
        if self.team.leads:
            config = (
                replace(self.config, model=replace(self.config.model, start=None, weights=None))
                if continues
                else self.config
            )
            try:
                Preparation(config, str(self.device), preparing.allow_download, preparing.teller).run()
            except LineamentError as error:
                failed = error
        if self.team.any(failed is not None):
            raise failed or DataError("The first process could not prepare the data; its message says why.")

    def _build(self, *, resume: bool) -> None:
        """Build the network, and copy what it starts from unless a checkpoint is about to be read."""
        table, start = self.material.table, self.config.model.start
        network: Any = build_network(self.config.model, table.attributes, random_trunk=start is not None)
        self.network: Any = network.to(self.device)
        continues = resume and (self.out / CHECKPOINT).is_file()
        self.not_copied = [] if start is None or continues else begin(self.network, start)
        if not continues and hasattr(self.network, "check_start"):
            self.network.check_start(self.not_copied if start is not None else None)
        check_fit(self.material, self.network, self.config)
        self.network.to(memory_format=torch.channels_last)

    # ---- the sentence

    def step(self, rows: Rows, batch: Batch | None = None) -> float:
        """Do one optimisation step on the images `rows`; return its loss, NaN where it was not read
        (`optimiser.read_every`).

        Args: batch: this process's share of `rows` as `Material.batch` gives it, where it was read ahead.
        Raises: DivergedError if the loss is not finite: before the weights move where every loss is read, else at the
            next reading.
        """
        settings = self.config.optimiser
        losses, values = self._losses(rows, batch), list[float]()
        if settings.read_every == 1:  # each is looked at before it moves a weight
            losses = (loss for loss in losses if values.append(self._finite(loss)) is None)  # type: ignore[func-returns-value]
        loss = descend(losses, self.optimiser, self.learning_rate(), settings.clip_norm, self.scaler)  # ()
        self.average.update(self.network, self.position)
        if settings.read_every == 1:
            return sum(values)
        return self._finite(loss) if (self.position + 1) % settings.read_every == 0 else math.nan

    def _finite(self, loss: Tensor) -> float:
        """Return the loss as a number. Raises: DivergedError if it is none; looking waits for the device."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss is {value} at step {self.position + 1}, at a rate of {self.learning_rate():.3g}. Lower "
                "optimiser.lr or set "
                f"optimiser.clip_norm, and train into another --out; {self.out} keeps what was saved before."
            )
        return value

    def _losses(self, rows: Rows, batch: Batch | None) -> Iterator[Tensor]:
        """Yield the losses () of a batch's parts (`optimiser.accumulate`), which sum to the batch's."""
        parts, generator = self.config.optimiser.accumulate, self._seeded()
        if parts == 1:
            yield self.loss_of(rows, batch, generator)
            return
        for number, part in enumerate(np.array_split(rows, parts)):
            last = number == parts - 1
            with nullcontext() if last or self.team.size == 1 else self.parallel_network.no_sync():  # type: ignore[operator]
                yield self.loss_of(part, None, generator) * (len(part) / len(rows))

    def loss_of(self, rows: Rows, batch: Batch | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss () of the images `rows` as the next step sees them: this process's share of them, augmented
        on the device."""
        preprocess, generator = self.network.preprocess, generator or self._seeded()
        batch = (batch or self._read(rows)).to(self.device)
        frame = Frame(preprocess.resize(batch.crops), self._region(batch), batch.landmarks)  # (B,3,H,W)
        frame = augment(frame, self.config.augment, generator)  # (B,3,h,w)
        x = preprocess.normalise(frame.x).contiguous(memory_format=torch.channels_last)  # (B,3,h,w)
        with self._precision():
            output: TorchOutput = self.parallel_network(x, region=frame.region)
        return self._objective(output, batch, frame)

    def _read(self, rows: Rows) -> Batch:
        """Read this process's share of a batch."""
        return self.material.batch(self.team.share(rows))

    def stop(self) -> None:
        """Ask `run` to end after the step it is in: everything is saved then, and a resumed run goes on as if nothing
        had been."""
        self.stopping = True

    def run(self, watch: Callable[[Progress], None] | None = None) -> Path:
        """Train to the end (or until the held-out loss has not fallen for `patience` epochs); return the path of the
        averaged weights.

        Raises: KeyboardInterrupt, everything saved, after `stop()`; DivergedError.
        """
        self._last_saved = time.monotonic()
        self.network.train()
        for epoch in range(self.position // self.steps_per_epoch, self.config.optimiser.epochs):
            if self.patience.ended:
                break
            order = batches(self.order(epoch), self.config.optimiser.batch, self.position % self.steps_per_epoch)
            for rows, batch in ahead(self._read, order, self.config.optimiser.prefetch, pin=self.device.type == "cuda"):
                self._advance(epoch, rows, watch, batch if self.config.optimiser.accumulate == 1 else None)
                if self.position % self.steps_per_epoch:
                    self._keep(stopped=self.team.any(self.stopping))
            self._end_epoch(epoch)
        return self._finish()

    def _advance(
        self, epoch: int, rows: Rows, watch: Callable[[Progress], None] | None, batch: Batch | None = None
    ) -> None:
        """Do one step and what belongs to it."""
        began = time.monotonic()
        loss = self.step(rows, batch)
        took = time.monotonic() - began
        self.position, self.seconds = self.position + 1, self.seconds + took
        if self._window_ends():
            self._learn_weights(self._held_out() if self.weighting.needs_heldout else None)
        if self.position % _LOG_EVERY == 0:
            self._log(epoch, loss=loss, images_per_s=len(rows) / took)
        if watch:
            watch(self._progress(epoch, loss, took))

    def _keep(self, *, stopped: bool) -> None:
        """Save within an epoch when it is time. Never at its last step: a resumed run would leave out what ends an
        epoch."""
        if stopped or time.monotonic() - self._last_saved > 60 * self.config.optimiser.checkpoint_minutes:
            self.save_checkpoint()
        if stopped:
            raise KeyboardInterrupt

    # ---- parts of a step

    def order(self, epoch: int) -> Rows:
        """Return the order in which an epoch sees the training rows."""
        weight, blocks = balancing(self.material.table, self.train_rows, self.config.data.balance), self.material.blocks
        return epoch_order(
            self.train_rows,
            self.config.seed,
            epoch,
            weight=weight,
            blocks=None if blocks is None else blocks[self.train_rows],
        )

    def learning_rate(self) -> float:
        """Return the rate of the current step."""
        return learning_rate(self.config.optimiser, self.position, self.config.optimiser.epochs * self.steps_per_epoch)

    def _seeded(self) -> torch.Generator:
        seed = (self.config.seed * _STEP_SEEDS + self.position) * self.team.size + self.team.rank
        torch.manual_seed(seed)  # dropout
        return torch.Generator().manual_seed(seed)

    def _precision(self) -> Any:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.optimiser.precision)
        return nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind)

    def _region(self, batch: Batch) -> Tensor | None:
        """Return the masks that move with the images: cached ones, or those a network holds for every face."""
        fixed = getattr(self.network, "whole_frame_region", None)
        if batch.region is not None or fixed is None:
            return batch.region
        masks: Tensor | None = fixed(len(batch.crops))
        return None if masks is None else masks.to(self.device)

    def _objective(self, output: TorchOutput, batch: Batch, frame: Frame) -> Tensor:
        targets, known = taught(
            batch.targets, batch.known, batch.teacher, self.config.loss.distill, self.config.loss.teacher_fills_unknown
        )
        answers = [output.logits] if output.branches is None else list(output.branches)
        terms = torch.stack([masked_terms(self.loss, logits.float(), targets, known) for logits in answers]).mean(
            0
        )  # (B,A)
        self.window.add(terms.detach(), known)
        self.weighting.update(per_attribute(terms.detach(), known))
        loss = reduce(terms, known, self.weighting.weights().to(self.device)) + self.weighting.penalty()
        return loss + self.side(output, batch, frame)  # type: ignore[no-any-return]

    # ---- looking

    @torch.no_grad()
    def predict(self, rows: Rows) -> Tensor:
        """Return the logits (N,A) of the averaged network on whole, unaugmented images."""
        logits = [torch.zeros(0, len(self.material.table.attributes))]
        with self.average.inside(self.network), self._precision():
            for first in range(0, len(rows), 64):
                batch = self.material.batch(rows[first : first + 64])
                x = self.network.preprocess(batch.crops.to(self.device)).contiguous(memory_format=torch.channels_last)
                region = None if batch.region is None else batch.region.to(self.device)
                logits.append(self.network(x, region=region).logits.float().cpu())
        return torch.cat(logits)

    def _held_out(self) -> HeldOut | None:
        """Look at the slice of train that is held out; None where nothing is."""
        if not len(self.holdout_rows):
            return None
        table, rows, logits = self.material.table, self.holdout_rows, self.predict(self.holdout_rows)
        self.side.look(logits, torch.from_numpy(table.targets[rows]), torch.from_numpy(table.known[rows]))
        return measure_held_out(self.loss, logits, table, rows, self.team)

    def _end_epoch(self, epoch: int) -> None:
        """Look, weigh, log, save; then stop where that was asked for in its last step."""
        seen = self._held_out()
        self._learn_weights(seen)
        self._log(epoch, **({} if seen is None else {"holdout_loss": seen.loss, "holdout_accuracy": seen.accuracy}))
        if self.team.leads:
            with self.average.inside(self.network) as network:
                save_network(
                    self.out / f"epoch_{epoch + 1}.safetensors",
                    network,
                    self.config,
                    facts=self.side.facts(self.material.table),
                )
        self.patience.see(math.inf if seen is None else seen.loss, epoch + 1)
        self.save_checkpoint()
        if self.team.any(self.stopping) and epoch + 1 < self.config.optimiser.epochs and not self.patience.ended:
            raise KeyboardInterrupt

    def _window_ends(self) -> bool:
        """Whether the weighting learns now, within an epoch; the last window ends with the epoch."""
        into, windows = self.position % self.steps_per_epoch, self.config.weighting.windows
        return into in {self.steps_per_epoch * k // windows for k in range(1, windows)}

    def _learn_weights(self, seen: HeldOut | None) -> None:
        """End a window: the weighting learns from its mean losses (A,), and the journal keeps them."""
        losses, epoch = self.window.close(self.team), self.position / self.steps_per_epoch
        self.weighting.end_window(losses, None if seen is None else seen.losses)
        self.journal.log_attributes(epoch, self.material.table.attributes, losses, self.weighting.weights().detach())

    def _progress(self, epoch: int, loss: float, took: float) -> Progress:
        total = self.config.optimiser.epochs * self.steps_per_epoch
        left = (total - self.position) * self.seconds / self.position
        return Progress(epoch, self.position, total, loss, self.config.optimiser.batch / took, left)

    def _log(self, epoch: int, **numbers: float) -> None:
        self.journal.log(epoch + 1, self.position, lr=self.learning_rate(), seconds=self.seconds, **numbers)

    # ---- keeping

    def save_checkpoint(self) -> None:
        """Write everything a resumed run needs, atomically; only the leading process writes."""
        self.journal.save(*gather(self))
        self._last_saved = time.monotonic()

    def _finish(self) -> Path:
        """Write the averaged weights: those of the best epoch where the run has patience, else the last."""
        path, best = self.out / "model.safetensors", self.patience.best_epoch
        if self.team.leads and self.patience.most is not None and best:
            shutil.copyfile(self.out / f"epoch_{best}.safetensors", path)
        elif self.team.leads:
            with self.average.inside(self.network) as network:
                save_network(path, network, self.config, facts=self.side.facts(self.material.table))
        return path
