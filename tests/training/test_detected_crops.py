"""Photos that are not crops yet: found and aligned while they are decoded, for training as for analysis."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_model import write_toy_model
from typer.testing import CliRunner

pytest.importorskip("torch")

from lineament import geometry
from lineament.cli import app
from lineament.config import from_dict
from lineament.detection.retinaface import RetinaFace
from lineament.errors import ConfigError
from lineament.schema import CELEBA_40
from lineament.training.dataset import load_material
from lineament.training.prepare.detected_crops import Detected, middle


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def lfwa(tmp_path_factory, astronaut) -> Path:
    """Two photos of one person in LFWA's text layout."""
    root = tmp_path_factory.mktemp("lfwa")
    folder = root / "lfw" / "Eileen_Collins"
    folder.mkdir(parents=True)
    names = [f"Eileen_Collins/Eileen_Collins_{number:04d}.jpg" for number in (1, 2)]
    for name, size in zip(names, (512, 400), strict=True):
        Image.fromarray(astronaut).resize((size, size)).save(root / "lfw" / name, quality=95)
    lines = [f"{name} {' '.join(['1'] + ['-1'] * 39)}" for name in names]
    (root / "lfw_att_40.txt").write_text("\n".join(["2", " ".join(CELEBA_40), *lines]) + "\n")
    return root


def test_the_crop_is_the_one_analysis_would_make(astronaut) -> None:
    faces = RetinaFace(threads=1).detect(astronaut).largest_first()
    np.testing.assert_array_equal(Detected()(png(astronaut)), geometry.align(astronaut, faces.keypoints[:1]).pixels[0])


@pytest.mark.parametrize("size", [(250, 250), (218, 178), (100, 300)])
def test_without_a_face_the_middle_is_taken_in_proportion(size) -> None:
    height, width = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 2 - 5 : height // 2 + 5, width // 2 - 5 : width // 2 + 5] = 255  # a square in the middle stays one
    crop = middle(pixels)
    assert crop.shape == (3, 218, 178)
    ys, xs = np.nonzero(crop[0] > 127)
    assert abs(ys.mean() + 0.5 - 109) < 1.5
    assert abs(xs.mean() + 0.5 - 89) < 1.5
    assert abs(np.ptp(ys) - np.ptp(xs)) <= 1
    decode = Detected()
    np.testing.assert_array_equal(decode(png(pixels)), crop)
    assert decode.missed == 1


def test_lfwa_trains_on_found_faces_and_its_cache_is_another_file(lfwa: Path, tmp_path: Path) -> None:
    data = {"layout": "lfwa", "path": str(lfwa), "split": "train", "cache": str(tmp_path)}
    found = load_material(from_dict({"name": "x", "data": data | {"align": "detect"}}))
    stored = load_material(from_dict({"name": "x", "data": data}))
    assert sorted(path.name for path in tmp_path.glob("*.u8")) == sorted(
        f"{stored.table.fingerprint()}{kind}.u8" for kind in ("", "-detect")
    )
    one, two = np.asarray(found.crops[:2]).astype(int)
    assert np.abs(one - two).mean() < 12, "one person at two sizes gives nearly one crop"
    assert np.abs(one - np.asarray(stored.crops[0])).mean() > 20
    with pytest.raises(ConfigError, match=r"data\.align"):
        load_material(from_dict({"name": "x", "data": data | {"align": "guess"}}))


def test_lfwa_is_evaluated_by_command(lfwa: Path, tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.onnx")
    done = CliRunner().invoke(
        app, ["evaluate", str(lfwa), "--layout", "lfwa", "--model", str(model), "--json", "-", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert (card["images"], card["undetected"]) == (2, 0)
    assert card["protocol"]["align"] == "detect"
