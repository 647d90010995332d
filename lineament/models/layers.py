"""Pieces that every network shares: the preprocessing inside the graph, the output type, the linear heads.

Convention: crops are uint8 (or float) RGB 0-255 (N,3,218,178) in CelebA's layout; `x` is what `Preprocess` makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class TorchOutput:
    """A network's answer: logits (N,A) float32; optional region (N,M,h,w), the maps that explain it; optional landmarks (N,L,2) in 0..1 of `x`."""

    logits: Tensor
    region: Tensor | None = None
    landmarks: Tensor | None = None


class Preprocess(nn.Module):
    """Resize and normalise crops, inside the graph, so that no caller can get it wrong.

    Args: size (h, w) of the network input; channels "RGB" or "BGR", the order the trunk was trained with; mean and std per channel
    *in that order*, on the 0-255 scale.
    """

    def __init__(self, size: tuple[int, int], channels: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size, self.channels = size, channels
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def resize(self, crops: Tensor) -> Tensor:
        """Return float RGB 0-255 (N,3,h,w). The one place of bilinear resizing; half-pixel centres, no antialiasing (scale is about 1)."""
        return F.interpolate(crops.float(), size=self.size, mode="bilinear", align_corners=False)

    def normalise(self, x: Tensor) -> Tensor:
        """Return (x in the trunk's channel order - mean) / std for float RGB 0-255 (N,3,h,w)."""
        if self.channels == "BGR":
            x = x.flip(1)
        return (x - self.mean) / self.std

    def forward(self, crops: Tensor) -> Tensor:
        return self.normalise(self.resize(crops))


def pooling_shares(masks: Tensor, *, plain: bool = False) -> Tensor:
    """Return each cell's weight in the average over its region (N,K,h,w), float32.

    Args: masks (N,K,h,w); plain: divide by the map's area (GAP of the masked features) in place of the region's own, so the scale follows the area.
    """
    area = masks.shape[2] * masks.shape[3] if plain else masks.float().sum((2, 3), keepdim=True) + 1e-6
    return masks.float() / area


def masked_average(feature: Tensor, masks: Tensor, *, plain: bool = False) -> Tensor:
    """Return the features of each region, averaged: (N,K,C) from feature (N,C,h,w) and masks (N,K,h,w) or (1,K,h,w); plain as in `pooling_shares`."""
    return pooling_shares(masks, plain=plain).flatten(2).to(feature.dtype) @ feature.flatten(2).transpose(1, 2)
