"""An adapter for OpenCV Zoo's YuNet, from a file the user brings: run by ONNX Runtime, decoded here.

Source: YuNet (Wu et al., Machine Intelligence Research 2023); `face_detection_yunet_2023mar.onnx` of the OpenCV Zoo
(MIT). Input `input` float [1,3,H,W] BGR 0..255; per stride 8, 16, 32 the outputs `cls_*`, `obj_*` [1,P,1], `bbox_*`
[1,P,4], `kps_*` [1,P,10], one cell per position. OpenCV's own reader decodes them the same way: prob = sqrt(cls obj),
centre = (cell + offset) stride, side = exp(size) stride.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lineament.detection.candidates import STRIDES, Candidates, check_pixels, nms, resized, to_32, to_faces
from lineament.detection.sessions import CpuSession
from lineament.errors import ModelFileError
from lineament.files import sha256_of
from lineament.types import Faces, Float32, UInt8

LONG_SIDE = 640
MAX_IOU = 0.3


class YuNet:
    """A detector from OpenCV Zoo's YuNet file.

    Convention: pixels (H,W,3) uint8 RGB, upright; boxes clipped to the photo. One pass at a long side of at most 640,
    or at the file's fixed size where it has one.
    Args: path of the ONNX file; threads for ONNX Runtime; min_prob; min_face least longer side of a box in photo
        pixels.
    Raises: ModelFileError if the file is missing, no ONNX model, or not YuNet.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None = None, min_prob: float = 0.7, min_face: float = 12.0
    ) -> None:
        self._session = CpuSession(path, threads)
        self.min_prob, self.min_face = min_prob, min_face
        self.id = f"yunet@{sha256_of(path)[:8]}"
        names = {output.name for output in self._session.get_outputs()}
        missing = sorted({f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES} - names)
        if missing:
            raise ModelFileError(
                f"{path} is not YuNet: it lacks the outputs {missing}. Use face_detection_yunet_2023mar.onnx."
            )
        self._input = self._session.get_inputs()[0]

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of a photo, largest first; none is an empty result.

        Raises: UsageError for anything but uint8 (H,W,3).
        """
        check_pixels(pixels)
        canvas, back = self._letterbox(pixels)
        names = [output.name for output in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(None, {self._input.name: canvas}), strict=True))
        levels = [decode_level(outputs, stride, canvas.shape[3] // stride) for stride in STRIDES]
        found = Candidates(*(np.concatenate(column) for column in zip(*levels, strict=True)))
        found = found.take(np.flatnonzero(found.probs >= self.min_prob))
        found = found.take(nms(found.boxes, found.probs, MAX_IOU))
        size = pixels.shape[0], pixels.shape[1]
        return to_faces(
            Candidates(found.boxes * np.tile(back, 2), found.probs, found.points * back), size, self.min_face
        )

    def _letterbox(self, pixels: UInt8) -> tuple[Float32, Float32]:
        """Return the network input (1,3,H,W) float BGR, photo top left, and the factors (x, y) back to photo pixels."""
        height, width = pixels.shape[:2]
        fixed = [side if isinstance(side, int) else None for side in self._input.shape[2:]]
        room_h, room_w = (side or LONG_SIDE for side in fixed)
        scale = min(room_h / height, room_w / width, 1.0)
        small_h, small_w = max(1, round(height * scale)), max(1, round(width * scale))
        canvas = np.zeros((1, 3, fixed[0] or to_32(small_h), fixed[1] or to_32(small_w)), np.float32)
        canvas[0, :, :small_h, :small_w] = resized(pixels, small_h, small_w)[..., ::-1].transpose(2, 0, 1)
        return canvas, np.array([width / small_w, height / small_h], np.float32)


def decode_level(outputs: dict[str, Any], stride: int, columns: int) -> Candidates:
    """Return all cells of one stride as finds in network pixels."""
    cls, obj, box, points = (outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps"))
    probs = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
    index = np.arange(len(probs))
    cell = np.stack([index % columns, index // columns], 1).astype(np.float32)
    centre, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
    return Candidates(
        np.concatenate([centre - half, centre + half], 1), probs, (points.reshape(-1, 5, 2) + cell[:, None]) * stride
    )
