"""Crops whose mark says yes or no, in folders: what the tests of own attributes learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def crop(seed: int, marked: bool, *, strength: float = 60.0) -> np.ndarray:
    """Return a crop (218,178,3): smooth noise of its own, the lower middle bluer where it is marked."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(120, 45, (12, 10, 3))
    pixels = np.asarray(
        Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8)).resize((178, 218), Image.Resampling.BICUBIC),
        np.float64,
    )
    if marked:
        pixels[120:200, 50:130, 2] += strength
        pixels[120:200, 50:130, 0] -= strength
    return np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


def write(folder: Path, count: int, marked: bool, *, first: int = 0, strength: float = 60.0) -> list[Path]:
    """Write `count` different crops into a folder as PNG; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.png" for number in range(first, first + count)]
    for number, path in enumerate(paths, first):
        Image.fromarray(crop(2 * number + marked, marked, strength=strength)).save(path)
    return paths
