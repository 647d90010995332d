"""Huge JPEGs: their faces are looked for in a half, a quarter or an eighth of them, which decodes in a third of the time.

    smaller decode -> faces -> every one large enough there? answered from it : decoded and searched again in full

Convention: what happens depends on the photo alone, never on how photos are batched, on threads or on the runtime, so that a photo has one
record wherever it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from lineament import geometry
from lineament.errors import TooManyFacesError
from lineament.types import DecodedImage, Faces, UInt8

SIDE = 1280
"""Pixels the longer side keeps at least. The detector's third pass looks at this size: it loses nothing."""

ENOUGH = geometry.OVERSAMPLE
"""Pixels for each crop pixel (in each direction) that every face must have: where it has them, cutting it out only makes it smaller."""


class Read(Protocol):
    """Decodes one photo, as often as it is asked to; see `images.load_image` for `max_side`."""

    def __call__(self, *, max_side: int | None) -> DecodedImage: ...


def look(read: Read, find: Callable[[UInt8, str], Faces], source: str) -> tuple[DecodedImage, Faces]:
    """Return a photo, decoded as large as its faces need, and its faces in pixels of the whole photo.

    No face, a small one or a crowd: the photo is decoded and searched in full, as if it had never been looked at smaller.
    """
    image = read(max_side=SIDE)
    if image.full_size is not None:
        try:
            faces = find(image.pixels, source)
        except TooManyFacesError:  # how many there are is for the whole photo to say
            faces = Faces.empty()
        if large_enough(faces):
            return image, in_whole(faces, image.shrink, image.full_size)
        image = read(max_side=None)
    return image, find(image.pixels, source)


def large_enough(faces: Faces) -> bool:
    """Return whether there are faces, all of them with the pixels that their crops need."""
    crop_from_image = geometry.umeyama(faces.keypoints, geometry.TEMPLATE)
    pixels_per_crop_pixel = 1 / np.hypot(crop_from_image[:, 0, 0], crop_from_image[:, 1, 0])
    return len(faces) > 0 and bool((pixels_per_crop_pixel >= ENOUGH).all())


def in_whole(faces: Faces, shrink: int, full_size: tuple[int, int]) -> Faces:
    """Return faces found in a decode `shrink` times smaller in pixels of the whole photo of `full_size` (width, height).

    Convention: exact, the factor being a power of two, but for photos whose sides are no multiples of it and that lie turned in the file:
    there everything may be shifted by up to that factor less one.
    """
    scale = np.float32(shrink)
    boxes = np.minimum(faces.boxes_xyxy * scale, np.array(full_size * 2, np.float32))
    return Faces(boxes, faces.detection_probs, faces.keypoints * scale)
