"""Augmentation of a batch in the network's frame: image, regions and landmarks move together.

Convention: x (N,3,h,w) float RGB 0-255 *before* normalisation; region (N,K,h',w') any resolution of the same frame; landmarks (N,L,2) in 0..1
of the frame, x right, y down. A mirror swaps the subject's left and right: points change places by `data/mirror.py`; groups are symmetric.
All randomness comes from the generator given, so a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.config import AugmentConfig
from lineament.data.mirror import MIRROR


@dataclass(frozen=True)
class Frame:
    """A batch in one frame."""

    x: Tensor
    region: Tensor | None = None
    landmarks: Tensor | None = None


def mirror(frame: Frame, chosen: Tensor) -> Frame:
    """Mirror the images where chosen (N,) bool is true; twice is identity.

    Raises: ValueError for a number of landmarks whose mirror table is not known (5, 68, 98 and 468 are).
    """
    pick = chosen.view(-1, 1, 1, 1)
    x = torch.where(pick, frame.x.flip(-1), frame.x)
    region = None if frame.region is None else torch.where(pick, frame.region.flip(-1), frame.region)
    landmarks = frame.landmarks
    if landmarks is not None:
        if landmarks.shape[1] not in MIRROR:
            raise ValueError(f"No mirror table for {landmarks.shape[1]} landmarks; {', '.join(map(str, MIRROR))} are known.")
        swapped = landmarks[:, list(MIRROR[landmarks.shape[1]])]
        swapped = torch.stack([1 - swapped[..., 0], swapped[..., 1]], -1)
        landmarks = torch.where(chosen.view(-1, 1, 1), swapped, landmarks)
    return Frame(x, region, landmarks)


def crop(frame: Frame, size: tuple[int, int], top: Tensor, left: Tensor) -> Frame:
    """Cut size (h, w) at top (N,), left (N,) out of each image; regions are resampled to the same window, landmarks re-expressed in it."""
    (h, w), (full_h, full_w) = size, frame.x.shape[-2:]
    x = torch.stack([image[:, t : t + h, s : s + w] for image, t, s in zip(frame.x, top.tolist(), left.tolist(), strict=True)])
    region, landmarks = frame.region, frame.landmarks
    if region is not None:
        scale = torch.tensor([w / full_w, h / full_h])
        offset = torch.stack([(2 * left + w) / full_w - 1, (2 * top + h) / full_h - 1], 1)
        theta = torch.cat([torch.diag(scale).expand(len(x), 2, 2), offset.unsqueeze(-1).float()], 2)
        grid = F.affine_grid(theta, list(region.shape), align_corners=False)
        region = F.grid_sample(region, grid, padding_mode="border", align_corners=False)
    if landmarks is not None:
        origin = torch.stack([left, top], 1).unsqueeze(1)
        landmarks = (landmarks * torch.tensor([full_w, full_h]) - origin) / torch.tensor([w, h])
    return Frame(x, region, landmarks)


def _scaled(x: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    return 1 + spread * (2 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1)


def augment(frame: Frame, settings: AugmentConfig, generator: torch.Generator) -> Frame:
    """Return the batch cropped at random places, half of it mirrored, brightness and contrast varied, patches erased: as `settings` say."""
    n, _, full_h, full_w = frame.x.shape
    if settings.crop is not None:
        h, w = settings.crop
        top = torch.randint(full_h - h + 1, (n,), generator=generator)
        left = torch.randint(full_w - w + 1, (n,), generator=generator)
        frame = crop(frame, (h, w), top, left)
    if settings.flip:
        frame = mirror(frame, torch.rand(n, generator=generator) < 0.5)
    x = frame.x
    if settings.brightness:
        x = x * _scaled(x, settings.brightness, generator)
    if settings.contrast:
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (x - mean) * _scaled(x, settings.contrast, generator)
    if settings.erase:
        x = _erase(x, settings.erase, generator)
    return replace(frame, x=x)


def _erase(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Fill a random rectangle (10 to 35 % of each side) with mid-grey in a `share` of the images."""
    x = x.clone()
    n, _, h, w = x.shape
    draws = torch.rand(n, 5, generator=generator).tolist()
    for i, (use, height, width, top, left) in enumerate(draws):
        if use < share:
            eh, ew = int(h * (0.1 + 0.25 * height)), int(w * (0.1 + 0.25 * width))
            t, s = int(top * (h - eh)), int(left * (w - ew))
            x[i, :, t : t + eh, s : s + ew] = 127.5
    return x
