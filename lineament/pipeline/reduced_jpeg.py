"""Reduced decoding of huge JPEGs: faces are looked for in a half, a quarter or an eighth of them, which decodes in a
third of the time.

    smaller decode -> faces -> every one large enough there? answered from it : decoded and searched again in full

Convention: what happens depends on the photo alone, never on how photos are batched, on threads or on the runtime, so
that a photo has one record wherever it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from lineament import geometry
from lineament.detection.candidates import shrunk
from lineament.errors import TooManyFacesError
from lineament.types import SMALLEST_FACE, DecodedImage, Faces, UInt8

SIDE = 1280
"""Pixels the longer side keeps at least: what the detector looks at wherever it has found no small face."""

ENOUGH = 64 / 38.4 * geometry.OVERSAMPLE
"""Pixels for each crop pixel (in each direction) that every face must have. Crops need `OVERSAMPLE`; the detector's
last look, from which the points come, shows a face with 64 pixels between the eyes where a crop has 38.4. With fewer,
answers move more (`benchmarks/draft.py`)."""

GLANCE, SURE = 320, 0.8
"""Longer side of the picture glanced at, and the part of ENOUGH a face must have there: points are less exact."""

Find = Callable[[UInt8, str], Faces]


class Read(Protocol):
    """Decodes one photo, as often as it is asked to; see `images.load_image` for `max_side`."""

    def __call__(self, *, max_side: int | None) -> DecodedImage: ...


def find_in_reduced(read: Read, glance: Find, find: Find, source: str) -> tuple[DecodedImage, Faces]:
    """Return a photo, decoded as large as its faces need, and its faces in pixels of the whole photo.

    No face, a small one, a hint of one that sent the search to the smaller decode's own scale, or a crowd: the photo is
    decoded and searched in full, as if it had never been looked at smaller.
    Args: glance: finds large faces in a picture of few pixels, cheaply; what it says only decides whether `find` is
        worth trying.
    """
    image = read(max_side=SIDE)
    if image.full_size is not None:
        faces = _tried(image.pixels, glance, find, source)
        if large_enough(faces):
            return image, in_whole(faces, image.shrink, image.full_size)
        image = read(max_side=None)
    return image, find(image.pixels, source)


def _tried(pixels: UInt8, glance: Find, find: Find, source: str) -> Faces:
    """Return the faces of a smaller decode; none where a glance at it, or a crowd in it, says that the whole photo is
    needed."""
    view = shrunk(pixels, GLANCE)
    try:
        if not large_enough(glance(view, source), SURE * ENOUGH * max(view.shape) / max(pixels.shape)):
            return Faces.empty()
        faces = find(pixels, source)
        exhausted = faces.searched_from is not None and faces.searched_from <= SMALLEST_FACE
        return Faces.empty() if exhausted else faces
    except TooManyFacesError:  # how many there are is for the whole photo to say
        return Faces.empty()


def large_enough(faces: Faces, enough: float = ENOUGH) -> bool:
    """Return whether there are faces, all of them with `enough` pixels for each pixel of their crops."""
    crop_from_image = geometry.umeyama(faces.keypoints, geometry.TEMPLATE)
    pixels_per_crop_pixel = 1 / np.hypot(crop_from_image[:, 0, 0], crop_from_image[:, 1, 0])
    return len(faces) > 0 and bool((pixels_per_crop_pixel >= enough).all())


def in_whole(faces: Faces, shrink: int, full_size: tuple[int, int]) -> Faces:
    """Return faces found in a decode `shrink` times smaller in pixels of the whole photo of `full_size` (width,
    height).

    Convention: exact, the factor being a power of two, but for photos whose sides are no multiples of it and that lie
    turned in the file:
    there everything may be shifted by up to that factor less one.
    """
    scale = np.float32(shrink)
    boxes = np.minimum(faces.boxes_xyxy * scale, np.array(full_size * 2, np.float32))
    searched = None if faces.searched_from is None else faces.searched_from * shrink
    return Faces(boxes, faces.detection_probs, faces.keypoints * scale, searched)
