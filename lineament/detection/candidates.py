"""Detection candidates: anchors, box decoding, non-maximum suppression, merging of passes, conversion to Faces."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.errors import UsageError
from lineament.geometry import transform_points
from lineament.types import Faces, Float32, UInt8

STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)
FINE = 1280
"""Longer side from which a view is resized with less care (half the time; a face in it is judged by its own look, not
by this view)."""
KEPT = 640
"""Longer side up to which a resized view is kept."""
FEW = 256
"""Finds whose overlaps are computed at once in suppression."""


class Candidates(NamedTuple):
    """Raw finds: boxes (M,4) xyxy, probs (M,), points (M,5,2), in the pixels of whatever was scanned."""

    boxes: Float32
    probs: Float32
    points: Float32

    def take(self, index: npt.NDArray[Any]) -> Candidates:
        return Candidates(self.boxes[index], self.probs[index], self.points[index])

    @staticmethod
    def empty() -> Candidates:
        """Return no finds."""
        return Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


@lru_cache(maxsize=64)
def anchors(height: int, width: int) -> Float32:
    """Return the anchors (P,4) as (centre x, centre y, side, side) of a network input, stride by stride, row by row,
    small before large.

    >>> anchors(32, 32).shape, anchors(32, 32)[0].tolist()
    ((42, 4), [4.0, 4.0, 16.0, 16.0])
    """
    levels = []
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES, strict=True):
        y, x = np.meshgrid(np.arange(height // stride), np.arange(width // stride), indexing="ij")
        centres = (np.stack([x, y], -1).reshape(-1, 1, 2) + 0.5) * stride
        sides = np.broadcast_to(np.array(sizes, np.float64)[None, :, None], (len(centres), len(sizes), 2))
        levels.append(np.concatenate([np.broadcast_to(centres, sides.shape), sides], -1).reshape(-1, 4))
    table = np.concatenate(levels).astype(np.float32)
    table.flags.writeable = False
    return table


def decode(boxes: Float32, points: Float32, priors: Float32) -> tuple[Float32, Float32]:
    """Turn offsets into pixels of the network input: boxes (M,4) -> xyxy, points (M,10) -> (M,5,2), against priors
    (M,4)."""
    centre = priors[:, :2] + boxes[:, :2] * VARIANCES[0] * priors[:, 2:]
    half = priors[:, 2:] * np.exp(boxes[:, 2:] * VARIANCES[1]) / 2
    keypoints = priors[:, None, :2] + points.reshape(-1, 5, 2) * VARIANCES[0] * priors[:, None, 2:]
    return np.concatenate([centre - half, centre + half], 1), keypoints


def iou_matrix(a: Float32, b: Float32) -> Float32:
    """Return intersection over union (len(a), len(b)) of xyxy boxes; 0 where the union is empty."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b))
    union = area_a[:, None] + area_b[None, :] - inter
    overlap: Float32 = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return overlap


def nms(boxes: Float32, probs: Float32, max_iou: float) -> npt.NDArray[np.intp]:
    """Return the indices kept by greedy suppression, most probable first (ties by input order).

    One row of overlaps at a time where there are many: the whole matrix of a crowd's finds would take gigabytes.
    """
    left, kept = np.argsort(-probs, kind="stable"), []
    if len(left) <= FEW:
        apart = ~(iou_matrix(boxes, boxes) > max_iou)
        while len(left):
            kept.append(left[0])
            left = left[1:][apart[left[0], left[1:]]]
        return np.array(kept, np.intp)
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[~(iou_matrix(boxes[best : best + 1], boxes[left])[0] > max_iou)]
    return np.array(kept, np.intp)


def moved(found: Candidates, matrix: npt.NDArray[np.float64]) -> Candidates:
    """Return finds taken through an affine matrix (2,3). A box stands for the ellipse in it: the new one is drawn
    around the moved ellipse.

    >>> box = np.array([[0, 0, 4, 2]], np.float32)
    >>> found = Candidates(box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    >>> moved(found, np.array([[0.0, -1, 0], [1, 0, 0]])).boxes.tolist()
    [[-2.0, 0.0, 0.0, 4.0]]
    """
    centre = transform_points(matrix, (found.boxes[:, :2] + found.boxes[:, 2:]) / 2)
    half = np.sqrt(((found.boxes[:, 2:] - found.boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
    boxes, points = np.concatenate([centre - half, centre + half], 1), transform_points(matrix, found.points)
    return Candidates(boxes.astype(np.float32), found.probs, points.astype(np.float32))


def merge(parts: list[Candidates], max_iou: float) -> Candidates:
    """Return the finds of several passes as one, each face once."""
    joined = Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return joined.take(nms(joined.boxes, joined.probs, max_iou))


def distinct(points: Float32, probs: Float32) -> npt.NDArray[np.intp]:
    """Return the indices of different faces, in input order: of two whose points (M,5,2) nearly coincide, the more
    probable one.

    Nearly: closer in the mean than 0.4 of the more probable one's eye distance; no two real faces overlap so.
    """
    kept: list[int] = []
    for i in np.argsort(-probs, kind="stable"):
        reach = 0.4 * np.linalg.norm(points[kept, 1] - points[kept, 0], axis=-1)
        if (np.linalg.norm(points[kept] - points[i], axis=-1).mean(-1) >= reach).all():
            kept.append(int(i))
    return np.sort(np.array(kept, np.intp))


def to_faces(found: Candidates, size: tuple[int, int], min_face: float) -> Faces:
    """Return finds as Faces of a photo of size (h, w): boxes clipped to it, what lies outside or is under `min_face`
    pixels left out."""
    limit = np.array([size[1], size[0]] * 2, np.float32)
    centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    big = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0) >= min_face
    inside = ((centre > 0) & (centre < limit[:2])).all(1)
    kept = found.take(np.flatnonzero(inside & big))
    boxes = np.clip(kept.boxes, 0, limit).astype(np.float32)
    return Faces(boxes, kept.probs.astype(np.float32), kept.points.astype(np.float32)).largest_first()


def check_pixels(pixels: UInt8) -> None:
    """Raise UsageError unless pixels are uint8 (H,W,3) with H, W >= 1."""
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or pixels.dtype != np.uint8
        or 0 in pixels.shape
    ):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UsageError(f"A detector takes uint8 RGB pixels (H,W,3), not empty; got {found}.")


def to_32(side: int) -> int:
    """Return the least multiple of 32 that is at least `side`."""
    return -(-side // 32) * 32


def bordered(picture: UInt8, border: int, colour: tuple[int, int, int]) -> UInt8:
    """Return a picture (h,w,3) as a network input (1,H,W,3), H and W multiples of 32: `border` pixels of colour around
    it, the rest right and below.

    Only what the picture leaves free is filled. A network's mean as the colour is, after its subtraction, the zero that
    convolutions pad with.
    """
    height, width = picture.shape[:2]
    canvas = np.empty((1, to_32(height + 2 * border), to_32(width + 2 * border), 3), np.uint8)
    bottom, right = border + height, border + width
    canvas[0, :border] = canvas[0, bottom:] = colour
    canvas[0, border:bottom, :border] = canvas[0, border:bottom, right:] = colour
    canvas[0, border:bottom, border:right] = picture
    return canvas


def resized(view: UInt8, height: int, width: int) -> UInt8:
    """Return a view (h,w,3) resized with an anti-aliasing bilinear filter; itself where the size is the same."""
    return Scaled(view).at(height, width)


class Scaled:
    """A view (h,w,3) at the sizes that passes ask for. What they share is done once: Pillow's own copy of it.

    Convention: an anti-aliasing bilinear filter, behind a box filter where the view shrinks to less than a half (for
    sides from 1280: two thirds).
    """

    def __init__(self, view: UInt8) -> None:
        self.view = view
        self._whole: Image.Image | None = None

        self._small: dict[tuple[int, int], UInt8] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.view.shape[0], self.view.shape[1]

    def at(self, height: int, width: int) -> UInt8:
        """Return the view at (height, width); itself where that is its size. Small ones are kept: passes return to
        them."""
        if self.view.shape[:2] == (height, width):
            return self.view
        if (height, width) in self._small:
            return self._small[height, width]
        if self._whole is None:
            self._whole = Image.fromarray(self.view)
        gap = 2.0 if max(height, width) < FINE else 1.5
        made = np.asarray(self._whole.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=gap))
        if max(height, width) <= KEPT:
            self._small[height, width] = made
        return made


def shrunk(pixels: UInt8 | Scaled, long_side: int) -> UInt8:
    """Return the photo with its long side at most `long_side`."""
    view = pixels if isinstance(pixels, Scaled) else Scaled(pixels)
    scale = min(1.0, long_side / max(view.shape))
    return view.at(max(1, round(view.shape[0] * scale)), max(1, round(view.shape[1] * scale)))


def unturn(found: Candidates, turns: int, size: tuple[int, int]) -> Candidates:
    """Move finds from `np.rot90(view, turns)` back to a view of size (h, w)."""
    height, width = size
    points = np.concatenate([found.boxes.reshape(-1, 2, 2), found.points], 1)
    x, y = points[..., 0], points[..., 1]
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns]
    moved = np.stack(back, -1)
    boxes = np.concatenate([moved[:, :2].min(1), moved[:, :2].max(1)], 1)
    return Candidates(boxes, found.probs, moved[:, 2:])
