"""Aligned crops from unaligned photos: the largest face found, the middle of the picture where none is.

Used where training images are photos and not crops yet (LFWA, your own).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament import geometry
from lineament.detection.retinaface import RetinaFace
from lineament.images import load_image
from lineament.types import UInt8


class Detected:
    """A decoder for `CropCache` and `Stream`. `missed` counts pictures in which no face was found."""

    def __init__(self) -> None:
        self._find, self.missed = RetinaFace(threads=1).detect, 0

    def __call__(self, encoded: bytes) -> npt.NDArray[np.uint8]:
        """Return the crop (3,218,178) uint8 RGB."""
        pixels = load_image(encoded).pixels
        faces = self._find(pixels).largest_first()
        if len(faces):
            return np.asarray(geometry.align(pixels, faces.keypoints[:1]).pixels[0])
        self.missed += 1
        return middle(pixels)


def middle(pixels: UInt8) -> npt.NDArray[np.uint8]:
    """Return the largest centred part with a crop's proportions, resized: data sets of faces have them in the
    middle."""
    height, width = pixels.shape[:2]
    crop_height, crop_width = geometry.CROP_SIZE
    scale = max(crop_height / height, crop_width / width)
    shift = ((crop_width - scale * width) / 2, (crop_height - scale * height) / 2)
    crop_from_image = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    return np.ascontiguousarray(geometry.warp(pixels, crop_from_image).transpose(2, 0, 1))
