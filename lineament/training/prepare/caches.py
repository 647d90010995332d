"""Caches beside the crops, computed once: masks by the region network or from key points, five points by the release or
the detector, 468 by a mesh.

crops (N,3,218,178) -> regions.npy (N,8,55,45) uint8 (255 is 1.0)      crops -> landmarks.npy (N,L,2) float32 in 0..1 of
the crop, NaN: none
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional as F

from lineament.data.block_file import Progress, npy_header, write_blocks
from lineament.data.regions import GROUPS, region_from_landmarks
from lineament.detection.sessions import CpuSession
from lineament.models.region_unet import RegionUNet
from lineament.types import Faces

CropPixels = npt.NDArray[np.uint8]
REGION_HW = (55, 45)
MESH_FILE = Path(__file__).resolve().parents[2] / "weights" / "mesh.onnx"
MESH_WINDOW, MESH_SIDE = (45, 9, 160), 192
"""Top, left and side of the square of an aligned crop that holds the face as the mesh wants it, and the side of its
input."""
_AT_ONCE = 32


def write_regions(
    crops: CropPixels,
    network: RegionUNet,
    path: str | os.PathLike[str],
    progress: Progress | None = None,
    device: str = "cpu",
) -> Path:
    """Write the soft masks of all crops, shape (N,8,55,45) uint8; return the path. The file appears only once it is
    whole; a part that another network left is begun anew.

    Args: device: where the network runs, in bfloat16 under that device's autocast.
    """
    weights = sha256()
    for name, tensor in network.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())

    def masks(block: CropPixels) -> npt.NDArray[np.uint8]:
        rgb = torch.tensor(block).to(device).float() / 127.5 - 1.0
        with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16):
            logits = network(rgb.contiguous(memory_format=torch.channels_last))
        return np.asarray(_small(torch.sigmoid(logits.float())).cpu().numpy())

    network.eval().to(torch.device(device)).to(memory_format=torch.channels_last)
    return _write(crops, path, (len(GROUPS), *REGION_HW), np.uint8, masks, progress, weights.hexdigest())


def write_landmarks(
    crops: CropPixels,
    detect: Callable[[CropPixels], Faces],
    path: str | os.PathLike[str],
    progress: Progress | None = None,
) -> Path:
    """Write five points per crop, (N,5,2) in 0..1; NaN where no face is found.

    Args: detect: (H,W,3) uint8 RGB -> Faces, e.g. `RetinaFace().detect`; of several faces the one nearest the crop's
        middle is taken.
    """

    def points(block: CropPixels) -> npt.NDArray[np.float32]:
        return np.stack(
            [_central(detect(np.ascontiguousarray(crop.transpose(1, 2, 0))), crop.shape[1:]) for crop in block]
        )

    return _write(crops, path, (5, 2), np.float32, points, progress)


def write_release_landmarks(points: npt.NDArray[np.float32], path: str | os.PathLike[str]) -> Path:
    """Write the points (N,5,2) that a release lists, as `data.celeba_landmarks` reads them."""
    write_blocks(
        Path(path),
        points.shape,
        np.float32,
        lambda first, end: points[first:end],
        header=npy_header(points.shape, np.float32),
        at_once=4096,
    )
    return Path(path)


def mesh_view(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what the mesh looks at in an aligned crop (3,218,178): its square (192,192,3)."""
    top, left, side = MESH_WINDOW
    return np.asarray(
        Image.fromarray(crop.transpose(1, 2, 0)[top : top + side, left : left + side]).resize((MESH_SIDE, MESH_SIDE))
    )


class MeshPoints:
    """Reads the 468 points of MediaPipe's face mesh from aligned crops; the package holds its ONNX file.

    Source: MediaPipe Face Mesh (Google, Apache-2.0; Kartynnik et al. 2019, arXiv 1907.06724), `face_landmark.tflite`
    converted.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, threads: int | None = 1) -> None:
        self._session = CpuSession(MESH_FILE if path is None else Path(path), threads)

    def __call__(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the points (468,2) of a crop (3,218,178), in its pixels."""
        top, left, side = MESH_WINDOW
        found = self._session.run(["points"], {"image": mesh_view(crop)[None]})[0]
        return np.asarray(found[:, :2] * (side / MESH_SIDE) + [left, top], np.float32)


def write_mesh_landmarks(
    crops: CropPixels,
    mesh: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    path: str | os.PathLike[str],
    progress: Progress | None = None,
) -> Path:
    """Write 468 points per crop, (N,468,2) in 0..1. Args: mesh: crop (3,H,W) -> points (468,2) in its pixels, e.g.
    `MeshPoints`."""

    def points(block: CropPixels) -> npt.NDArray[np.float32]:
        return np.stack([mesh(crop) / [crop.shape[2], crop.shape[1]] for crop in block]).astype(np.float32)

    return _write(crops, path, (468, 2), np.float32, points, progress)


def write_keypoint_regions(
    crops: CropPixels,
    annotate: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    path: str | os.PathLike[str],
    progress: Progress | None = None,
) -> Path:
    """Write masks drawn from each crop's own key points, (N,8,55,45) uint8: MGMTN's labels themselves, where its
    network predicts them.

    Args: annotate: crop (3,H,W) -> landmarks (L,2) in its pixels, L as `data/regions.py` takes them. Polygons are those
        of the `paper` style.
    """

    def masks(block: CropPixels) -> npt.NDArray[np.uint8]:
        drawn = np.stack([region_from_landmarks(annotate(crop), (crop.shape[1], crop.shape[2]))[0] for crop in block])
        return _small(torch.from_numpy(drawn).float()).numpy()

    return _write(crops, path, (len(GROUPS), *REGION_HW), np.uint8, masks, progress)


def write_mean_regions(crops: CropPixels, learned: npt.NDArray[np.uint8], path: str | os.PathLike[str]) -> Path:
    """Write the mean of the learned masks (M,8,55,45) of some images for every crop: fixed masks as soft and as narrow
    as the learned ones."""
    mean = np.round(learned.mean(0, dtype=np.float64)).astype(np.uint8)
    return _write(
        crops, path, mean.shape, np.uint8, lambda block: np.broadcast_to(mean, (len(block), *mean.shape)), None
    )


def _small(masks: torch.Tensor) -> torch.Tensor:
    """Return masks (B,K,h,w) in 0..1 at the size they are kept in, as bytes."""
    small = F.interpolate(masks, size=REGION_HW, mode="bilinear", antialias=True, align_corners=False)
    return torch.round(small * 255).clamp(0, 255).to(torch.uint8)


def _central(faces: Faces, size: Sequence[int]) -> npt.NDArray[np.float32]:
    if len(faces) == 0:
        return np.full((5, 2), np.nan, np.float32)
    extent = np.array([size[1], size[0]], np.float32)
    away = np.linalg.norm(faces.keypoints.mean(1) - extent / 2, axis=1)
    return np.asarray(faces.keypoints[int(away.argmin())] / extent, np.float32)


def _write(
    crops: CropPixels,
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    kind: Any,
    compute: Callable[[CropPixels], npt.NDArray[Any]],
    progress: Progress | None,
    recipe: str = "",
) -> Path:
    """Write what `compute` makes of blocks of crops, as NumPy's own file; an interrupted call is gone on with."""
    whole = (len(crops), *shape)
    write_blocks(
        Path(path), whole, kind, lambda first, end: compute(np.asarray(crops[first:end])),
        header=npy_header(whole, kind), at_once=_AT_ONCE, recipe=recipe, progress=progress,
    )  # fmt: skip
    return Path(path)
