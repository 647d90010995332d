"""Pieces that every network shares: the preprocessing inside the graph, the output type, the linear heads.

Convention: crops are uint8 (or float) RGB 0-255 (N,3,218,178) in CelebA's layout; `x` is what `Preprocess` makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name every torch reader knows)


@dataclass
class TorchOutput:
    """What a network returns: logits (N,A) float32; optional region (N,K,h,w) in 0..1; optional landmarks (N,L,2) in 0..1 of `x`."""

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


class Deployed(nn.Module):
    """A network with its preprocessing in front: uint8 crops (N,3,218,178) -> logits (N,A). What is exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        preprocess: Preprocess = self.network.preprocess  # type: ignore[assignment]
        output: TorchOutput = self.network(preprocess(crops))
        return output.logits
