"""Find faces: RetinaFace-MobileNet0.25 through ONNX Runtime, with our own anchors, decoding and suppression; an adapter for YuNet.

    photo -> passes at chosen scales -> (boxes, probs, points) -> threshold -> suppression -> a second look per face -> Faces

Source: RetinaFace (Deng et al., CVPR 2020, arXiv 1905.00641): anchors, variances; weights and licence in `scripts/convert_retinaface.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lineament.detection.candidates import (
    Candidates,
    CpuSession,
    anchors,
    bordered,
    check_pixels,
    decode,
    distinct,
    merge,
    moved,
    nms,
    resized,
    shrunk,
    to_faces,
    unturn,
)
from lineament.detection.yunet import YuNet as YuNet
from lineament.errors import TooManyFacesError
from lineament.geometry import invert, transform_points, umeyama, warp
from lineament.types import Faces, UInt8

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "retinaface.onnx"
PAD_RGB = (123, 117, 104)
LOOK_SIZE = (256, 224)
LOOK_POINTS = np.array([[80.0, 101.0], [144.0, 101.0], [112.0, 139.0], [86.0, 170.0], [138.0, 170.0]])
LOOK_MIDDLE = LOOK_POINTS.mean(0)
LOOK_REACH, LOOK_SETTLED, LOOK_CLEAR = 40.0, 0.2, 0.997
QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])
"""The second look: every face is seen once more upright, eyes 64 pixels apart, the size at which this network's points are best. A find
reaches 40 pixels; it has settled when it moved the view by less than 0.2 in scale and turn; below 0.997 it is also looked at turned by the
other quarters (about 1 in 100 upright faces pays for that; upside-down ones are often seen as upright with 0.99)."""


@runtime_checkable
class Detector(Protocol):
    """Anything that finds faces in an upright photo."""

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of pixels (H,W,3) uint8 RGB, largest first; none is `Faces.empty()`."""
        ...


class Session(Protocol):
    """What runs the network: ONNX Runtime's session, or another runtime's that is called like it."""

    def run(self, names: None, feeds: dict[str, Any]) -> Sequence[Any]: ...


class RetinaFace:
    """The default detector.

    Convention: pixels (H,W,3) uint8 RGB, upright; boxes clipped to the photo; keypoints may lie outside it. Boxes go from the forehead to
    the chin. Passes:
    - the photo at a long side of 320 (smaller ones are enlarged to it, at most 4 times);
    - larger photos once more at 640, only where the first pass found nothing, or a face under 40 pixels of its input, be it only a hint
      (probability 0.02), or doubted (0.1, but too weak to count); at 1280 where the second found nothing or a face under 48; at 2560 where the
      third found one under 24: small faces come in groups, and a portrait should not pay for a crowd;
    - nothing found: a smaller, bordered view, for faces larger than the frame;
    - every find is looked at once more, upright and enlarged or reduced to one size. There it must convince again, and from there its
      box and points come: they do not depend on the face's size in the photo, nor the points on its tilt;
    - nothing convinced: the photo turned by 90, 180 and 270 degrees.
    Args: threads for ONNX Runtime (None: its default); min_prob a find needs (see `docs/benchmarks/detection.md`); min_face least longer
    side of a box in photo pixels; rescue whether to try turned photos; most_faces refuses
    crowds before their faces are looked at one by one; weights another file with the same contract; session another runtime's, of `weights`.
    """

    PASSES = ((320, 40.0), (640, 48.0), (1280, 24.0), (2560, 0.0))
    LEAST, TURNED = 320, 640
    HINT, DOUBT = 0.02, 0.1
    MAX_ENLARGE = 4.0
    MAX_IOU = 0.4
    LOOKS = 3

    def __init__(
        self,
        *,
        threads: int | None = None,
        min_prob: float = 0.6,
        min_face: float = 12.0,
        rescue: bool = True,
        second_look: bool = True,
        most_faces: int | None = None,
        weights: str | Path = WEIGHTS,
        session: Session | None = None,
    ) -> None:
        self._session = session or CpuSession(weights, threads)
        self.id = f"retinaface@{sha256(Path(weights).read_bytes()).hexdigest()[:8]}"
        self.min_prob, self.min_face, self.rescue, self.second_look = min_prob, min_face, rescue, second_look
        self.most_faces = most_faces

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of a photo, largest first; none is an empty result.

        Raises: UsageError for anything but uint8 (H,W,3); TooManyFacesError over `most_faces`.
        """
        check_pixels(pixels)
        faces = self._confirmed(pixels, self._upright(pixels))
        if not len(faces) and self.rescue:
            faces = self._confirmed(pixels, self._turned(pixels))
        return faces

    def _confirmed(self, pixels: UInt8, found: Candidates) -> Faces:
        """Return the finds that convince at the second look, with its boxes and points."""
        size = pixels.shape[0], pixels.shape[1]
        faces = to_faces(found, size, self.min_face)
        if self.most_faces is not None and len(faces) > self.most_faces:
            raise TooManyFacesError(f"{len(faces)} faces; at most {self.most_faces} in one photo are answered here. Cut it up.")
        if not self.second_look or not len(faces):
            return faces
        found = Candidates(faces.boxes_xyxy, faces.detection_probs, faces.keypoints)
        looks = [self._look(pixels, found.take(np.array([i]))) for i in range(len(found.probs))]
        seen = Candidates(*(np.concatenate(column) for column in zip(*looks, strict=True)))
        seen = seen._replace(probs=np.minimum(found.probs, seen.probs))
        seen = seen.take(np.flatnonzero(seen.probs >= self.min_prob))
        faces = to_faces(seen, size, self.min_face)
        return faces.take(distinct(faces.keypoints, faces.detection_probs))  # two weak finds beside one face may both turn out to be it

    def _look(self, pixels: UInt8, face: Candidates) -> Candidates:
        """Return a better view of one find; one that does not quite convince is also seen turned."""
        better = self._settle(pixels, face, face.points[0].astype(np.float64))
        if better.probs[0] >= LOOK_CLEAR or not self.rescue:
            return better
        image_from_view = invert(umeyama(face.points[0], LOOK_POINTS))
        for turns in (1, 2, 3):
            start = (LOOK_POINTS - LOOK_MIDDLE) @ np.linalg.matrix_power(QUARTER, turns) + LOOK_MIDDLE
            other = self._settle(pixels, face, transform_points(image_from_view, start))
            if other.probs[0] > max(better.probs[0], LOOK_CLEAR):
                better = other
        return better

    def _settle(self, pixels: UInt8, face: Candidates, points: npt.NDArray[np.float64]) -> Candidates:
        """Return one find as seen upright at the network's best size, from `points` (5,2); looks again if they moved much."""
        seen = face._replace(probs=np.zeros(1, np.float32))
        for _ in range(self.LOOKS):
            view_from_image = umeyama(points, LOOK_POINTS)
            found = self._scan(warp(pixels, view_from_image, LOOK_SIZE), 1.0)
            offset = np.linalg.norm(found.points.mean(1) - LOOK_MIDDLE, axis=1)
            if offset.min(initial=np.inf) > LOOK_REACH:
                break
            nearest = found.take(offset.argmin(keepdims=True))
            seen = moved(nearest, invert(view_from_image))
            points = seen.points[0].astype(np.float64)
            change = umeyama(LOOK_POINTS, nearest.points[0])[:, :2] - np.eye(2)
            if np.abs(change).max() < LOOK_SETTLED:
                break
        return seen

    def _upright(self, pixels: UInt8) -> Candidates:
        """Search a photo in the passes it needs; bordered and small if they find nothing."""
        long = max(pixels.shape[:2])
        scale = min(self.PASSES[0][0] / long, self.MAX_ENLARGE)
        seen = self._scan(pixels, scale, min_prob=min(self.HINT, self.min_prob))
        found = seen.take(np.flatnonzero(seen.probs >= self.min_prob))
        for (side, small), (next_side, _) in pairwise(self.PASSES):
            tiny = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(1, initial=0) * scale < small
            doubtful = (seen.probs >= self.DOUBT) & (seen.probs < self.min_prob)
            nothing = side <= self.PASSES[1][0] and not len(found.probs)
            if long <= side or not (tiny.any() or doubtful.any() or nothing):
                break
            scale = min(1.0, next_side / long)
            seen = found = merge([found, self._scan(pixels, scale)], self.MAX_IOU)
        if not len(found.probs):
            found = self._scan(pixels, self.LEAST / max(long, self.LEAST), border=self.LEAST // 4, min_prob=self._late())
        return found

    def _turned(self, pixels: UInt8) -> Candidates:
        """Return the finds of one pass over the turned photo that has the most probable face, in the unturned photo's pixels."""
        view = shrunk(pixels, self.TURNED)
        best, quarter = Candidates(*(np.zeros((0, *tail), np.float32) for tail in ((4,), (), (5, 2)))), 0
        for turns in (1, 2, 3):
            found = self._scan(np.ascontiguousarray(np.rot90(view, turns)), 1.0, min_prob=self._late())
            if found.probs.max(initial=0) > best.probs.max(initial=0):
                best, quarter = found, turns
        best = unturn(best, quarter, (view.shape[0], view.shape[1]))
        back = np.array([pixels.shape[1] / view.shape[1], pixels.shape[0] / view.shape[0]], np.float32)
        return Candidates(best.boxes * np.tile(back, 2), best.probs, best.points * back)

    def _late(self) -> float:
        """Return what a find needs where the ordinary passes found nothing: halfway between `min_prob` and 1."""
        return (1 + self.min_prob) / 2

    def _scan(self, view: UInt8, scale: float, *, border: int = 0, min_prob: float | None = None) -> Candidates:
        """Run the network once over a view resized by `scale`, with a border in network pixels; finds are in the view's pixels."""
        height, width = view.shape[:2]
        small_h, small_w = max(1, round(height * scale)), max(1, round(width * scale))
        canvas = bordered(resized(view, small_h, small_w), border, PAD_RGB)
        boxes, logits, points = self._session.run(None, {"image": canvas})
        probs = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        kept = np.flatnonzero(probs >= (self.min_prob if min_prob is None else min_prob))
        boxes, points = decode(boxes[kept], points[kept], anchors(canvas.shape[1], canvas.shape[2])[kept])
        back = np.array([width / small_w, height / small_h], np.float32)
        found = Candidates((boxes - border) * np.tile(back, 2), probs[kept], (points - border) * back)
        return found.take(nms(found.boxes, found.probs, self.MAX_IOU))
