"""Find faces: RetinaFace-MobileNet0.25 through ONNX Runtime, with our own anchors, decoding and suppression; an adapter for YuNet.

    photo -> passes at chosen scales -> (boxes, probs, points) -> threshold -> suppression -> a second look per face -> Faces

Source: RetinaFace (Deng et al., CVPR 2020, arXiv 1905.00641): anchors, variances; weights and licence in `scripts/convert_retinaface.py`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.errors import ModelFileError, UsageError
from lineament.geometry import invert, transform_points, umeyama, warp
from lineament.types import Faces, Float, UInt8

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "retinaface.onnx"
STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)
PAD_RGB = (123, 117, 104)
LOOK_SIZE = (256, 224)
LOOK_POINTS = np.array([[80.0, 101.0], [144.0, 101.0], [112.0, 139.0], [86.0, 170.0], [138.0, 170.0]])
LOOK_REACH, LOOK_SETTLED = 40.0, 0.2
"""The second look: every face is seen once more upright, eyes 64 pixels apart, the size at which this network's points are best."""


@runtime_checkable
class Detector(Protocol):
    """Anything that finds faces in an upright photo."""

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of pixels (H,W,3) uint8 RGB, largest first; none is `Faces.empty()`."""
        ...


class Found(NamedTuple):
    """Raw finds: boxes (M,4) xyxy, probs (M,), points (M,5,2), in the pixels of whatever was scanned."""

    boxes: Float
    probs: Float
    points: Float

    def take(self, index: npt.NDArray[Any]) -> Found:
        return Found(self.boxes[index], self.probs[index], self.points[index])


@lru_cache(maxsize=64)
def anchors(height: int, width: int) -> Float:
    """Return the anchors (P,4) as (centre x, centre y, side, side) of a network input, stride by stride, row by row, small before large.

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


def decode(boxes: Float, points: Float, priors: Float) -> tuple[Float, Float]:
    """Turn offsets into pixels of the network input: boxes (M,4) -> xyxy, points (M,10) -> (M,5,2), against priors (M,4)."""
    centre = priors[:, :2] + boxes[:, :2] * VARIANCES[0] * priors[:, 2:]
    half = priors[:, 2:] * np.exp(boxes[:, 2:] * VARIANCES[1]) / 2
    keypoints = priors[:, None, :2] + points.reshape(-1, 5, 2) * VARIANCES[0] * priors[:, None, 2:]
    return np.concatenate([centre - half, centre + half], 1), keypoints


def iou_matrix(a: Float, b: Float) -> Float:
    """Return intersection over union (len(a), len(b)) of xyxy boxes; 0 where the union is empty."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b))
    union = area_a[:, None] + area_b[None, :] - inter
    overlap: Float = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return overlap


def nms(boxes: Float, probs: Float, max_iou: float) -> npt.NDArray[np.intp]:
    """Return the indices kept by greedy suppression, most probable first (ties by input order)."""
    order = np.argsort(-probs, kind="stable")
    overlaps = iou_matrix(boxes[order], boxes[order]) > max_iou
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[alive]


def open_session(path: str | Path, threads: int | None) -> Any:
    """Return an ONNX Runtime session on the CPU that gives the same numbers each run.

    Raises: ModelFileError if the file is missing or no ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not Path(path).is_file():
        raise ModelFileError(f"No detector at {path}. Give the path of an ONNX file.")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (onnxruntime.capi.onnxruntime_pybind11_state.Fail, onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf) as error:
        raise ModelFileError(f"{path} cannot be opened as an ONNX model ({error}).") from error


def merge(parts: list[Found], max_iou: float) -> Found:
    """Return the finds of several passes as one, each face once."""
    joined = Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return joined.take(nms(joined.boxes, joined.probs, max_iou))


def to_faces(found: Found, size: tuple[int, int], min_face: float) -> Faces:
    """Return finds as Faces of a photo of size (h, w): boxes clipped to it, what lies outside or is under `min_face` pixels left out."""
    limit = np.array([size[1], size[0]] * 2, np.float32)
    centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    big = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0) >= min_face
    inside = ((centre > 0) & (centre < limit[:2])).all(1)
    kept = found.take(np.flatnonzero(inside & big))
    boxes = np.clip(kept.boxes, 0, limit).astype(np.float32)
    return Faces(boxes, kept.probs.astype(np.float32), kept.points.astype(np.float32)).largest_first()


def check_pixels(pixels: UInt8) -> None:
    """Raise UsageError unless pixels are uint8 (H,W,3) with H, W >= 1."""
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UsageError(f"A detector takes uint8 RGB pixels (H,W,3), not empty; got {found}.")


class RetinaFace:
    """The default detector.

    Convention: pixels (H,W,3) uint8 RGB, upright; boxes clipped to the photo; keypoints may lie outside it. Boxes go from the forehead to
    the chin. Passes:
    - the photo at a long side of 640 (photos under 320 are enlarged to 320, at most 4 times; between, they stay as they are);
    - photos over 640: once more at 1280, only where the first pass found nothing or a small face (under 48 pixels of its input), because
      small faces come in groups and a portrait should not pay four times;
    - nothing found: a smaller, bordered view, for faces larger than the frame; then the photo turned by 90, 180 and 270 degrees.
    Args: threads for ONNX Runtime (None: its default); min_prob a find needs (see `docs/benchmarks/detection.md`); min_face least longer
    side of a box in photo pixels; rescue whether to try turned photos; weights another file with the same contract.
    """

    FIRST, SECOND, LEAST = 640, 1280, 320
    SMALL = 48.0
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
        weights: str | Path = WEIGHTS,
    ) -> None:
        self._session = open_session(weights, threads)
        self.min_prob, self.min_face, self.rescue, self.second_look = min_prob, min_face, rescue, second_look

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of a photo, largest first; none is an empty result.

        Raises: UsageError for anything but uint8 (H,W,3).
        """
        check_pixels(pixels)
        size = pixels.shape[0], pixels.shape[1]
        view = _shrunk(pixels, self.SECOND)
        found = self._upright(view)
        if not len(found.probs) and self.rescue:
            found = self._turned(view)
        scale = np.array([size[1] / view.shape[1], size[0] / view.shape[0]], np.float32)
        faces = to_faces(Found(found.boxes * np.tile(scale, 2), found.probs, found.points * scale), size, self.min_face)
        if not self.second_look:
            return faces
        points = np.array([self._look(pixels, points) for points in faces.keypoints], np.float32).reshape(-1, 5, 2)
        return Faces(faces.boxes_xyxy, faces.detection_probs, points)

    def _look(self, pixels: UInt8, points: Float) -> npt.NDArray[np.float64]:
        """Return better points (5,2) of one face: seen upright at the network's best size, again if that moved them much."""
        better = points.astype(np.float64)
        for _ in range(self.LOOKS):
            view_from_image = umeyama(better, LOOK_POINTS)
            found = self._scan(warp(pixels, view_from_image, LOOK_SIZE), 1.0, min_prob=self.min_prob / 2)
            offset = np.linalg.norm(found.points.mean(1) - LOOK_POINTS.mean(0), axis=1)
            if offset.min(initial=np.inf) > LOOK_REACH:
                break
            seen = found.points[offset.argmin()]
            better = transform_points(invert(view_from_image), seen)
            moved = umeyama(LOOK_POINTS, seen)[:, :2] - np.eye(2)
            if np.abs(moved).max() < LOOK_SETTLED:
                break
        return better

    def _upright(self, view: UInt8) -> Found:
        """Search a view (long side at most SECOND) in one pass, or two; bordered and small if both find nothing."""
        long = max(view.shape[:2])
        scale = min(self.FIRST / long, max(1.0, min(self.LEAST / long, self.MAX_ENLARGE)))
        found = self._scan(view, scale)
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0) * scale
        if long > self.FIRST and sides.min(initial=0 if not len(sides) else np.inf) < self.SMALL:
            found = merge([found, self._scan(view, 1.0)], self.MAX_IOU)
        if not len(found.probs):
            found = self._scan(view, min(scale, self.LEAST / long), border=self.LEAST // 4)
        return found

    def _turned(self, view: UInt8) -> Found:
        """Return the finds of the turned view that has the most probable face, in the unturned view's pixels."""
        best, quarter = Found(*(np.zeros((0, *tail), np.float32) for tail in ((4,), (), (5, 2)))), 0
        for turns in (1, 2, 3):
            found = self._upright(np.ascontiguousarray(np.rot90(view, turns)))
            if found.probs.max(initial=0) > best.probs.max(initial=0):
                best, quarter = found, turns
        return _unturn(best, quarter, (view.shape[0], view.shape[1]))

    def _scan(self, view: UInt8, scale: float, *, border: int = 0, min_prob: float | None = None) -> Found:
        """Run the network once over a view resized by `scale`, with a border in network pixels; finds are in the view's pixels."""
        height, width = view.shape[:2]
        small_h, small_w = max(1, round(height * scale)), max(1, round(width * scale))
        picture = _resized(view, small_h, small_w)
        canvas = np.empty((1, _to_32(small_h + 2 * border), _to_32(small_w + 2 * border), 3), np.uint8)
        canvas[:] = PAD_RGB  # the network's mean: after its subtraction the border is the zero that convolutions pad with
        canvas[0, border : border + small_h, border : border + small_w] = picture
        boxes, logits, points = self._session.run(None, {"image": canvas})
        probs = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        kept = np.flatnonzero(probs >= (self.min_prob if min_prob is None else min_prob))
        boxes, points = decode(boxes[kept], points[kept], anchors(canvas.shape[1], canvas.shape[2])[kept])
        back = np.array([width / small_w, height / small_h], np.float32)
        found = Found((boxes - border) * np.tile(back, 2), probs[kept], (points - border) * back)
        return found.take(nms(found.boxes, found.probs, self.MAX_IOU))


def _to_32(side: int) -> int:
    return -(-side // 32) * 32


def _resized(view: UInt8, height: int, width: int) -> UInt8:
    if view.shape[:2] == (height, width):
        return view
    return np.asarray(Image.fromarray(view).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _shrunk(pixels: UInt8, long_side: int) -> UInt8:
    """Return the photo with its long side at most `long_side`."""
    scale = min(1.0, long_side / max(pixels.shape[:2]))
    return _resized(pixels, max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))


def _unturn(found: Found, turns: int, size: tuple[int, int]) -> Found:
    """Move finds from `np.rot90(view, turns)` back to a view of size (h, w)."""
    height, width = size
    points = np.concatenate([found.boxes.reshape(-1, 2, 2), found.points], 1)
    x, y = points[..., 0], points[..., 1]
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns]
    moved = np.stack(back, -1)
    boxes = np.concatenate([moved[:, :2].min(1), moved[:, :2].max(1)], 1)
    return Found(boxes, found.probs, moved[:, 2:])
