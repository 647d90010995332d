"""Classification losses: per-attribute terms (N,A), masked by `known`; one place reduces them.

Convention: logits (N,A) raw, never squashed; targets (N,A) in 0..1 (soft targets allowed); known (N,A) bool. An unknown
label contributes exactly zero to value and gradient, whatever stands in `targets` there, NaN included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N,A), targets (N,A)) -> terms (N,A), before masking."""

_LEAST_RATE = 1e-3


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy of each answer (N,A)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def weighted_bce(logits: Tensor, targets: Tensor, rates: Tensor, power: float = 0.5) -> Tensor:
    """Return cross-entropy with positives and negatives of an attribute weighted against its imbalance.

    Args: rates (A,): positive rate of each attribute; power: 1 balances both classes' weight fully, 0 is plain `bce`.
    Convention: the weights (2(1-r))^power, (2r)^power are 1 at r = 0.5, so an attribute's scale stays comparable.
    """
    r = rates.to(logits).clamp(_LEAST_RATE, 1 - _LEAST_RATE)
    positive, negative = (2 * (1 - r)) ** power, (2 * r) ** power
    return bce(logits, targets) * (targets * positive + (1 - targets) * negative)


def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the focal loss (1-p_t)^gamma * bce (N,A); gamma 0 is `bce`.

    Source: Lin et al., ICCV 2017 (arXiv 1708.02002), without the class weight alpha (that is `weighted_bce`).
    """
    prob = torch.sigmoid(logits)
    miss = targets * (1 - prob) + (1 - targets) * prob
    return miss**gamma * bce(logits, targets)


def logit_adjusted(logits: Tensor, targets: Tensor, rates: Tensor, tau: float = 1.0) -> Tensor:
    """Return cross-entropy on logits shifted by tau * log(r / (1-r)): the network learns what the prior does not tell.

    Source: Menon et al., ICLR 2021 (arXiv 2007.07314), its loss form, for two classes. At tau 1 the threshold 0.5 of
    the *unshifted* logits targets balanced error, not accuracy.
    """
    r = rates.to(logits).clamp(_LEAST_RATE, 1 - _LEAST_RATE)
    return bce(logits + tau * torch.logit(r), targets)


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (tanh(z/2) - (2t-1))^2 (N,A): Euclidean regression on targets of +-1, as DMM-CNN's predecessor does.

    Convention: tanh(z/2) = 2 sigmoid(z) - 1, so the sigmoid of the same logits stays the probability.
    Source: QIE code (papers.md 3.3) regresses raw outputs; the squashing is ours, so that every loss here speaks of the
    same logits.
    """
    return (torch.tanh(logits / 2) - (2 * targets - 1)) ** 2


LOSSES = ("bce", "weighted_bce", "focal", "logit_adjusted", "squared_error")
NEEDS_RATES = ("weighted_bce", "logit_adjusted")


def create_loss(name: str, rates: Tensor | Sequence[float] | None = None, **options: float) -> Loss:
    """Return the loss called `name`.

    Args: rates (A,): positive rate of each attribute among known training labels, for the losses that correct
    imbalance; options: `power` (weighted_bce), `gamma` (focal), `tau` (logit_adjusted).
    Raises: ConfigError for an unknown name or option, or missing rates.
    """
    known_options = {"weighted_bce": {"power"}, "focal": {"gamma"}, "logit_adjusted": {"tau"}}.get(name, set())
    if name not in LOSSES:
        raise ConfigError(f"Unknown loss {name!r}. Use one of: {', '.join(LOSSES)}.")
    if set(options) - known_options:
        raise ConfigError(
            f"loss {name} has no option {sorted(set(options) - known_options)[0]!r}. Known: "
            f"{sorted(known_options) or 'none'}."
        )
    if name in NEEDS_RATES:
        if rates is None:
            raise ConfigError(
                f"loss {name} needs the positive rate of each attribute: create_loss({name!r}, rates=...)."
            )
        given = torch.as_tensor(rates, dtype=torch.float32)
        corrected: Callable[..., Tensor] = weighted_bce if name == "weighted_bce" else logit_adjusted
        return partial(corrected, rates=given, **options)
    plain: dict[str, Callable[..., Tensor]] = {"bce": bce, "focal": focal, "squared_error": squared_error}
    return partial(plain[name], **options) if options else plain[name]


def positive_rates(targets: Tensor, known: Tensor) -> Tensor:
    """Return the positive rate of each attribute among its known labels (A,); 0.5 where none is known."""
    count = known.sum(0)
    rate = torch.where(known, targets, torch.zeros_like(targets)).sum(0) / count.clamp(min=1)
    return torch.where(count > 0, rate, torch.full_like(rate, 0.5))


def masked_terms(loss: Loss, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return the terms (N,A) of `loss`, exactly zero in value and gradient where a label is unknown.

    Convention: unknown places are given a harmless target and logit *before* the loss, so not even 0 * NaN can leak.
    """
    terms = loss(
        torch.where(known, logits, torch.zeros_like(logits)), torch.where(known, targets, torch.zeros_like(targets))
    )
    return torch.where(known, terms, torch.zeros_like(terms))


def per_attribute(terms: Tensor, known: Tensor) -> Tensor:
    """Return the mean term of each attribute over its known labels, (A,); 0 where none is known."""
    counted = torch.where(known, terms, torch.zeros_like(terms)).sum(0)
    return counted / known.sum(0).clamp(min=1)


def reduce(terms: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Return the scalar to minimise: the weighted mean over attributes of their mean terms. The one place that reduces.

    Args: terms (N,A); known (N,A) bool; weights (A,), mean 1 by convention.
    """
    return (per_attribute(terms, known) * weights).mean()
