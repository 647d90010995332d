"""Drawn faces on the region network's canvas, every group known."""

from __future__ import annotations

import numpy as np

from lineament.data.synthetic import make
from lineament.training.prepare.region_data import CANVAS, MARGIN, RegionFace


def toy_faces(n: int) -> list[RegionFace]:
    drawn = make(n, seed=1)
    faces = []
    for i in range(n):
        image = np.pad(drawn.crops[i].transpose(1, 2, 0), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
        packed = np.packbits(drawn.regions[i], axis=0, bitorder="little")[0]
        everywhere = np.full(CANVAS, 255, np.uint8)
        faces.append(RegionFace(f"face{i}", image, np.pad(packed, MARGIN), everywhere, everywhere))
    return faces
