"""Shared layers: the preprocessing inside the graph, the output type, the linear heads.

Convention: crops are uint8 (or float) RGB 0-255 (N,3,218,178) in CelebA's layout; `x` is what `Preprocess` makes of
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineament.geometry import CROP_SIZE


@dataclass
class TorchOutput:
    """A network's answer: logits (N,A) float32; optional region (N,M,h,w), the maps that explain it; optional landmarks
    (N,L,2) in 0..1 of `x`.

    branches (B,N,A): in training, the logits that each learn by themselves where `logits` is their mean; None where
    `logits` learns.
    features (N,D): in eval mode, what the trunk pooled of each face, for linear heads of other attributes; None where a
    network pools nothing.
    embedding (N,E,D): in training, features by which the identity-centred loss tells people apart
    (`objectives/identity.py`).
    """

    logits: Tensor
    region: Tensor | None = None
    landmarks: Tensor | None = None
    branches: Tensor | None = None
    features: Tensor | None = None
    embedding: Tensor | None = None


def taps(size: int, wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return how `wanted` places lie between `size` samples of a line: the sample below (wanted,) int64, the one above,
    how far (wanted,) in 0..1.

    Half-pixel centres, edges repeated.

    >>> [part.tolist() for part in taps(2, 4)]
    [[0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.25]]
    """
    place = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * size / wanted - 0.5).clamp(min=0)
    below = place.floor().long().clamp(max=size - 1)
    return below, (below + 1).clamp(max=size - 1), (place - below).float()


class Preprocess(nn.Module):
    """Resize and normalise crops, inside the graph, so that no caller can get it wrong.

    Args: size (h, w) of the network input; channels "RGB" or "BGR", the order the trunk was trained with; mean and std
    per channel *in that order*, on the 0-255 scale.

    `forward` is `resize` and `normalise` written for runtimes (a sixth of a MobileNet's time was spent in theirs):
    channels are put in order while they are bytes, rows are two copies and a weighted sum, columns a matrix product.
    Crops of any size but the contract's go the general way.
    """

    def __init__(self, size: tuple[int, int], channels: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size, self.channels = size, channels
        self.mean: Tensor
        self.std: Tensor
        self.channel_order: Tensor
        self.above: Tensor
        self.below: Tensor
        self.down: Tensor
        self.share: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "channel_order", torch.tensor([2, 1, 0] if channels == "BGR" else [0, 1, 2]), persistent=False
        )
        rows, columns = (taps(given, wanted) for given, wanted in zip(CROP_SIZE, size, strict=True))
        for name, tensor in zip(("above", "below", "down"), rows, strict=True):
            self.register_buffer(name, tensor, persistent=False)
        left, right, across = columns
        share = torch.zeros(CROP_SIZE[1], size[1])  # of each given column in each wanted one
        share.scatter_add_(0, left[None], 1 - across[None]).scatter_add_(0, right[None], across[None])
        self.register_buffer("share", share, persistent=False)

    def resize(self, crops: Tensor) -> Tensor:
        """Return float RGB 0-255 (N,3,h,w): bilinear, half-pixel centres, no antialiasing (scale is about 1)."""
        return F.interpolate(crops.float(), size=self.size, mode="bilinear", align_corners=False)

    def normalise(self, x: Tensor) -> Tensor:
        """Return (x in the trunk's channel order - mean) / std for float RGB 0-255 (N,3,h,w)."""
        if self.channels == "BGR":
            x = x.flip(1)
        return (x - self.mean) / self.std

    def forward(self, crops: Tensor) -> Tensor:
        if tuple(crops.shape[-2:]) != CROP_SIZE:
            return self.normalise(self.resize(crops))
        crops = crops.index_select(1, self.channel_order)  # (N,3,218,178), still bytes
        above, below = crops.index_select(2, self.above).float(), crops.index_select(2, self.below).float()
        x = above + (below - above) * self.down[:, None]  # (N,3,h,178)
        return ((x - self.mean) / self.std) @ self.share  # (N,3,h,w); shares sum to 1, so the scale may come first
