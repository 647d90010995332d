"""What a training reads beside crops, computed once: soft masks by the region network, five points by the detector.

crops (N,3,218,178) -> regions.npy (N,8,55,45) uint8 (255 is 1.0)      crops -> landmarks.npy (N,5,2) float32 in 0..1 of the crop, NaN: none
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from lineament.data.regions import GROUPS
from lineament.models.region_unet import RegionUNet
from lineament.types import Faces

Crops = npt.NDArray[np.uint8]
REGION_HW = (55, 45)
_AT_ONCE = 32


def write_regions(crops: Crops, network: RegionUNet, path: str | os.PathLike[str], progress: Callable[[int], None] | None = None) -> Path:
    """Write the soft masks of all crops, shape (N,8,55,45) uint8; return the path. The file appears only once it is whole."""

    def masks(block: Crops) -> npt.NDArray[np.uint8]:
        rgb = torch.tensor(block).float() / 127.5 - 1.0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = network(rgb.contiguous(memory_format=torch.channels_last))
        small = F.interpolate(torch.sigmoid(logits.float()), size=REGION_HW, mode="bilinear", antialias=True, align_corners=False)
        return torch.round(small * 255).clamp(0, 255).to(torch.uint8).numpy()

    network.eval().to(memory_format=torch.channels_last)
    return _write(crops, path, (len(GROUPS), *REGION_HW), np.uint8, masks, progress)


def write_landmarks(
    crops: Crops, detect: Callable[[Crops], Faces], path: str | os.PathLike[str], progress: Callable[[int], None] | None = None
) -> Path:
    """Write five points per crop, (N,5,2) in 0..1; NaN where no face is found.

    Args: detect: (H,W,3) uint8 RGB -> Faces, e.g. `RetinaFace().detect`; of several faces the one nearest the crop's middle is taken.
    """

    def points(block: Crops) -> npt.NDArray[np.float32]:
        return np.stack([_central(detect(np.ascontiguousarray(crop.transpose(1, 2, 0))), crop.shape[1:]) for crop in block])

    return _write(crops, path, (5, 2), np.float32, points, progress)


def _central(faces: Faces, size: Sequence[int]) -> npt.NDArray[np.float32]:
    if len(faces) == 0:
        return np.full((5, 2), np.nan, np.float32)
    extent = np.array([size[1], size[0]], np.float32)
    away = np.linalg.norm(faces.keypoints.mean(1) - extent / 2, axis=1)
    return np.asarray(faces.keypoints[int(away.argmin())] / extent, np.float32)


def _write(
    crops: Crops,
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    kind: Any,
    compute: Callable[[Crops], npt.NDArray[Any]],
    progress: Callable[[int], None] | None,
) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(target.name + ".part")
    out = np.lib.format.open_memmap(aside, "w+", kind, (len(crops), *shape))
    for first in range(0, len(crops), _AT_ONCE):
        block = np.asarray(crops[first : first + _AT_ONCE])
        out[first : first + len(block)] = compute(block)
        if progress is not None:
            progress(first + len(block))
    out.flush()
    aside.replace(target)
    return target
