"""Find faces: RetinaFace-MobileNet0.25 through ONNX Runtime, with our own anchors, decoding and suppression; an adapter for YuNet.

    photo -> passes at chosen scales -> (boxes, probs, points) -> threshold -> suppression -> a second look per face -> Faces

Source: RetinaFace (Deng et al., CVPR 2020, arXiv 1905.00641): anchors, variances; weights and licence in `scripts/convert_retinaface.py`.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lineament.errors import TooManyFacesError
from lineament.geometry import invert, transform_points, umeyama, warp
from lineament.pipeline.finds import (
    Found,
    anchors,
    check_pixels,
    decode,
    distinct,
    merge,
    nms,
    open_session,
    resized,
    shrunk,
    to_32,
    to_faces,
    unturn,
)
from lineament.pipeline.yunet import YuNet as YuNet
from lineament.types import Faces, Float, UInt8

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


class RetinaFace:
    """The default detector.

    Convention: pixels (H,W,3) uint8 RGB, upright; boxes clipped to the photo; keypoints may lie outside it. Boxes go from the forehead to
    the chin. Passes:
    - the photo at a long side of 640 (photos under 320 are enlarged to 320, at most 4 times; between, they stay as they are);
    - larger photos once more at 1280, only where the first pass found nothing or a face under 48 pixels of its input, and at 2560 where the
      second found one under 24: small faces come in groups, and a portrait should not pay for a crowd;
    - nothing found: a smaller, bordered view, for faces larger than the frame;
    - every find is looked at once more, upright and enlarged or reduced to one size. There it must convince again, and from there its
      points come: they do not depend on the face's size in the photo or on its tilt;
    - nothing convinced: the photo turned by 90, 180 and 270 degrees.
    Args: threads for ONNX Runtime (None: its default); min_prob a find needs (see `docs/benchmarks/detection.md`); min_face least longer
    side of a box in photo pixels; rescue whether to try turned photos; most_faces refuses
    crowds before their faces are looked at one by one; weights another file with the same contract.
    """

    PASSES = ((640, 48.0), (1280, 24.0), (2560, 0.0))
    LEAST = 320
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
    ) -> None:
        self._session = open_session(weights, threads)
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

    def _confirmed(self, pixels: UInt8, found: Found) -> Faces:
        """Return the finds that convince at the second look, with its points."""
        faces = to_faces(found, (pixels.shape[0], pixels.shape[1]), self.min_face)
        if self.most_faces is not None and len(faces) > self.most_faces:
            raise TooManyFacesError(f"{len(faces)} faces; at most {self.most_faces} in one photo are answered here. Cut it up.")
        if not self.second_look or not len(faces):
            return faces
        looks = [self._look(pixels, points) for points in faces.keypoints]
        points = np.stack([better for better, _ in looks]).astype(np.float32)
        probs = np.minimum(faces.detection_probs, np.array([prob for _, prob in looks], np.float32))
        sure = Faces(faces.boxes_xyxy, probs, points).take(np.flatnonzero(probs >= self.min_prob))
        return sure.take(distinct(sure.keypoints, sure.detection_probs))  # two weak finds beside one face may both turn out to be it

    def _look(self, pixels: UInt8, points: Float) -> tuple[npt.NDArray[np.float64], float]:
        """Return better points (5,2) of one face and its probability; a face that does not quite convince is also seen turned."""
        better, prob = self._settle(pixels, points.astype(np.float64))
        if prob >= LOOK_CLEAR or not self.rescue:
            return better, prob
        image_from_view = invert(umeyama(points, LOOK_POINTS))
        for turns in (1, 2, 3):
            start = (LOOK_POINTS - LOOK_MIDDLE) @ np.linalg.matrix_power(QUARTER, turns) + LOOK_MIDDLE
            other, surer = self._settle(pixels, transform_points(image_from_view, start))
            if surer > max(prob, LOOK_CLEAR):
                better, prob = other, surer
        return better, prob

    def _settle(self, pixels: UInt8, points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
        """Return points (5,2) seen upright at the network's best size, and their probability; looks again if they moved much."""
        prob = 0.0
        for _ in range(self.LOOKS):
            view_from_image = umeyama(points, LOOK_POINTS)
            found = self._scan(warp(pixels, view_from_image, LOOK_SIZE), 1.0)
            offset = np.linalg.norm(found.points.mean(1) - LOOK_MIDDLE, axis=1)
            if offset.min(initial=np.inf) > LOOK_REACH:
                break
            nearest = int(offset.argmin())
            seen, prob = found.points[nearest], float(found.probs[nearest])
            points = transform_points(invert(view_from_image), seen)
            moved = umeyama(LOOK_POINTS, seen)[:, :2] - np.eye(2)
            if np.abs(moved).max() < LOOK_SETTLED:
                break
        return points, prob

    def _upright(self, pixels: UInt8) -> Found:
        """Search a photo in the passes it needs; bordered and small if they find nothing."""
        long = max(pixels.shape[:2])
        scale = min(self.PASSES[0][0] / long, max(1.0, min(self.LEAST / long, self.MAX_ENLARGE)))
        found = self._scan(pixels, scale)
        for (side, small), (next_side, _) in pairwise(self.PASSES):
            smallest = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0).min(initial=np.inf) * scale
            closer = smallest < small or (side == self.PASSES[0][0] and not len(found.probs))
            if long <= side or not closer:
                break
            scale = min(1.0, next_side / long)
            found = merge([found, self._scan(pixels, scale)], self.MAX_IOU)
        if not len(found.probs):
            found = self._scan(pixels, self.LEAST / max(long, self.LEAST), border=self.LEAST // 4, late=True)
        return found

    def _turned(self, pixels: UInt8) -> Found:
        """Return the finds of one pass over the turned photo that has the most probable face, in the unturned photo's pixels."""
        view = shrunk(pixels, self.PASSES[0][0])
        best, quarter = Found(*(np.zeros((0, *tail), np.float32) for tail in ((4,), (), (5, 2)))), 0
        for turns in (1, 2, 3):
            found = self._scan(np.ascontiguousarray(np.rot90(view, turns)), 1.0, late=True)
            if found.probs.max(initial=0) > best.probs.max(initial=0):
                best, quarter = found, turns
        best = unturn(best, quarter, (view.shape[0], view.shape[1]))
        back = np.array([pixels.shape[1] / view.shape[1], pixels.shape[0] / view.shape[0]], np.float32)
        return Found(best.boxes * np.tile(back, 2), best.probs, best.points * back)

    def _scan(self, view: UInt8, scale: float, *, border: int = 0, late: bool = False) -> Found:
        """Run the network once over a view resized by `scale`, with a border in network pixels; finds are in the view's pixels.

        late: nothing was found in the ordinary passes. A find must then be surer: probability halfway between `min_prob` and 1.
        """
        height, width = view.shape[:2]
        small_h, small_w = max(1, round(height * scale)), max(1, round(width * scale))
        picture = resized(view, small_h, small_w)
        canvas = np.empty((1, to_32(small_h + 2 * border), to_32(small_w + 2 * border), 3), np.uint8)
        canvas[:] = PAD_RGB  # the network's mean: after its subtraction the border is the zero that convolutions pad with
        canvas[0, border : border + small_h, border : border + small_w] = picture
        boxes, logits, points = self._session.run(None, {"image": canvas})
        probs = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        kept = np.flatnonzero(probs >= ((1 + self.min_prob) / 2 if late else self.min_prob))
        boxes, points = decode(boxes[kept], points[kept], anchors(canvas.shape[1], canvas.shape[2])[kept])
        back = np.array([width / small_w, height / small_h], np.float32)
        found = Found((boxes - border) * np.tile(back, 2), probs[kept], (points - border) * back)
        return found.take(nms(found.boxes, found.probs, self.MAX_IOU))
