"""Adaptive thresholds inside training: DMM-CNN's rule, one round at every look at the held-out slice.

    probs, targets, known (N,A) -> FP, FN (A,) at the present thresholds -> tau (A,) moved towards FP = FN

Convention: prob >= tau is a yes. They decide labels only, never the loss. Fitted on a slice of train, whose class rates
are not those of other splits: fixed 0.5 is always reported beside them.
Source: DMM-CNN, arXiv 2002.03683: that there are adaptive thresholds per attribute was read; what moves them, the
formula, its step and its limits are reconstructed, as in `evaluation/thresholds.py`, which applies the rule to finished
predictions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEP, LIMITS, ROUNDS_TO_HALF = 0.02, (0.1, 0.9), 5


class AdaptiveThresholds(nn.Module):
    """tau (A,), from 0.5; `rounds` counts looks, and every fifth halves the step."""

    tau: Tensor
    rounds: Tensor

    def __init__(self, attributes: int) -> None:
        super().__init__()
        self.register_buffer("tau", torch.full((attributes,), 0.5, dtype=torch.float64))
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def look(self, probs: Tensor, targets: Tensor, known: Tensor) -> None:
        """Do one round: tau + step (FP - FN) / (FP + FN), within the limits."""
        yes, truth, known = probs.double().cpu() >= self.tau.cpu(), targets.cpu() > 0.5, known.cpu()
        false_yes, false_no = (yes & ~truth & known).sum(0), (~yes & truth & known).sum(0)
        step = STEP * 0.5 ** (int(self.rounds) // ROUNDS_TO_HALF)
        moved = self.tau.cpu() + step * (false_yes - false_no) / (false_yes + false_no + 1e-9)
        self.tau.copy_(moved.clamp(*LIMITS))
        self.rounds += 1
