"""Class activation maps, exact for a head of masked averages: the logit taken apart cell by cell.

    gate (N,K,H), weights -> signal at the tokens (N,A,D) -> per stage, at each cell (N,A,h,w) -> one grid, mean over
        cells + rest = logit

Between its ReLUs the head is linear once the spread of each layer norm is held, so a logit is a sum over cells plus a
rest that no cell owns (biases and shifts). Convention as in class-activation maps: logits per cell, their mean over the
grid plus the rest is the logit.
Source: class-activation maps (Zhou et al., CVPR 2016) carried back through the fusion; a norm's spread is held as in
Ali et al., ICML 2022 (arXiv 2202.07304). Ours, not MGMTN's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lineament.models.region_pooling import deal


def through_norm(signal: Tensor, norm: nn.LayerNorm, before: Tensor) -> Tensor:
    """Carry a signal (N,A,D) at a layer norm's output back to its input (N,A,D), the spread of that input `before`
    (N,A,D) held."""
    spread = torch.sqrt(before.var(-1, keepdim=True, unbiased=False) + norm.eps)
    scaled = signal * norm.weight / spread
    return scaled - scaled.mean(-1, keepdim=True)


def through_fusion(rows: Tensor, gate: Tensor, fuse: nn.Sequential) -> Tensor:
    """Carry head rows (A,H), with their group's open units gate (N,A,H), back through [linear, batch norm, ReLU] to its
    tokens (N,A,D)."""
    linear, norm = fuse[0], fuse[1]
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator, arg-type]
    return (rows * scale * gate) @ linear.weight  # type: ignore[operator]


def at_cells(signal: Tensor, feature: Tensor, share: Tensor | None) -> Tensor:
    """Return what each cell adds (N,A,h,w): signal (N,A,C) at a pooled feature, feature (N,C,h,w).

    Args: share (N,A,h,w): each cell's weight in the pooling, summing to 1; None for the plain mean.
    """
    n, c, h, w = feature.shape
    added = (signal @ feature.reshape(n, c, h * w)).reshape(n, -1, h, w)
    return added / (h * w) if share is None else added * share


def onto(grid: tuple[int, int], cells: Tensor) -> Tensor:
    """Return maps (N,A,h,w) on another grid, every cell's value dealt out by overlap: the sum stays."""
    rows, columns = (deal(int(now), then).to(cells) for now, then in zip(cells.shape[-2:], grid, strict=True))
    return rows @ cells @ columns.T


def total(parts: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Return the sum of cell maps of several stages on one grid, in logits per cell: times the number of cells."""
    return torch.stack([onto(grid, part) for part in parts]).sum(0) * (grid[0] * grid[1])
