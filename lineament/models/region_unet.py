"""The region network of MGMTN's Adaptive Mask Learning (AML): a U-Net with one head per group.

    x (N,3,h,w) -> RGB in -1..1 -> shrunk by `reduce` -> U-Net -> logits (N,K,h/reduce,w/reduce) -> sigmoid: region

| paper symbol | our name |
|---|---|
| P_j, mask of group j | `region[:, j]` |
| K groups | `len(groups)` |

Source: MGMTN, arXiv 2601.01408 (Gao et al., 2026).
Read in the paper (through its reviews): a fully convolutional UNet with one prediction head per group, each a binary
mask at input size, seen as pixel-wise binary classification; keypoints make its labels and are not needed at inference.
Reconstructed here: depth and widths (32 to 512), the heads as one 1x1 convolution, BCE + soft Dice. The CPU-scale net
(`LIGHT`) is ours: it reads the crop at half size, at most 1 M parameters and 0.3 GMAC. Ours too, at either scale: no
facial part is answered in the top sixth of a crop, where only hair and background lie (`_without_parts_on_top`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineament.errors import ConfigError
from lineament.geometry import CROP_SIZE
from lineament.models.layers import Preprocess

PAPER_WIDTHS = (32, 64, 128, 256, 512)
LIGHT_WIDTHS = (16, 32, 64, 96, 160)
TOY_WIDTHS = (4, 8, 8)
UPPER_GROUPS = ("Hair", "Object")
SURELY_NOT = -12.0


def _conv(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


def _separable(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False),
        nn.Conv2d(cin, cout, 1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(True),
    )


class RegionUNet(nn.Module):
    """A U-Net with K one-channel heads. `light` halves the work: one convolution at full size and per decoder level, a
    separable last one.

    Args: groups: names of the K heads; widths: channels per level; reduce: the input is averaged down by this factor
        first.
    """

    def __init__(
        self, groups: Sequence[str], widths: Sequence[int] = LIGHT_WIDTHS, *, light: bool = True, reduce: int = 2
    ) -> None:
        super().__init__()
        self.groups, self.reduce, self.light = tuple(groups), reduce, light
        ins = (3, *widths[:-1])
        self.down = nn.ModuleList(
            _conv(cin, cout) if light and level == 0 else nn.Sequential(_conv(cin, cout), _conv(cout, cout))
            for level, (cin, cout) in enumerate(zip(ins, widths, strict=True))
        )
        self.up = nn.ModuleList(self._decoder(level, widths) for level in reversed(range(len(widths) - 1)))
        self.heads = nn.Conv2d(widths[0], len(self.groups), 1)

    def _decoder(self, level: int, widths: Sequence[int]) -> nn.Module:
        cin, cout = widths[level] + widths[level + 1], widths[level]
        if not self.light:
            return nn.Sequential(_conv(cin, cout), _conv(cout, cout))
        return _separable(cin, cout) if level == 0 else _conv(cin, cout)

    def forward(self, rgb: Tensor) -> Tensor:
        """Return logits (N,K,h/reduce,w/reduce) for RGB in -1..1 (N,3,h,w), an aligned crop or a window cut out of
        one."""
        y = F.avg_pool2d(rgb, self.reduce) if self.reduce > 1 else rgb
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            y = block(y if level == 0 else F.max_pool2d(y, 2))
            skips.append(y)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            y = F.interpolate(y, size=skip.shape[-2:], mode="nearest")
            y = block(torch.cat([y, skip], dim=1))
        return self._without_parts_on_top(self.heads(y))

    def _without_parts_on_top(self, logits: Tensor) -> Tensor:
        """Answer "no" for facial parts in the top sixth, where an aligned crop has only hair and background, and no
        training mask reaches."""
        height = int(logits.shape[2])
        top = (torch.arange(height, device=logits.device) < height // 6).view(1, 1, height, 1)
        part = torch.tensor([name not in UPPER_GROUPS for name in self.groups], device=logits.device).view(1, -1, 1, 1)
        return torch.where(top & part, torch.full_like(logits, SURELY_NOT), logits)


def region_unet(groups: Sequence[str], scale: str = "cpu") -> RegionUNet:
    """Return the region network at `paper` scale (widths 32..512, full size), `cpu` scale (at most 1 M parameters and
    0.3 GMAC) or `toy`.

    Raises: ConfigError for another scale.
    """
    if scale == "paper":
        return RegionUNet(groups, PAPER_WIDTHS, light=False, reduce=1)
    if scale not in ("cpu", "toy"):
        raise ConfigError(f"Unknown region scale {scale!r}. Use paper, cpu or toy.")
    return RegionUNet(groups) if scale == "cpu" else RegionUNet(groups, TOY_WIDTHS, reduce=4)


def rgb_of(x: Tensor, preprocess: Preprocess) -> Tensor:
    """Return RGB in -1..1 at the aligned crop's own scale for a normalised network input `x`, undoing the trunk's
    normalisation and resizing.

    Convention: the whole input of `preprocess.size` becomes 218x178; a window cut out of it (training) becomes that
    part of 218x178.
    """
    rgb = x * preprocess.std + preprocess.mean
    if preprocess.channels == "BGR":
        rgb = rgb.flip(1)
    size = tuple(
        max(1, round(int(now) * own / full))
        for now, own, full in zip(x.shape[-2:], CROP_SIZE, preprocess.size, strict=True)
    )
    if size != tuple(x.shape[-2:]):
        rgb = F.interpolate(rgb, size=size, mode="bilinear", align_corners=False)
    return rgb / 127.5 - 1.0


def region_terms(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return the loss of each group (K,): BCE + soft Dice over known pixels; a group without a known pixel gives
    exactly zero.

    Args: logits, target, known: (N,K,h,w), known in {0,1}.
    Source: reconstructed (papers.md says "BCE + soft Dice, mean over groups").
    """
    weight = known.to(logits.dtype)
    count = weight.sum((0, 2, 3))
    bce = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum((0, 2, 3)) / count.clamp(
        min=1.0
    )
    prob = torch.sigmoid(logits) * weight
    both = (prob * target).sum((0, 2, 3))
    dice = 1.0 - (2.0 * both + 1.0) / (prob.sum((0, 2, 3)) + (target * weight).sum((0, 2, 3)) + 1.0)
    return torch.where(count > 0, bce + dice, torch.zeros_like(bce))
