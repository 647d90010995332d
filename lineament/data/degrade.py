"""What ordinary photos do to faces, for training: cut off by the frame, few pixels, JPEG. Any device, batched, seeded
by the generator given.

    x (N,3,h,w) RGB 0-255 -> a share of the images each: one side repeated outwards -> fewer pixels and back -> 8x8
        cosine blocks rounded

CelebA's crops are whole, sharp and hand-clicked; users' faces come through a detector, small, compressed, cut by the
frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.config import AugmentConfig

CUT_MOST = 0.25
"""Largest part of a side that the frame cuts off."""
SHRINK_MOST = 4.0
"""Largest factor by which an image is seen smaller; factors are drawn evenly in their logarithm."""
QUALITIES = (25, 95)
"""JPEG qualities, drawn evenly."""

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *(99,) * 32,
)  # fmt: skip
_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


def degrade(x: Tensor, settings: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return the batch with what `settings.cut`, `.resolution` and `.jpeg` ask for done to that share of its images;
    itself where none is asked."""
    n = len(x)
    if settings.cut:
        use, side, depth = torch.rand(3, n, generator=generator)
        x = cut(x, (4 * side).long().clamp(max=3), torch.where(use < settings.cut, CUT_MOST * depth, torch.zeros(n)))
    if settings.resolution:
        use, how = torch.rand(2, n, generator=generator)
        x = shrink(x, torch.where(use < settings.resolution, SHRINK_MOST**how, torch.ones(n)))
    if settings.jpeg:
        use, how = torch.rand(2, n, generator=generator)
        low, high = QUALITIES
        chosen = torch.nonzero(use < settings.jpeg)[:, 0]
        if len(chosen):
            x = x.clone()
            x[chosen.to(x.device)] = jpeg(x[chosen.to(x.device)], (low + (high - low) * how[chosen]).round())
    return x


def cut(x: Tensor, side: Tensor, share: Tensor) -> Tensor:
    """Return images one side of which is the repeated edge of what is left, as alignment fills what lies outside a
    photo.

    Args: side (N,) 0 top, 1 bottom, 2 left, 3 right; share (N,) in 0..1 of that extent, 0 for none.
    """
    h, w = int(x.shape[2]), int(x.shape[3])
    low, high = share * 1.0, 1 - share
    rows = _clamped(
        h, torch.where(side == 0, low, torch.zeros_like(low)), torch.where(side == 1, high, torch.ones_like(high))
    )
    columns = _clamped(
        w, torch.where(side == 2, low, torch.zeros_like(low)), torch.where(side == 3, high, torch.ones_like(high))
    )
    x = x.gather(2, rows.to(x.device)[:, None, :, None].expand(-1, x.shape[1], -1, w))
    return x.gather(3, columns.to(x.device)[:, None, None, :].expand(-1, x.shape[1], h, -1))


def _clamped(size: int, low: Tensor, high: Tensor) -> Tensor:
    """Return the sample (N,size) shown at each place when what lies before `low` or after `high` (N,), shares of the
    line, is not there."""
    first = (low * size).floor().long().clamp(0, size - 1)[:, None]
    last = ((high * size).ceil().long() - 1).clamp(0, size - 1)[:, None]
    return torch.arange(size).expand(len(low), -1).clamp(min=0).maximum(first).minimum(torch.maximum(last, first))


def shrink(x: Tensor, factor: Tensor) -> Tensor:
    """Return images seen through fewer pixels: averaged down by `factor` (N,) >= 1 and brought back bilinearly; 1
    leaves an image as it is."""
    out, (h, w) = x.clone(), (int(x.shape[2]), int(x.shape[3]))
    for i, by in enumerate(factor.tolist()):
        if by > 1:
            small = (max(1, round(h / by)), max(1, round(w / by)))
            low = F.interpolate(x[i : i + 1], size=small, mode="bilinear", antialias=True, align_corners=False)
            out[i] = F.interpolate(low, size=(h, w), mode="bilinear", align_corners=False)[0]
    return out


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """Return images (N,3,h,w) RGB 0-255 as a baseline JPEG of `quality` (N,) 1..100 gives them back, colour at half
    size (4:2:0).

    Source: ITU-T T.81, annexes A and K, and libjpeg's scaling of its tables by quality; entropy coding loses nothing
    and is left out.
    """
    h, w = int(x.shape[2]), int(x.shape[3])
    wide = F.pad(x.float(), (0, -w % 16, 0, -h % 16), mode="replicate")
    matrix = torch.tensor(_YCBCR).to(wide)
    planes = torch.einsum("ij,njhw->nihw", matrix, wide) - torch.tensor([128.0, 0.0, 0.0]).to(wide).view(1, 3, 1, 1)
    scale = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality).to(wide).view(-1, 1, 1)
    luma = _rounded(planes[:, :1], scale, _LUMA)
    colour = _rounded(F.avg_pool2d(planes[:, 1:], 2), scale, _CHROMA)
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    whole = torch.cat([luma + 128.0, colour], 1)
    back = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix.double()).to(wide), whole)
    return back.clamp(0, 255).round()[:, :, :h, :w].to(x.dtype)


def _rounded(planes: Tensor, scale: Tensor, table: tuple[int, ...]) -> Tensor:
    """Return planes (N,C,h,w) after their 8x8 cosine coefficients were rounded to multiples of the scaled table's
    entries."""
    n, c, h, w = planes.shape
    steps = (
        ((torch.tensor(table).to(planes).view(1, 8, 8) * scale + 50) / 100).floor().clamp(1, 255).view(n, 1, 1, 1, 8, 8)
    )
    place = torch.arange(8, dtype=torch.float64)
    cosine = torch.cos((2 * place[None] + 1) * place[:, None] * math.pi / 16) / 2
    cosine[0] /= math.sqrt(2)
    transform = cosine.to(planes)  # (frequency, place), orthonormal
    blocks = planes.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    kept = (transform @ blocks @ transform.T / steps).round() * steps
    return (transform.T @ kept @ transform).transpose(3, 4).reshape(n, c, h, w)
