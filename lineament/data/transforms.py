"""Augmentation of a batch in the network's frame: image, regions and landmarks move together, on whatever device they
lie.

    degrade -> one window: crop, turn, scale, shift -> mirror -> brightness, contrast, erase

Convention: x (N,3,h,w) float RGB 0-255 *before* normalisation; region (N,K,h',w') any resolution of the same frame;
landmarks (N,L,2) in 0..1 of the frame, x right, y down. A mirror swaps the subject's left and right: points change
places by `data/mirror.py`; groups are symmetric. All randomness comes from the generator given, so a resumed run
repeats an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.config import AugmentConfig
from lineament.data.degrade import degrade
from lineament.data.mirror import MIRROR
from lineament.geometry import CROP_SIZE


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
    chosen = chosen.to(frame.x.device)
    pick = chosen.view(-1, 1, 1, 1)
    x = torch.where(pick, frame.x.flip(-1), frame.x)
    region = None if frame.region is None else torch.where(pick, frame.region.flip(-1), frame.region)
    landmarks = frame.landmarks
    if landmarks is not None:
        if landmarks.shape[1] not in MIRROR:
            raise ValueError(
                f"No mirror table for {landmarks.shape[1]} landmarks; {', '.join(map(str, MIRROR))} are known."
            )
        swapped = landmarks[:, list(MIRROR[landmarks.shape[1]])]
        swapped = torch.stack([1 - swapped[..., 0], swapped[..., 1]], -1)
        landmarks = torch.where(chosen.view(-1, 1, 1), swapped, landmarks)
    return Frame(x, region, landmarks)


def crop(frame: Frame, size: tuple[int, int], top: Tensor, left: Tensor) -> Frame:
    """Cut size (h, w) at top (N,), left (N,) out of each image; regions are resampled to the same window, landmarks
    re-expressed in it."""
    (h, w), (full_h, full_w) = size, frame.x.shape[-2:]
    x = torch.stack(
        [image[:, t : t + h, s : s + w] for image, t, s in zip(frame.x, top.tolist(), left.tolist(), strict=True)]
    )
    middle = torch.stack([left + w / 2, top + h / 2], 1)
    to_source = torch.eye(2).expand(len(x), 2, 2)
    return Frame(x, *_moved(frame, size, middle.to(x), to_source.to(x), (full_h, full_w)))


def warp(frame: Frame, size: tuple[int, int], middle: Tensor, turn: Tensor, scale: Tensor) -> Frame:
    """Look at each image through a window of size (h, w) that is turned and scaled: the face turns the other way, and
    grows by `scale`.

    Args: middle (N,2): where in the image, (x, y) in its pixels, the window's middle lies; turn (N,): degrees by which
    the face turns clockwise as seen; scale (N,): its size afterwards, 1 as it was. Both act on the aligned crop, not on
    a network's input of another shape.
    Convention: pixel centres at +0.5; outside the image its edge is repeated, as alignment does.
    """
    x, (full_h, full_w) = frame.x, frame.x.shape[-2:]
    angle = torch.deg2rad(turn.to(x))
    c, s = torch.cos(angle), torch.sin(angle)
    # From a step in the window to a step in the image: the face's motion undone. Input pixels are crop pixels stretched
    # by `stretch`.
    undo = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1) / scale.to(x).view(-1, 1, 1)
    stretch = torch.tensor([full_w / CROP_SIZE[1], full_h / CROP_SIZE[0]]).to(x)
    to_source = stretch.view(1, 2, 1) * undo / stretch.view(1, 1, 2)
    theta = _theta(to_source, middle.to(x), size, (full_h, full_w))
    grid = F.affine_grid(theta, [len(x), 3, *size], align_corners=False)
    seen = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return Frame(seen, *_moved(frame, size, middle.to(x), to_source, (full_h, full_w)))


def _theta(to_source: Tensor, middle: Tensor, size: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Return theta (N,2,3) of `affine_grid`: window pixels about its middle -> image pixels, in its -1..1 coordinates
    of both."""
    half = torch.tensor([size[1] / 2, size[0] / 2]).to(to_source)
    whole = torch.tensor([full[1] / 2, full[0] / 2]).to(to_source)
    linear = to_source * half.view(1, 1, 2) / whole.view(1, 2, 1)
    return torch.cat([linear, (middle / whole - 1).unsqueeze(2)], 2)


def _moved(
    frame: Frame, size: tuple[int, int], middle: Tensor, to_source: Tensor, full: tuple[int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Return regions and landmarks of the window (h, w) whose pixel p shows image pixel middle + to_source (p - (w, h)
    / 2)."""
    region, landmarks = frame.region, frame.landmarks
    if region is not None:
        grid = F.affine_grid(_theta(to_source, middle, size, full).to(region), list(region.shape), align_corners=False)
        region = F.grid_sample(region, grid, padding_mode="border", align_corners=False)
    if landmarks is not None:
        steps = landmarks * torch.tensor([full[1], full[0]]).to(landmarks) - middle.to(landmarks).unsqueeze(1)
        placed = steps @ torch.linalg.inv(to_source.to(landmarks)).transpose(1, 2)
        landmarks = placed / torch.tensor([size[1], size[0]]).to(landmarks) + 0.5
    return region, landmarks


def _scaled(x: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    return (1 + spread * (2 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1)).to(x.device)


def augment(frame: Frame, settings: AugmentConfig, generator: torch.Generator) -> Frame:
    """Return the batch as ordinary photos show it, cropped at random places, faces moved, half mirrored, light varied:
    as `settings` say."""
    frame = replace(frame, x=degrade(frame.x, settings, generator))
    n, _, full_h, full_w = frame.x.shape
    h, w = settings.crop or (full_h, full_w)
    top = torch.randint(full_h - h + 1, (n,), generator=generator) if settings.crop else torch.zeros(n)
    left = torch.randint(full_w - w + 1, (n,), generator=generator) if settings.crop else torch.zeros(n)
    if settings.turn or settings.scale or settings.shift:
        draws = 2 * torch.rand(n, 4, generator=generator) - 1
        shift = settings.shift * draws[:, 2:] * torch.tensor([full_w, full_h])
        middle = torch.stack([left + w / 2, top + h / 2], 1) - shift
        frame = warp(frame, (h, w), middle, settings.turn * draws[:, 0], (1 + settings.scale) ** draws[:, 1])
    elif settings.crop is not None:
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
