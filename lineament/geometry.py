"""Face alignment: five keypoints, similarity transforms, warping; the only file that knows where a pixel's centre is.

Convention: continuous pixels. The top-left corner of the top-left pixel is (0, 0), its centre (0.5, 0.5); x right, y
down. A picture of width W spans [0, W], so a mirror is x -> W - x and a resize by s is x -> s x, exactly. Left and
right are the subject's. Matrices are named dst_from_src: `crop_from_image @ (x, y, 1)` is the crop point of an image
point.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.errors import UsageError
from lineament.types import Crops, Float32, UInt8

Real = npt.NDArray[np.floating[Any]]

CROP_SIZE: tuple[int, int] = (218, 178)
"""(height, width) of CelebA's aligned images: the one crop format of this package."""

TEMPLATE: Float32 = np.array(
    [[69.765, 111.530], [108.165, 111.584], [88.644, 135.869], [72.784, 152.783], [105.537, 152.707]], np.float32
)
"""CelebA's aligned layout: right eye, left eye, nose, right and left mouth corner (the subject's), in pixels of the
178x218 crop.

Measured with `detection.retinaface.RetinaFace` on all 5,185 validation images of the official release (no face in 0 of
them): the median of each coordinate. Half the 16-84 % range, x then y: eyes 1.8, 1.3; nose 5.7, 3.9; mouth corners 3.2,
1.7 pixels. A face's five points lie 3.1 pixels from the layout in the median, 6.2 at 95 %: heads turn, and CelebA was
aligned to points clicked by people. `scripts/measure_template.py` measures it again and compares.
"""

OVERSAMPLE = 1.5
"""Pixels per crop pixel (in each direction) that a shrinking warp keeps before its bilinear step."""

_MIRROR_ORDER = (1, 0, 2, 4, 3)
_LAYOUT_IN_BOX = np.array([[0.275, 0.396], [0.735, 0.398], [0.500, 0.603], [0.304, 0.750], [0.710, 0.749]])


def umeyama(src: Real, dst: Real) -> npt.NDArray[np.float64]:
    """Return the least-squares similarity (rotation, one scale, shift; never a reflection) that takes `src` points to
    `dst`.

    Args: src (...,P,2); dst (...,P,2), broadcast against src; P >= 2.
    Returns: dst_from_src (...,2,3) float64.
    Raises: UsageError if a point set is not finite or all its points coincide.
    Source: Umeyama, PAMI 1991. In the plane a similarity is a complex factor, so his SVD reduces to one complex
    quotient.

    >>> umeyama(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[5.0, 5.0], [5.0, 7.0]])).tolist()
    [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]
    """
    src, dst = np.broadcast_arrays(np.asarray(src, np.float64), np.asarray(dst, np.float64))
    centre_src, centre_dst = src.mean(-2, keepdims=True), dst.mean(-2, keepdims=True)
    z, w = ((points - centre) @ np.array([1.0, 1j]) for points, centre in ((src, centre_src), (dst, centre_dst)))
    spread = (np.abs(z) ** 2).sum(-1)
    if not (np.isfinite(spread) & (spread > 1e-12)).all():
        raise UsageError(
            "Keypoints must be finite and must not all coincide: no similarity takes them to the template."
        )
    factor = (z.conj() * w).sum(-1) / spread
    linear = np.stack([np.stack([factor.real, -factor.imag], -1), np.stack([factor.imag, factor.real], -1)], -2)
    shift = centre_dst[..., 0, :, None] - linear @ centre_src[..., 0, :, None]
    return np.concatenate([linear, shift], -1)


def invert(matrix: Real) -> npt.NDArray[np.float64]:
    """Return src_from_dst (...,2,3) of an affine dst_from_src (...,2,3).

    >>> invert(np.array([[2.0, 0.0, 6.0], [0.0, 2.0, 0.0]])).tolist()
    [[0.5, 0.0, -3.0], [0.0, 0.5, -0.0]]
    """
    linear = np.linalg.inv(np.asarray(matrix, np.float64)[..., :2])
    return np.concatenate([linear, -linear @ np.asarray(matrix, np.float64)[..., 2:]], -1)


def transform_points(matrix: Real, points: Real) -> npt.NDArray[np.float64]:
    """Return points (...,P,2) moved by an affine matrix (...,2,3).

    >>> transform_points(np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 0.0]]), np.array([[1.0, 2.0]])).tolist()
    [[4.0, 2.0]]
    """
    matrix = np.asarray(matrix, np.float64)
    moved: npt.NDArray[np.float64] = (
        np.asarray(points, np.float64) @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]
    )
    return moved


def mirror_points(points: Real, width: float) -> Real:
    """Return five-point sets (...,5,2) of the mirrored picture: x -> width - x, and left and right change places. Twice
    is the identity."""
    mirrored = np.array(points)[..., _MIRROR_ORDER, :]
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored


def keypoints_from_boxes(boxes_xyxy: Real) -> Float32:
    """Return the five points (N,5,2) an average face has in its box (N,4): for boxes that come without points.

    Convention: boxes as our detector draws them (forehead to chin, without hair and ears), upright faces. Measured: see
    `scripts/measure_template.py`. Points found by a detector are always better; a box cannot tell a turned or tilted
    head.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 1, 4)
    return (boxes[..., :2] + _LAYOUT_IN_BOX * (boxes[..., 2:] - boxes[..., :2])).astype(np.float32)


def align(pixels: UInt8, keypoints: Real, shrink: int = 1) -> Crops:
    """Cut the faces out of a photo in CelebA's aligned layout.

    Args: pixels (H,W,3) uint8 RGB; keypoints (N,5,2) in pixels of the photo, N may be 0; shrink: how many times smaller
        than the photo `pixels` were decoded, in each direction.
    Returns: Crops, pixels (N,3,218,178), in the order of `keypoints`.
    Raises: UsageError for other shapes, or points that are not finite, coincide, or put the crop wholly outside the
        photo.
    Source: CelebA (Liu et al., ICCV 2015) aligned its images by a similarity onto five mean points; TEMPLATE says how
    they were measured.
    """
    points = np.asarray(keypoints, np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise UsageError(f"Keypoints must have shape (N,5,2), got {points.shape}.")
    matrices = umeyama(points, TEMPLATE)
    crops = np.empty((len(points), 3, *CROP_SIZE), np.uint8)
    for crop, matrix in zip(crops, matrices, strict=True):
        crop[:] = warp(pixels, matrix, decoded=shrink).transpose(2, 0, 1)
    return Crops(crops, matrices.astype(np.float32))


def warp(
    pixels: UInt8,
    crop_from_image: Real,
    size: tuple[int, int] = CROP_SIZE,
    *,
    decoded: int = 1,
    rounded: bool = True,
) -> UInt8:
    """Resample the part of a photo that a crop shows.

    Convention: bilinear, as CelebA's own images were made (registered against 18 of them, bilinear leaves less
    difference than bicubic). Where a crop shrinks the photo more than 1.5 times, the photo is first brought to 1.5
    times the crop's scale with a Lanczos filter: no moiré, and about as sharp as CelebA's images. Outside the photo its
    edge pixels are repeated, as CelebA's images do. Cost follows the part shown, not the photo.
    Args: pixels (H,W,3) uint8; crop_from_image (2,3), any invertible affine; size (h, w); decoded: `pixels` are the
        photo at 1/decoded. Then the same grid is laid over the same part of the photo, so that only the decoder's own
        shrinking can show; rounded: to the nearest level. False truncates, half a level darker in the mean, in little
        more than half the time: for a detector's looks.
    Returns: (h,w,3) uint8.
    Raises: UsageError for other pixels, or a crop that shows no part of the photo.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise UsageError(f"Pixels must be uint8 (H,W,3) and not empty, got {pixels.dtype} {pixels.shape}.")
    image_from_crop = invert(crop_from_image)
    shrink = max(1.0, math.sqrt(abs(float(np.linalg.det(image_from_crop[:, :2])))) / OVERSAMPLE)
    photo = pixels.shape[0] * decoded, pixels.shape[1] * decoded
    whole, inside = _region(image_from_crop, size, photo, margin=3 * shrink)
    width, height = (max(1, round(side / shrink)) for side in (inside[2:] - inside[:2]).tolist())
    first, last = inside[:2] // decoded, -(-inside[2:] // decoded)
    part = Image.fromarray(np.ascontiguousarray(pixels[first[1] : last[1], first[0] : last[0]]))
    x1, y1, x2, y2 = (inside / decoded - np.tile(first, 2)).tolist()
    part = part.resize((width, height), Image.Resampling.LANCZOS, (x1, y1, x2, y2), reducing_gap=3.0)
    scale = np.array([width / (inside[2] - inside[0]), height / (inside[3] - inside[1])])
    before = np.ceil((inside[:2] - whole[:2]) * scale).astype(int)
    after = np.ceil((whole[2:] - inside[2:]) * scale).astype(int)
    padded = np.asarray(part)
    if before.any() or after.any():
        padded = np.pad(padded, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    part_from_crop = scale[:, None] * image_from_crop
    part_from_crop[:, 2] += before - inside[:2] * scale
    return _sample(padded, part_from_crop, size) if rounded else _read(padded, part_from_crop, size)


def _read(part: npt.NDArray[Any], part_from_crop: Real, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return part (H,W) float32 or (H,W,3) uint8 read at every pixel centre of a crop (h, w), bilinearly."""
    matrix = tuple(part_from_crop.ravel().tolist())
    picture = Image.fromarray(part)
    return np.asarray(picture.transform(size[::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _sample(part: UInt8, part_from_crop: Real, size: tuple[int, int]) -> UInt8:
    """Return part (H,W,3) read at every pixel centre of a crop (h, w), rounded to nearest.

    Pillow reads its matrix as source-from-output and puts pixel centres at +0.5: our convention. On 8-bit pictures its
    transform truncates instead of rounding (half a grey level darker, measured with Pillow 12.3), so each channel goes
    through it as float.
    """
    out = np.empty((*size, 3), np.uint8)
    for channel in range(3):
        values = _read(part[..., channel].astype(np.float32), part_from_crop, size)
        out[..., channel] = np.clip(np.rint(values), 0, 255)
    return out


def _region(
    image_from_crop: Real, size: tuple[int, int], photo: tuple[int, ...], margin: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the integer xyxy region of the image plane that a crop needs, and the part of it inside the photo."""
    corners = transform_points(image_from_crop, np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]]))
    limit = np.array([photo[1], photo[0]])
    if (corners.max(0) <= 0).any() or (corners.min(0) >= limit).any():
        raise UsageError(
            f"The face lies outside the photo of {photo[1]}x{photo[0]} pixels: check that the points belong to this "
            "photo."
        )
    whole = np.concatenate([np.floor(corners.min(0) - margin), np.ceil(corners.max(0) + margin)]).astype(np.int64)
    return whole, np.clip(whole, 0, np.tile(limit, 2))
