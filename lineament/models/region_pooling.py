"""From region masks to one feature per group and stage: masks brought to the stage's grid, and the average over them.

    masks (N,K,H,W) -> R masks C^T (N,K,h,w) -> shares (N,K,h,w), summing to 1 -> shares F (N,K,C)

R (h,H) and C (w,W) are constants of the two grids, so a runtime computes them once and multiplies twice. A cell of the
stage's grid becomes the mean of the mask over what that cell covers: a part keeps its area on every grid, however small
it is. Sampled at points instead (`bilinear`, as weights trained before did), a nose of two cells falls between the
samples of an 8x6 grid and is gone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MASK_RESIZES = ("area", "bilinear")


def deal(now: int, then: int) -> Tensor:
    """Return the shares (then, now) of `now` equal parts of a line that fall into each of `then` equal parts; columns
    sum to 1.

    >>> deal(2, 4).tolist()
    [[0.5, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 0.5]]
    """
    ends = [[min((i + 1) / then, (j + 1) / now) - max(i / then, j / now) for j in range(now)] for i in range(then)]
    return torch.tensor([[max(0.0, length) * now for length in row] for row in ends])


def by_area(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return masks (N,K,H,W) on `grid` (h, w), float32: the mean over what each cell covers, so that the mean over the
    whole map stays.

    Exact for any two grids, finer ones included; float32 under autocast too, where rounding would move areas.
    """
    given, device = (int(masks.shape[2]), int(masks.shape[3])), masks.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return by_area(masks, grid)
    rows, columns = (deal(now, then).to(masks.device) * (then / now) for now, then in zip(given, grid, strict=True))
    return rows @ masks.float() @ columns.T


def on_grid(masks: Tensor, feature: Tensor, how: str = "area") -> Tensor:
    """Return masks (N,K,H,W) on the grid of a feature (N,C,h,w): by `area`, or sampled at the cells' centres
    (`bilinear`)."""
    grid = (int(feature.shape[2]), int(feature.shape[3]))
    return (
        by_area(masks, grid) if how == "area" else F.interpolate(masks, size=grid, mode="bilinear", align_corners=False)
    )


def pooling_shares(masks: Tensor, *, plain: bool = False, floor: float = 0.0) -> Tensor:
    """Return each cell's weight in the average over its region (N,K,h,w), float32.

    Args: masks (N,K,h,w); plain: divide by the map's area (GAP of the masked features) in place of the region's own, so
        the scale follows the area; floor: l cells' worth of the whole map mixed in, (m + l / hw) / (sum m + l), so that
        a part that is not there falls back to the whole in place of the tails of a sigmoid. Without it (0) an empty
        region's average is zero. `plain` has no use for it.
    """
    masks, cells = masks.float(), masks.shape[2] * masks.shape[3]
    if plain:
        return masks / cells
    if floor == 0:
        return masks / (masks.sum((2, 3), keepdim=True) + 1e-6)
    return (masks + floor / cells) / (masks.sum((2, 3), keepdim=True) + floor)


def masked_average(feature: Tensor, masks: Tensor, *, plain: bool = False, floor: float = 0.0) -> Tensor:
    """Return the features of each region, averaged: (N,K,C) from feature (N,C,h,w) and masks (N,K,h,w) or (1,K,h,w).

    With a floor l this is (sum m F + l mean F) / (sum m + l). Args: plain, floor as in `pooling_shares`.
    """
    cells = feature.permute(0, 2, 3, 1).flatten(
        1, 2
    )  # (N,hw,C): as runtimes keep it in memory, so that nothing is moved
    return pooling_shares(masks, plain=plain, floor=floor).flatten(2).to(feature.dtype) @ cells
