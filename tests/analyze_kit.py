"""Shared by the tests of the pipeline and the commands: a folder of photos, a detector that needs no weights, a loaded
toy model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lineament.api import Model, make_settings
from lineament.pipeline.analyze import Settings
from lineament.runtime.registry import load_network
from lineament.types import Faces


@dataclass(frozen=True)
class MarkedFaces:
    """Finds a face wherever a 4x4 block of pure magenta stands: the block's corner says where, its grid cell nothing.
    Exact, weightless."""

    id: str = "marked"

    def detect(self, pixels: Any) -> Faces:
        ys, xs = np.nonzero((pixels == (255, 0, 255)).all(axis=2))
        corners = sorted({(int(x) - int(x) % 4, int(y) - int(y) % 4) for x, y in zip(xs, ys, strict=True)})
        if not corners:
            return Faces.empty()
        points = np.array([[8, 12], [24, 12], [16, 20], [10, 28], [22, 28]], np.float32)
        sizes = np.array([1 + 0.1 * index for index in range(len(corners))], np.float32)
        origins = np.array(corners, np.float32)
        keypoints = origins[:, None] + points * sizes[:, None, None]
        boxes = np.concatenate([origins, origins + np.array([32, 40], np.float32) * sizes[:, None]], axis=1)
        probs = np.linspace(0.9, 0.95, len(corners), dtype=np.float32)
        return Faces(boxes, probs, keypoints).largest_first()


def photo(faces: int, *, seed: int = 0, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Return noise (H,W,3) with `faces` marks on a grid of 4 pixels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 250, (*size, 3), np.uint8)
    for index in range(faces):
        x, y = 8 + 36 * (index % 4), 8 + 44 * (index // 4)
        pixels[y : y + 4, x : x + 4] = (255, 0, 255)
    return pixels


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def fill(folder: Path, count: int) -> list[Path]:
    """Write `count` photos of 0, 1, 2, 0, 1, 2 ... faces; every seventh file is text."""
    paths = []
    for number in range(count):
        path = folder / f"{number:03}.png"
        save(path, photo(number % 3, seed=number))
        if number % 7 == 6:
            path.write_bytes(b"no picture at all")
        paths.append(path)
    return paths


def toy(path: Path, *, threads: int = 1, runtime: str = "onnx", **settings: Any) -> Model:
    return Model(
        load_network(path, runtime, threads=threads), MarkedFaces(), make_settings(Settings(), settings), threads
    )
