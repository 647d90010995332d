"""The second look: every find once more, upright, at the size at which the network's points are best, a batch at a
time.

    finds -> views (M,256,224,3) -> the find nearest each middle -> settled? else again -> probs, boxes, points

A find reaches 40 pixels; it has settled when it moved the view by less than 0.2 in scale and turn; below 0.997 it is
also looked at turned by the other quarters (about 1 in 100 upright faces pays for that; upside-down ones are often seen
as upright with 0.99).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.detection.candidates import Candidates, anchors, decode, moved, nms
from lineament.detection.sessions import CpuSession, Session, in_threads
from lineament.errors import UsageError
from lineament.geometry import invert, transform_points, umeyama, warp
from lineament.types import Float32, UInt8

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "retinaface_look.onnx"
"""The detector's network without its finest level, which is far too fine for a look: half the work, the same numbers
(`scripts/convert_look.py` makes it and proves that)."""

SIZE = (256, 224)
POINTS = np.array([[80.0, 101.0], [144.0, 101.0], [112.0, 139.0], [86.0, 170.0], [138.0, 170.0]])
MIDDLE = POINTS.mean(0)
REACH, SETTLED, CLEAR = 40.0, 0.2, 0.997
QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])
LOOKS, BATCH = 3, 8
MAX_IOU = 0.4


class Looks:
    """Looks at finds. Safe to use from many threads.

    Convention: what is said of a face does not depend on the faces beside it in its batch.
    Args: session: of the look's network, or of the whole detector's; batches: whether it takes several views at once;
        min_prob: less is no find; at_once: batches looked at at a time.
    """

    def __init__(self, session: Session, *, batches: bool, min_prob: float, at_once: int = 1) -> None:
        self._session, self._batches, self.min_prob, self._at_once = session, batches, min_prob, at_once

    @classmethod
    def bundled(cls, threads: int | None, min_prob: float, at_once: int = 1) -> Looks:
        """Return looks through the bundled file. Raises: ModelFileError where it is missing."""
        return cls(CpuSession(WEIGHTS, threads), batches=True, min_prob=min_prob, at_once=at_once)

    def at(self, pixels: UInt8, finds: Candidates, *, turned: npt.NDArray[np.bool_]) -> Candidates:
        """Return a better view of each find (M); prob 0 where nothing is there.

        Args: turned (M,): whether one that does not quite convince is also seen turned.
        """
        better = self._settled(pixels, finds, finds.points.astype(np.float64))
        unclear = np.flatnonzero(turned & (better.probs < CLEAR))
        if not len(unclear):
            return better
        again = finds.take(unclear)
        known = [_spread(points) for points in again.points]
        image_from_view = [
            invert(umeyama(points, POINTS)) if good else None for points, good in zip(again.points, known, strict=True)
        ]
        for turns in (1, 2, 3):
            start = (POINTS - MIDDLE) @ np.linalg.matrix_power(QUARTER, turns) + MIDDLE
            starts = np.array(
                [np.zeros((5, 2)) if matrix is None else transform_points(matrix, start) for matrix in image_from_view]
            )
            other = self._settled(pixels, again, starts)
            wins = other.probs > np.maximum(better.probs[unclear], CLEAR)
            for column, values in zip(better, other, strict=True):
                column[unclear[wins]] = values[wins]
        return better

    def _settled(self, pixels: UInt8, finds: Candidates, points: npt.NDArray[np.float64]) -> Candidates:
        """Return each find as seen upright, from `points` (M,5,2); looks again at those that moved much."""
        seen = Candidates(finds.boxes.copy(), np.zeros(len(finds.probs), np.float32), finds.points.copy())
        active = list(range(len(points)))
        for _ in range(LOOKS):
            views: dict[int, tuple[npt.NDArray[np.float64], UInt8]] = {}
            for i in active:
                view = _view(pixels, points[i])
                if view is not None:
                    views[i] = view
            found = self._finds(np.stack([view for _, view in views.values()])) if views else []
            active = []
            for (i, (view_from_image, _)), near in zip(views.items(), found, strict=True):
                offset = np.linalg.norm(near.points.mean(1) - MIDDLE, axis=1)
                if offset.min(initial=np.inf) > REACH:
                    continue
                nearest = near.take(offset.argmin(keepdims=True))
                for column, values in zip(seen, moved(nearest, invert(view_from_image)), strict=True):
                    column[i] = values[0]
                points[i] = seen.points[i]
                if np.abs(umeyama(POINTS, nearest.points[0])[:, :2] - np.eye(2)).max() >= SETTLED:
                    active.append(i)
        return seen

    def _finds(self, views: UInt8) -> list[Candidates]:
        """Return what the network finds in each of the views (M,256,224,3), in their pixels."""
        step = min(BATCH, -(-len(views) // self._at_once)) if self._batches else 1
        parts = [views[first : first + step] for first in range(0, len(views), step)]
        return [one for found in in_threads(self._batch, parts, self._at_once) for one in found]

    def _batch(self, views: UInt8) -> list[Candidates]:
        outputs: list[Float32] = [np.asarray(output) for output in self._session.run(None, {"image": views})]
        boxes, logits, points = (output.reshape(len(views), -1, output.shape[-1]) for output in outputs)
        priors = anchors(*SIZE)[-boxes.shape[1] :]  # of the whole network all levels, of the look's the coarser ones
        found = []
        for box, logit, point in zip(boxes, logits, points, strict=True):
            probs = 1 / (1 + np.exp(logit[:, 0] - logit[:, 1]))
            kept = np.flatnonzero(probs >= self.min_prob)
            places, five = decode(box[kept], point[kept], priors[kept])
            one = Candidates(places, probs[kept], five)
            found.append(one.take(nms(one.boxes, one.probs, MAX_IOU)))
        return found


def _spread(points: npt.NDArray[Any]) -> bool:
    return bool(np.isfinite(points).all()) and float(np.ptp(points, axis=0).max()) > 1e-3


def _view(pixels: UInt8, points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], UInt8] | None:
    """Return view_from_image and the view (256,224,3) of a face with these points; None where they show no part of the
    photo."""
    if not _spread(points):
        return None
    matrix = umeyama(points, POINTS)
    try:
        return matrix, warp(pixels, matrix, SIZE, rounded=False)
    except UsageError:
        return None
