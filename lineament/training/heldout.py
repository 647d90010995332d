"""Held-out measurements between steps: losses of a window of training, losses and accuracy on the slice of train held
out, patience."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lineament.data.labelled import LabelledFiles
from lineament.objectives.losses import Loss, masked_terms, per_attribute
from lineament.training.distributed import Team


class WindowLosses:
    """Each attribute's mean training loss since the last window ended: `table` (2,A) holds sums over known labels and
    how many there were."""

    def __init__(self, attributes: int, device: torch.device) -> None:
        self.table = torch.zeros(2, attributes, device=device)

    def add(self, terms: Tensor, known: Tensor) -> None:
        """Take in a step's terms (B,A), zero where a label is not known (B,A)."""
        self.table += torch.stack([terms.sum(0), known.sum(0)])

    def close(self, team: Team) -> Tensor:
        """Return the means (A,) over all processes, NaN for an attribute of which no label was seen; begin the next
        window."""
        sums, counts = team.summed(self.table.cpu())
        means = torch.as_tensor(sums / counts)
        self.table.zero_()  # only now: in one process `sums` is a part of it
        return means


@dataclass(frozen=True)
class HeldOut:
    """losses (A,), NaN where an attribute has no known label; accuracy at 0.5 over all known ones."""

    losses: Tensor
    accuracy: float

    @property
    def loss(self) -> float:
        return float(self.losses.nanmean())


def measure_held_out(
    loss: Loss, logits: Tensor, table: LabelledFiles, rows: npt.NDArray[np.intp], team: Team
) -> HeldOut:
    """Return what logits (N,A) on `rows` are worth; every process is told the leader's numbers, so that all decide
    alike."""
    targets = torch.from_numpy(table.targets[rows].astype(np.float32))
    known = torch.from_numpy(table.known[rows])
    losses = per_attribute(masked_terms(loss, logits, targets, known), known)
    losses[~known.any(0)] = math.nan
    right = ((logits >= 0) == (targets > 0.5)) & known
    told = team.told(torch.cat([losses, (right.sum() / known.sum()).reshape(1).to(losses)]))
    return HeldOut(told[:-1], float(told[-1]))


@dataclass
class Patience:
    """Counts epochs in which the held-out loss did not fall; `ended` after `most` of them, never for None. `best_epoch`
    is 0 before any."""

    most: int | None
    best: float = math.inf
    waited: int = 0
    best_epoch: int = 0

    def see(self, loss: float, epoch: int) -> None:
        """Take in the held-out loss after `epoch` epochs (infinite: none was measured)."""
        if loss < self.best:
            self.best, self.best_epoch, self.waited = loss, epoch, 0
        else:
            self.waited += 1

    @property
    def ended(self) -> bool:
        return self.most is not None and self.waited >= self.most
