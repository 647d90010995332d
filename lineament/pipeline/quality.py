"""Face quality: how large, how sharp and how turned a face is. From five points and the aligned crop; no network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.geometry import TEMPLATE, Real
from lineament.types import Crops, Faces, Quality, UInt8

_CENTRE = (slice(84, 168), slice(50, 128))
"""Rows and columns of the crop from the brows to the lower lip: skin and features, no background, little hair."""

_HALF_SHARP = 0.5
_NOISE = 1.0
_ROUNDING = 6 * (0.299**2 + 0.587**2 + 0.114**2) / 12
"""Mean squared second difference that rounding each channel to 8 bits adds by itself (6 times the variance of the grey
value's rounding error)."""


_DEPTH = np.array([0.0, 0.0, -0.636, -0.130, -0.130])
"""How far nose tip and mouth corners stand out before the eyes, in eye distances (z points away from the camera).
Source: MediaPipe's canonical face model (Apache-2.0), vertices 33/133 (eye corners), 1 (nose tip), 61 (mouth
corner)."""


def _mean_face() -> npt.NDArray[np.float64]:
    """Return the mean face (5,3) in eye distances, centred: TEMPLATE made symmetric, with `_DEPTH`. It looks straight
    ahead."""
    flat = TEMPLATE.astype(np.float64)
    middle = flat[:2].mean(0)
    flat = (flat - middle) / np.linalg.norm(flat[1] - flat[0])
    flat = (flat + flat[[1, 0, 2, 4, 3]] * [-1, 1]) / 2
    solid = np.column_stack([flat, _DEPTH])
    centred: npt.NDArray[np.float64] = solid - solid.mean(0)
    return centred


FACE_3D = _mean_face()
_FIT = np.linalg.pinv(FACE_3D)


def measure(pixels: UInt8, faces: Faces, crops: Crops) -> tuple[Quality, ...]:
    """Return the quality of every face.

    Args: pixels (H,W,3) uint8 of the upright photo; its N faces; their N crops.
    Returns: N Quality: eye_distance in pixels of the photo, sharpness 0..1, yaw, pitch, roll in degrees (see
        `head_angles`).
    """
    distances = eye_distances(faces.keypoints)
    angles = head_angles(faces.keypoints)
    return tuple(
        Quality(float(distance), sharpness(crop), *(float(angle) for angle in row))
        for distance, crop, row in zip(distances, crops.pixels, angles, strict=True)
    )


def eye_distances(keypoints: Real) -> npt.NDArray[np.float64]:
    """Return the distance between the eyes (N,) of keypoints (N,5,2), in their pixels."""
    points = np.asarray(keypoints, np.float64)
    return np.asarray(np.linalg.norm(points[:, 1] - points[:, 0], axis=-1))


def sharpness(crop: UInt8) -> float:
    """Return how sharp an aligned crop (3,218,178) is around eyes, nose and mouth, 0..1, in the direction where it is
    blurred most.

    Convention: along rows and along columns, r = mean squared second difference / mean squared first difference: the
    mean squared frequency of the grey edges in that direction; sharpness = r / (r + 0.5) of the smaller r, so that
    motion in one direction counts. Blur lowers it (high frequencies weigh most); brightness and contrast cancel out. A
    flat picture is 0, white noise (r = 3) 0.86: noise counts as sharp. It is of the crop, which has one size: the same
    face from a photo of twice as many pixels scores the same, and a small face enlarged into the crop is unsharp, and
    scores so. How answers fall with it, by cause: `benchmarks/face_size.py`; how it ranks CelebA's Blurry:
    `benchmarks/detection.py`.
    """
    red, green, blue = (crop[(channel, *_CENTRE)].astype(np.float64) for channel in range(3))
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    ratio = min(_edge_frequency(grey, axis) for axis in (0, 1))
    return ratio / (ratio + _HALF_SHARP)


def _edge_frequency(grey: npt.NDArray[np.float64], axis: int) -> float:
    second, first = (float((np.diff(grey, order, axis) ** 2).mean()) for order in (2, 1))
    return max(0.0, second - _ROUNDING) / (first + _NOISE)


def head_angles(keypoints: Real) -> npt.NDArray[np.float64]:
    """Return yaw, pitch and roll (N,3) in degrees of keypoints (N,5,2).

    Convention: seen by the camera, in the order roll after yaw after pitch. yaw > 0: the subject turns to their own
    left (to the right in the picture); pitch > 0: looks up; roll > 0: leans clockwise in the picture, towards their own
    left shoulder. Zero is the mean CelebA face. Five points and one mean face: good for "is it turned away", not a
    measuring instrument; identity shifts pitch most.
    Source: the first step of POSIT (DeMenthon & Davis, IJCV 1995): the 2x3 matrix that projects FACE_3D onto the points
    in the least-squares sense, made a scaled rotation by SVD.
    """
    points = np.asarray(keypoints, np.float64)
    linear = np.swapaxes(_FIT @ (points - points.mean(1, keepdims=True)), 1, 2)  # (N,2,3): image from face
    u, _, vt = np.linalg.svd(linear, full_matrices=False)
    across, down = np.moveaxis(u @ vt, 1, 0)
    ahead = np.cross(across, down)
    yaw = np.arcsin(np.clip(ahead[:, 0], -1, 1))
    pitch = np.arctan2(-ahead[:, 1], ahead[:, 2])
    roll = np.arctan2(down[:, 0], across[:, 0])
    degrees: npt.NDArray[np.float64] = np.degrees(np.stack([yaw, pitch, roll], 1))
    return degrees
