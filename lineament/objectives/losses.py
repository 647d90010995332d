"""Classification losses: per-attribute terms (N,A), masked by `known`; one place reduces them.

Convention: logits (N,A) raw, never squashed; targets (N,A) in 0..1; known (N,A) bool. An unknown label contributes exactly zero to value and
gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lineament.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N,A), targets (N,A)) -> terms (N,A), before masking."""


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy of each answer (N,A)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def create_loss(name: str, **options: object) -> Loss:
    """Return the loss called `name`. Raises: ConfigError for an unknown name."""
    losses: dict[str, Loss] = {"bce": bce}
    if name not in losses:
        raise ConfigError(f"Unknown loss {name!r}. Use one of: {', '.join(losses)}.")
    return losses[name]


def per_attribute(terms: Tensor, known: Tensor) -> Tensor:
    """Return the mean term of each attribute over its known labels, (A,); 0 where none is known."""
    counted = torch.where(known, terms, torch.zeros_like(terms)).sum(0)
    return counted / known.sum(0).clamp(min=1)


def reduce(terms: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Return the scalar to minimise: the weighted mean over attributes of their mean terms. The one place that reduces.

    Args: terms (N,A); known (N,A) bool; weights (A,), mean 1 by convention.
    """
    return (per_attribute(terms, known) * weights).mean()
