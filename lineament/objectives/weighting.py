"""Loss weights of attributes during training: one interface, five strategies.

    step:  weights() (A,) -> reduce(terms, known, weights) -> loss ;  update(losses (A,)) after every step
    window: end_window(train losses (A,), held-out losses (A,) or None); a window is an epoch or a part of one
        (`weighting.windows`)

Convention: weights (A,) are scaled to mean 1, then clamped to [`LEAST`, `MOST`] (so that clamped ones may have another
mean); a strategy that has seen too little answers all ones. A loss that is NaN is one of an attribute without any label
in the window: it says nothing. `state_dict` holds plain tensors, so a resumed run weighs as an uninterrupted one.
Held-out losses come from a slice of *train*: weighting on validation images would spend them. The weighted loss is a
mean over *attributes* (`losses.reduce`), so a group counts with as many as it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.errors import ConfigError

LEAST, MOST = 0.2, 5.0
_TINY = 1e-8


def clamp_mean_one(weights: Tensor) -> Tensor:
    """Return weights (A,) scaled to mean 1 and clamped to [LEAST, MOST]; all ones if any is not finite."""
    if not torch.isfinite(weights).all() or weights.sum() <= 0:
        return torch.ones_like(weights)
    return (weights / weights.mean()).clamp(LEAST, MOST)


class Weighting(nn.Module):
    """Uniform weights, and the interface of the others: override what a strategy learns from."""

    current: Tensor
    needs_heldout = False

    def __init__(self, attributes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.attributes, self.groups = tuple(attributes), {name: tuple(members) for name, members in groups.items()}
        self.register_buffer("current", torch.ones(len(self.attributes)))

    def weights(self) -> Tensor:
        """Return the weights (A,) of the next step."""
        return self.current

    def update(self, losses: Tensor) -> None:
        """Learn from a step's training losses (A,), detached. Nothing to learn for most strategies."""

    def end_window(self, train_losses: Tensor, heldout_losses: Tensor | None = None) -> None:
        """Learn from a window's mean losses (A,), NaN where no label was seen."""

    def penalty(self) -> Tensor:
        """Return a term to add to the loss, zero for most strategies."""
        return torch.zeros(())


class DynamicWeighting(Weighting):
    """DWS of FAR-AMTN: slow groups weigh more, and every group's loss is brought to one scale. Weights follow groups.

    Read in the paper: losses are weighted dynamically so that tasks converge together. Reconstructed here: the rule
    (papers.md 2.3), w_g = K softmax(r_g / T) with r_g = L_g(t-1) / L_g(t-2), times s_g = mean_h L_h(t-1) / L_g(t-1);
    ones for the first two windows (epochs in the notes; shorter ones where a run has few epochs). Unlike the notes'
    sum_g w_g s_g L_g, in which every group's mean loss counts once, each attribute carries its group's w_g s_g and all
    attributes count alike, so that Hair (10 of 40) outweighs Ear (1); all ones are then the baseline's own loss.
    `by_group` gives the sum of the notes: an attribute's weight is divided by the size of its group.
    Source: arXiv 2601.01537.
    """

    history: Tensor

    def __init__(
        self,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        temperature: float = 2.0,
        scale: bool = True,
        by_group: bool = False,
    ) -> None:
        super().__init__(attributes, groups)
        if temperature <= 0:
            raise ConfigError(f"weighting dws: temperature must be above 0, not {temperature}.")
        self.temperature, self.scale, self.by_group = temperature, scale, by_group
        self.columns = [[self.attributes.index(name) for name in members] for members in self.groups.values()]
        self.register_buffer("history", torch.zeros(0, len(self.columns)))
        if by_group:
            self.current = self._spread(torch.ones(len(self.columns)))

    def end_window(self, train_losses: Tensor, heldout_losses: Tensor | None = None) -> None:
        seen = torch.stack([train_losses[columns].nanmean() for columns in self.columns]).float().cpu()
        if torch.isnan(seen).any():  # no label of a whole group in this window: nothing to compare
            return
        self.history = torch.cat([self.history, seen.unsqueeze(0)])[-2:]
        if len(self.history) < 2:
            return
        before, last = self.history
        weights = len(last) * torch.softmax(last / (before + _TINY) / self.temperature, 0)
        if self.scale:
            weights = weights * last.mean() / (last + _TINY)
        self.current = clamp_mean_one(self._spread(weights))

    def _spread(self, by_group: Tensor) -> Tensor:
        out = torch.ones(len(self.attributes))
        for weight, columns in zip(by_group, self.columns, strict=True):
            out[columns] = weight / len(columns) if self.by_group else weight
        return out * (len(out) / len(self.columns)) if self.by_group else out

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        if f"{prefix}history" in state_dict:  # its length grows with the epochs seen
            self.history = torch.zeros_like(state_dict[f"{prefix}history"])
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ValidationTrend(Weighting):
    """Validation-loss trend: an attribute whose held-out loss still moves, and is high, weighs more.

    lambda = norm(|m_cur - m_prev| / m_cur) * norm(m_cur), normalised to mean 1. Read in the authors' Caffe layer and a
    PyTorch port (papers.md 3.4), where a window is k steps with a validation batch each; here it ends with a look at
    the held-out slice of train.
    Source: He et al., ACM MM 2017.
    """

    previous: Tensor
    needs_heldout = True

    def __init__(self, attributes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__(attributes, groups)
        self.register_buffer("previous", torch.full((len(self.attributes),), float("nan")))

    def end_window(self, train_losses: Tensor, heldout_losses: Tensor | None = None) -> None:
        if heldout_losses is None:
            raise ConfigError(f"{type(self).__name__} needs held-out losses: set data.holdout above 0.")
        now = heldout_losses.detach().float().cpu()
        both = torch.isfinite(self.previous) & torch.isfinite(
            now
        )  # an attribute without a held-out label keeps its weight
        if both.any():
            learned = self.current.clone()
            learned[both] = clamp_mean_one(self._rule(self.previous[both], now[both], self.current[both]))
            self.current = learned
        self.previous = torch.where(torch.isfinite(now), now, self.previous)

    def _rule(self, before: Tensor, now: Tensor, weights: Tensor) -> Tensor:
        """Return the new weights of attributes from their losses before and now, and the weights they have."""
        trend = (now - before).abs() / (now + _TINY)
        return trend / (trend.mean() + _TINY) * (now / (now.mean() + _TINY))


class DmmDynamic(ValidationTrend):
    """DMM-CNN's per-attribute dynamic weighting.

    Read in the paper: weights are set automatically, per attribute, during training. Reconstructed here: the rule of
    its public predecessor (`ValidationTrend`), smoothed over windows with `momentum`, since the paper's own equation
    was not readable.
    Source: arXiv 2002.03683.
    """

    def __init__(self, attributes: Sequence[str], groups: Mapping[str, Sequence[str]], momentum: float = 0.5) -> None:
        super().__init__(attributes, groups)
        if not 0 <= momentum < 1:
            raise ConfigError(f"weighting dmm: momentum must be from 0 to below 1, not {momentum}.")
        self.momentum = momentum

    def _rule(self, before: Tensor, now: Tensor, weights: Tensor) -> Tensor:
        return self.momentum * weights + (1 - self.momentum) * clamp_mean_one(super()._rule(before, now, weights))


class Uncertainty(Weighting):
    """Learned uncertainty: weights exp(-s) with a penalty s per attribute, s trained by gradient with the network.

    Convention: `parameters()` must join the optimiser. Weights are not rescaled: their scale is part of what is
    learned. s is bounded by log(MOST) through tanh, so easy attributes cannot run away and the gradient never dies.
    Source: Kendall et al., CVPR 2018 (arXiv 1705.07115), classification form.
    """

    def __init__(self, attributes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__(attributes, groups)
        self.log_variance = nn.Parameter(torch.zeros(len(self.attributes)))

    def _bounded(self) -> Tensor:
        limit = math.log(MOST)
        return limit * torch.tanh(self.log_variance / limit)

    def weights(self) -> Tensor:
        return torch.exp(-self._bounded())

    def penalty(self) -> Tensor:
        return 0.5 * self._bounded().mean()


STRATEGIES: Mapping[str, type[Weighting]] = {
    "uniform": Weighting, "dws": DynamicWeighting, "validation_trend": ValidationTrend, "dmm": DmmDynamic,
    "uncertainty": Uncertainty,
}  # fmt: skip


def create_weighting(
    name: str, attributes: Sequence[str], groups: Mapping[str, Sequence[str]], **options: float
) -> Weighting:
    """Return the strategy called `name`. Raises: ConfigError for an unknown name or option."""
    if name not in STRATEGIES:
        raise ConfigError(f"Unknown weighting {name!r}. Use one of: {', '.join(STRATEGIES)}.")
    try:
        return STRATEGIES[name](attributes, groups, **options)
    except TypeError as error:
        raise ConfigError(f"weighting {name}: {error}") from error
