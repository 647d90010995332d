"""Doctor's self-test can fail, and bench measures what it says."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from toy_model import write_toy_model

from lineament.api import Model, load
from lineament.bench import FACES, SCENES, SMALL, Scene, bench, photo_of, scene_photo
from lineament.demo import PORTRAIT, mosaic, portrait
from lineament.doctor import compare_golden, differences, examine, make_golden
from lineament.images import load_image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"), threads=1)


def test_golden_answers_are_met_by_the_model_that_made_them(model: Model) -> None:
    golden = make_golden(model)
    assert compare_golden(model, golden).ok
    assert differences(golden["record"], golden["record"]) == (0.0, 0.0)
    assert len(golden["record"]["faces"][0]["attributes"]) == 40


def test_golden_answers_notice_damage(model: Model, tmp_path: Path) -> None:
    golden = make_golden(model)
    shifted, moved, lost = (copy.deepcopy(golden) for _ in range(3))
    shifted["record"]["faces"][0]["attributes"]["Smiling"]["prob"] += 0.03
    moved["record"]["faces"][0]["keypoints"][2][0] += 1.5
    lost["record"]["faces"] = []
    for damaged in (shifted, moved, lost):
        assert compare_golden(model, damaged).ok is False
    other = load(write_toy_model(tmp_path / "other.onnx", seed=3), threads=1)
    found = compare_golden(other, golden)
    assert found.ok is False
    assert "make refit" in found.detail


def test_examine_names_a_model_that_does_not_load(tmp_path: Path) -> None:
    checks = list(examine(str(tmp_path / "gone.onnx")))
    assert [check.name for check in checks if check.ok is False][-1] == "self-test"
    assert {"lineament", "numpy", "providers", "processor"} <= {check.name for check in checks}


def test_the_portrait_and_its_mosaics() -> None:
    assert portrait().size == (512, 512)
    assert PORTRAIT.stat().st_size < 200_000
    picture = mosaic([64, 32, 64], 128)
    assert picture.shape == (128, 128, 3)
    np.testing.assert_array_equal(picture[40:60, 70:90], np.broadcast_to((196, 198, 204), (20, 20, 3)))
    for count in FACES:
        assert load_image(photo_of(count)).pixels.shape == (280 * max(1, count // 4), 280 * min(count, 4), 3)


def test_bench_names_what_its_figures_depend_on(model: Model) -> None:
    result = bench(model, runs=1, faces=(1, 4), cold=False)
    assert set(result["stages"]) == {"1", "4"}
    assert [stages["faces_found"] for stages in result["stages"].values()] == [1, 4]
    for stages in result["stages"].values():
        for stage in ("decode", "detect", "align", "attributes", "whole"):
            assert 0 < stages[stage]["p10_ms"] <= stages[stage]["median_ms"] <= stages[stage]["p90_ms"]
    about = result["environment"]
    assert (about["runtime"], about["precision"], about["threads"]) == ("onnx", "fp32", 1)
    assert about["versions"]["onnxruntime"]
    assert about["processor"]


def test_scenes_have_their_faces_and_pixels(model: Model) -> None:
    assert {scene.faces for scene in SCENES} == {1, 8}
    assert [round(scene.width * scene.height / 1e6, 1) for scene in SCENES] == [0.2, 0.3, 0.3, 2.0, 2.0, 12.0, 12.0]
    for scene in (SMALL, Scene(8, 640, 480), Scene(3, 400, 900)):
        report = model.analyze(scene_photo(scene))
        assert (report.width, report.height, len(report.faces)) == (scene.width, scene.height, scene.faces)


def test_a_scene_says_which_stage_bounds_it(model: Model) -> None:
    result = bench(model, runs=1, faces=(), scenes=(Scene(2, 300, 200),), runtimes=True, cold=False)
    row = result["scenes"]["2 faces, 300x200"]
    slowest = max(("decode", "detect", "align", "attributes"), key=lambda name: row[name]["median_ms"])
    assert row["slowest"] == slowest
    assert row["slowest_alone"] == pytest.approx(1000 * model.threads / row[slowest]["median_ms"], rel=1e-2)
    assert row["share_of_slowest"] == pytest.approx(row["stream"]["photos_per_s"] / row["slowest_alone"], abs=2e-3)
    assert row["all_stages"] < row["slowest_alone"]
    assert row["stream"]["faces_per_s"] == pytest.approx(2 * row["stream"]["photos_per_s"], rel=1e-2)
    assert row["stream"]["min"] <= row["stream"]["photos_per_s"] <= row["stream"]["max"]
    onnx, int8 = result["attributes"][:2]
    assert onnx["single_faces_per_s"] > 0
    assert onnx["min"] <= onnx["batch_faces_per_s"] <= onnx["max"]
    assert "int8" in int8["absent"]
