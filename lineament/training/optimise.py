"""Optimisation: parameter groups, learning rate, gradient step, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import TracebackType

import torch
from torch import Tensor, nn

from lineament.config import OptimiserConfig


def learning_rate(settings: OptimiserConfig, step: int, total: int) -> float:
    """Return the rate of step `step` of `total`: linear warm-up, then cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.lr * warm * 0.5 * (1 + math.cos(math.pi * step / total))


def create_optimiser(network: nn.Module, weighting: nn.Module, settings: OptimiserConfig) -> torch.optim.Optimizer:
    """Return AdamW or SGD over trunk and head, the head at `head_lr_factor` times the rate; norms and biases are not
    pulled to zero."""
    trunk: list[nn.Parameter] = []
    head = list(weighting.parameters())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (trunk if "backbone" in name.split(".") else head).append(parameter)
    groups = []
    for parameters, factor in ((trunk, 1.0), (head, settings.head_lr_factor)):
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            if chosen:
                groups.append(
                    {"params": chosen, "factor": factor, "weight_decay": settings.weight_decay if decays else 0.0}
                )
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=settings.lr)


def descend(
    losses: Iterable[Tensor],
    optimiser: torch.optim.Optimizer,
    rate: float,
    clip_norm: float,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """Do one gradient step at `rate` (times each group's factor) down the sum of losses (); return that sum, detached,
    on its device.

    Args: losses: those of a batch's parts, each computed when it is asked for; clip_norm: clip the gradient's norm
        where above 0; scaler: for fp16.
    Convention: nothing here waits for the device, but a scaler, which looks whether a gradient overflowed.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    optimiser.zero_grad(set_to_none=True)
    whole: Tensor | None = None
    for loss in losses:
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        whole = loss.detach() if whole is None else whole + loss.detach()
    assert whole is not None
    if clip_norm:
        if scaler is not None:
            scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip_norm)
    if scaler is None:
        optimiser.step()
    else:
        scaler.step(optimiser)
        scaler.update()
    return whole


class Average:
    """Exponential moving average of a network's weights; `with average.inside(network)` evaluates with it."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step `step`. A young average forgets fast, so that the first steps do not linger in
        it."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)

    def inside(self, network: nn.Module) -> Inside:
        """Return a context in which `network` holds the averaged weights, in eval mode."""
        return Inside(network, self.tensors)


class Inside:
    """The network with other weights inside, in eval mode; its own come back on exit."""

    def __init__(self, network: nn.Module, tensors: dict[str, Tensor]) -> None:
        self._network, self._tensors = network, tensors

    def __enter__(self) -> nn.Module:
        self._kept = {name: tensor.clone() for name, tensor in self._network.state_dict().items()}
        self._network.load_state_dict(self._tensors)
        return self._network.eval()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._network.load_state_dict(self._kept)
        self._network.train()
