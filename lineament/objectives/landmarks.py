"""The landmark loss of DMM-CNN: squared error in crop coordinates, masked by known faces."""

from __future__ import annotations

import torch
from torch import Tensor


def landmark_terms(predicted: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean squared error of each face (N,), exactly zero where its landmarks are unknown.

    Args: predicted, targets (N,L,2) in 0..1 of the frame; known (N,) bool, default: faces whose targets hold no NaN.
    Source: DMM-CNN, arXiv 2002.03683; MSE is reconstructed. In 0..1 it is small: a head that misses by 2 % of the crop has a loss of 1.5e-4 beside
    an attribute's 0.2, so a weight (`loss.landmark`) of 0.5 leaves the trunk to the attributes. Near 50 the two weigh alike, which costs accuracy
    (docs/benchmarks/systems.md, `dmm-cnn-landmarks-strong`).
    """
    seen = ~torch.isnan(targets).flatten(1).any(1) if known is None else known
    safe = torch.where(seen.view(-1, 1, 1), targets, torch.zeros_like(targets))
    given = torch.where(seen.view(-1, 1, 1), predicted, torch.zeros_like(predicted))
    return ((given - safe) ** 2).mean((1, 2))


def landmark_loss(predicted: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean over faces with known landmarks, (); 0 without one."""
    seen = ~torch.isnan(targets).flatten(1).any(1) if known is None else known
    return landmark_terms(predicted, targets, seen).sum() / seen.sum().clamp(min=1)
