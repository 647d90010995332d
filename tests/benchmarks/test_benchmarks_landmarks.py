"""benchmarks/landmarks.py at toy size: one portrait whose truth is the detector's own points, and a head that always
says the template."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

import torch

from lineament.config import ModelConfig, TrainConfig
from lineament.detection.retinaface import RetinaFace
from lineament.geometry import CROP_SIZE, TEMPLATE
from lineament.models.build import build_network
from lineament.models.checkpoint import save_network

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("landmarks")


def data_folder(root: Path, points: np.ndarray, portrait: np.ndarray) -> Path:
    """Write landmarks68/ with one test photo whose 68 points reduce to `points` (5,2)."""
    where = (
        [2] * 36 + [0] * 6 + [1] * 6 + [3] * 6 + [4] * 14
    )  # jaw, brows and nose; eyes; the mouth from corner to corner
    folder = root / "landmarks68" / "images"
    folder.mkdir(parents=True)
    Image.fromarray(portrait).save(folder / "one.png")
    with (root / "landmarks68" / "landmarks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", *(f"{axis}{i}" for i in range(68) for axis in "xy")])
        writer.writerow(["one.png", "test", *points[where].reshape(-1).tolist()])
    return root


def test_the_detector_agrees_with_itself_and_a_head_that_says_the_template_is_off_by_what_alignment_leaves(
    tmp_path: Path, script: Any, astronaut: np.ndarray
) -> None:
    config = TrainConfig(
        "toy", model=ModelConfig("dmm-cnn", "toy", input_size=(64, 52), options={"inner": 8, "hidden": 16})
    )
    network: Any = build_network(config.model, ("Smiling", "Young"))
    last = network.landmark_head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.from_numpy(TEMPLATE / np.array([CROP_SIZE[1], CROP_SIZE[0]], np.float32)).reshape(-1))
    save_network(tmp_path / "head.safetensors", network, config, half=False)
    points = RetinaFace(threads=1).detect(astronaut).keypoints[0]
    data = data_folder(tmp_path, points, astronaut)
    assert (
        script.main(["--data", str(data), "--weights", str(tmp_path / "head.safetensors"), "--out", str(tmp_path)]) == 0
    )
    rows = json.loads((tmp_path / "landmarks.json").read_text("utf-8"))["rows"]
    assert rows["detector, second look"]["seen"] == 1
    assert rows["detector, second look"]["median"] == pytest.approx(0, abs=1e-4)
    assert 0 < rows["DMM-CNN, landmark head"]["median"] < 0.15
    assert "| DMM-CNN, landmark head | 1 of 1 |" in (tmp_path / "landmarks.md").read_text("utf-8")


def test_a_network_without_the_head_is_refused_with_the_fix(tmp_path: Path, script: Any) -> None:
    config = TrainConfig("toy", model=ModelConfig("baseline", "toy", input_size=(64, 52)))
    save_network(tmp_path / "plain.safetensors", build_network(config.model, ("Smiling",)), config)
    with pytest.raises(SystemExit, match=r"train --config dmm-cnn"):
        script.head(tmp_path / "plain.safetensors")


def test_the_mesh_s_points_are_where_the_five_are(script: Any, astronaut: np.ndarray) -> None:
    """The mesh read from an aligned crop, reduced to five points, lies near the layout that crops are aligned to."""
    from lineament.geometry import align
    from lineament.training.prepare.caches import MeshPoints

    faces = RetinaFace(threads=1).detect(astronaut)
    mesh = MeshPoints()(align(astronaut, faces.keypoints[:1]).pixels[0])
    five = script.five_of_mesh(np.asarray(mesh, np.float64))
    away = np.linalg.norm(five - TEMPLATE, axis=1)
    assert away.max() < 12
    assert five[0, 0] < five[1, 0]
    np.testing.assert_array_equal(script.five_of_mesh(five), five)
