"""What the service's tests run on: a toy network with maps, a detector that reads its answer from a pixel, and workers
that misbehave."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from toy_model import toy_card

from lineament.api import Model
from lineament.pipeline.analyze import Settings
from lineament.runtime.card import CARD_KEY, Card
from lineament.runtime.onnx import OnnxNetwork
from lineament.schema import CELEBA_40
from lineament.serve.photo_answer import Answered, PhotoRequest, answer
from lineament.types import Faces

TOY_DECISION = {
    "thresholds": {"Smiling": 0.35},
    "calibration": {},
    "abstain": {name: [0.42, 0.58] for name in CELEBA_40},
    "min_eye_distance": {},
}


def map_model(path: Path, kind: str = "class_activation", of: Sequence[str] = CELEBA_40) -> Path:
    """Write crops -> logits and maps [N,40,7,6]: a 1x1 convolution of mean colours; the mean of a map plus a bias is
    its logit.

    kind, of: what the card says of the maps; where `of` names fewer than 40, the first so many maps are put out.
    """
    rng = np.random.default_rng(7)
    constants = {
        "scale": np.float32(1 / 255),
        "half": np.float32(0.5),
        "weight": rng.normal(0, 6, (40, 3, 1, 1)).astype(np.float32),
        "bias": rng.normal(0, 1.0, 40).astype(np.float32),
        "from": np.array([0]),
        "to": np.array([len(of)]),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("Cast", ["crops"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "half"], ["centred"]),
        helper.make_node("AveragePool", ["centred"], ["cells"], kernel_shape=[31, 29], strides=[31, 29]),
        helper.make_node("Flatten", ["cells"], ["features"], axis=1),
        helper.make_node("Conv", ["cells", "weight"], ["every"]),
        helper.make_node("Slice", ["every", "from", "to", "axis"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["every"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Add", ["flat", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy with maps",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 3, 218, 178])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 40]),
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", len(of), 7, 6]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 126]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    card = toy_card(decision=TOY_DECISION).document | {"maps": {"kind": kind, "of": list(of)}}
    helper.set_model_props(model, {CARD_KEY: Card(card).to_json()})
    onnx.save(model, str(path))
    return path


class PixelDetector:
    """Finds as many faces as the first pixel's red says, side by side, the first the largest; the toy photos are made
    to fit."""

    def detect(self, pixels: np.ndarray) -> Faces:
        count = int(pixels[0, 0, 0])
        if not count:
            return Faces.empty()
        height, width = pixels.shape[:2]
        step = width / count
        boxes = np.array(
            [[i * step, 0, (i + 1) * step, height * (1 - 0.3 * i / count)] for i in range(count)], np.float32
        )
        layout = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.33, 0.78], [0.67, 0.78]], np.float32)
        sizes = boxes[:, None, 2:] - boxes[:, None, :2]
        return Faces(boxes, np.full(count, 0.99, np.float32), boxes[:, None, :2] + layout * sizes)


@dataclass(frozen=True)
class ToySource:
    """Loads the toy model in a worker process."""

    path: Path

    def __call__(self) -> Model:
        return Model(OnnxNetwork(self.path, threads=1), PixelDetector())


@dataclass(frozen=True)
class Misbehaving:
    """Answers as it should, but for photos whose source names a fault: crash, hang, slow, or crash once (a file
    remembers it)."""

    folder: Path

    def __call__(self, model: Model, photo: PhotoRequest) -> Answered:
        if photo.source.startswith("crash-once") and not (self.folder / "crashed").exists():
            (self.folder / "crashed").touch()
            os._exit(13)
        if photo.source.startswith("crash.") or photo.data == b"crash":
            os._exit(13)
        if photo.source.startswith("hang"):
            time.sleep(600)
        if photo.source.startswith("slow"):
            time.sleep(0.3)
        return answer(model, photo)


def toy_photo(
    faces: int = 1, *, seed: int = 0, size: tuple[int, int] = (120, 160), kind: str = "PNG", **options: Any
) -> bytes:
    """Return a photo on which `PixelDetector` finds `faces` faces; its colours depend on the seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)).copy()
    pixels[0, 0] = (faces, 0, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def toy_index(folder: Path, model: Model, photos: int = 8, burst: int = 0) -> Path:
    """Index `photos` toy photos with one to three faces each, kept in folder/photos, and a burst of as many photos of
    one moment."""
    from lineament.search.build import build_index

    (folder / "photos").mkdir()
    for seed in range(photos):
        (folder / "photos" / f"photo{seed}.png").write_bytes(toy_photo(1 + seed % 3, seed=seed))
    for number in range(burst):  # one look, other bytes
        (folder / "photos" / f"burst_{number}.png").write_bytes(toy_photo(1, seed=99) + bytes([number]))
    build_index(folder / "photos", folder / "faces.duckdb", replace(model, settings=Settings(profile="all")), threads=1)
    return folder / "faces.duckdb"
