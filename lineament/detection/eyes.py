"""Eye openness: the lids of each eye from MediaPipe's eye points, and their opening as a part of the eye's width.

    photo (H,W,3), keypoints (N,5,2) -> one upright view per eye (N,2,64,64,3) -> 71 points (N,2,71,2)
    -> lid opening / eye width (N,2) -> probability that the eyes are open (N,)

Source: MediaPipe Iris (Google, Apache-2.0; `scripts/convert_eyes.py`): the points of MediaPipe's 468-point face mesh
around one eye, read from a close view. The mesh itself, read from the whole face, leaves the upper lid up when an eye
closes (`docs/benchmarks/eyes.md`).
The opening is the eye aspect ratio of Soukupová and Čech (CVWW 2016): the mean of two lid distances over the distance
of the corners.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineament.detection.sessions import CpuSession
from lineament.errors import UsageError
from lineament.geometry import Real, umeyama, warp
from lineament.types import Float32, UInt8

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "eyes.onnx"
SIDE = 64
EYE_WIDTH = 0.48
"""An eye's width as a part of the distance between the eyes: with it the view shows 2.3 eye widths, as the network was
trained on."""
VIEW_WIDTHS = 2.3
CORNERS, LIDS = (0, 8), ((11, 3), (13, 5))
"""Points of the network: outer and inner corner; (upper, lower) lid at the same place, twice. In the mesh's numbering,
for the subject's right eye: 33, 133; 160, 144; 158, 153."""

OPEN_SLOPE, OPEN_MIDDLE = 50.3, 0.218
"""The probability is 1 / (1 + exp(-slope * (ratio - middle))), ratio the mean of both eyes. Fitted by
`benchmarks/eyes.py` on the training photos of landmarks68, closed and open faces weighing the same: a face counts as
closed where the labelled ratio is below 0.15."""


class EyeLids:
    """Reads the lids of faces. Safe to use from many threads. Args: threads for ONNX Runtime; weights another file with
    the same contract."""

    def __init__(self, *, threads: int | None = 1, weights: str | Path = WEIGHTS) -> None:
        self._session = CpuSession(weights, threads)

    def ratios(self, pixels: UInt8, keypoints: Real) -> Float32:
        """Return how far each eye is open, lid opening over eye width: about 0 closed, 0.3 usual.

        Args: pixels (H,W,3) uint8 of the upright photo; keypoints (N,5,2).
        Returns: (N,2), the subject's right eye, then the left; NaN for an eye outside the photo.
        """
        points = np.asarray(keypoints, np.float64)
        return np.array(
            [[self._ratio(pixels, face, left=left) for left in (False, True)] for face in points], np.float32
        ).reshape(-1, 2)

    def _ratio(self, pixels: UInt8, face: npt.NDArray[np.float64], *, left: bool) -> float:
        try:
            points = self.points(eye_view(pixels, face, left=left))
        except UsageError:  # the view shows no part of the photo, or both eyes are one point
            return float("nan")
        return lid_ratio(points)

    def points(self, view: UInt8) -> Float32:
        """Return the points (71,2) of one view (64,64,3), in its pixels."""
        points: Float32 = self._session.run(["points"], {"image": view[None]})[0][:, :2]
        return points


def eye_view(pixels: UInt8, face: Real, *, left: bool) -> UInt8:
    """Return the upright view (64,64,3) of one eye; the left eye is mirrored, so that the outer corner is on the left
    in both.

    Args: face (5,2) keypoints. Raises: UsageError where the view lies outside the photo.
    """
    half = SIDE / VIEW_WIDTHS / EYE_WIDTH / 2  # half the distance between the eyes, in pixels of the view
    middle = SIDE / 2
    other = np.array([middle - 2 * half if left else middle + 2 * half, middle])
    places = [other, [middle, middle]] if left else [[middle, middle], other]
    view = warp(pixels, umeyama(np.asarray(face, np.float64)[:2], np.array(places)), (SIDE, SIDE))
    return np.ascontiguousarray(view[:, ::-1]) if left else view


def lid_ratio(points: Real) -> float:
    """Return the eye aspect ratio of one eye's points (71,2).

    >>> eye = np.zeros((71, 2))
    >>> eye[8] = (30, 0)
    >>> eye[[11, 13]] = (10, -6), (20, -6)
    >>> eye[[3, 5]] = (10, 0), (20, 0)
    >>> lid_ratio(eye)
    0.2
    """
    points = np.asarray(points, np.float64)
    width = float(np.linalg.norm(points[CORNERS[0]] - points[CORNERS[1]]))
    opening = sum(float(np.linalg.norm(points[upper] - points[lower])) for upper, lower in LIDS) / len(LIDS)
    return opening / max(width, 1e-6)


def open_prob(right: float | None, left: float | None) -> float | None:
    """Return the probability that a face's eyes are open from the ratios of both; None where neither is known.

    >>> open_prob(None, None) is None
    True
    """
    known = [ratio for ratio in (right, left) if ratio is not None]
    if not known:
        return None
    return float(1 / (1 + np.exp(-OPEN_SLOPE * (sum(known) / len(known) - OPEN_MIDDLE))))
