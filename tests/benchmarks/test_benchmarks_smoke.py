"""Every benchmark here that writes a page, at toy size: a toy network, drawn faces, the bundled portrait. What can be
known is checked."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_model import write_toy_model

from lineament import geometry
from lineament.data.celeba import Official
from lineament.data.synthetic import make
from lineament.data.synthetic_files import write_official
from lineament.evaluation.least_quality import Way
from lineament.schema import CELEBA_40

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what imports a script of benchmarks/ by name, as `python benchmarks/NAME.py` would find its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


@pytest.fixture
def peers(script: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return benchmarks/peers/run.py."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    return import_module("run")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def read(out: Path, name: str) -> tuple[dict[str, Any], str]:
    text = (out / f"{name}.md").read_text(encoding="utf-8")
    document = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    assert document["command"].startswith("python benchmarks/")
    assert document["environment"]["model"].startswith("toy@")
    assert str(out) not in text, "a page must not hold a path of the machine it was made on"
    return document, text


def wild_folder(root: Path, astronaut: np.ndarray) -> None:
    """Write wild/: the portrait, twice of different size on one photo, and a photo of nothing."""
    photos = root / "wild" / "photos"
    photos.mkdir(parents=True)
    Image.fromarray(astronaut).save(photos / "000001.jpg")
    pair = Image.new("RGB", (760, 512), (128, 128, 128))
    pair.paste(Image.fromarray(astronaut), (0, 0))
    pair.paste(Image.fromarray(astronaut).resize((240, 240)), (516, 100))
    pair.save(photos / "000002.jpg")
    Image.new("RGB", (200, 200), (90, 120, 90)).save(photos / "000003.jpg")
    rows = ["file," + ",".join(CELEBA_40)] + [
        f"00000{i}.jpg," + ",".join("1" if (i + a) % 3 else "0" for a in range(40)) for i in (1, 2, 3)
    ]
    (root / "wild" / "labels.csv").write_text("\n".join(rows) + "\n")


def test_face_size_whole_images_score_as_evaluate_does(
    tmp_path: Path, script: Any, toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineament.evaluation.evaluate import predict
    from lineament.evaluation.scorecard import scorecard
    from lineament.runtime.registry import load_network

    official = write_official(tmp_path / "data" / "celeba" / "official", make(60))
    face_size = script("face_size")
    few = (Way("whole"), Way("size", 40), Way("size", 14), Way("defocus", 2.0), Way("motion", 9))
    monkeypatch.setattr(face_size.run, "__defaults__", (few,))
    face_size.main(["--data", str(tmp_path / "data"), "--model", toy, "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "face-size")
    source, network = Official(official, "val"), load_network(toy, threads=1)
    card = scorecard(predict(source, network, network.card.attributes).predictions)
    assert document["images"] == len(source.table) > 0
    assert document["sizes"][0]["mean_accuracy"] == pytest.approx(card["mean_accuracy"], abs=1e-6)
    assert document["majority_accuracy"] == pytest.approx(card["majority_accuracy"], abs=1e-6)
    assert [row["width"] for row in document["sizes"]] == [178, 40, 14]
    assert [row["kind"] for row in document["held_out"]["ways"]] == [way.kind for way in few]
    assert set(document["min_eye_distance"]) <= {"*", *CELEBA_40}
    assert len(document["limits_of_fold"]) == 5
    assert "| Smiling |" in text


def test_face_size_shrinks_points_with_the_picture() -> None:
    height, width = geometry.CROP_SIZE
    y, x = np.mgrid[:height, :width].astype(np.float64) + 0.5
    ramp = np.stack([x, y, x + y], -1) / 2
    whole = np.clip(np.rint(ramp), 0, 255).astype(np.uint8)
    small, points = Way("size", 89).apply(whole)
    back = geometry.align(small, points[None]).pixels[0].transpose(1, 2, 0).astype(float)
    middle = (slice(20, -20), slice(20, -20))
    assert small.shape == (109, 89, 3)
    assert np.abs(back - whole)[middle].max() <= 1.5, "an enlarged crop must lie where the whole one lay"


def test_wild_counts_what_was_found(tmp_path: Path, script: Any, toy: str, astronaut: np.ndarray) -> None:
    wild_folder(tmp_path / "data", astronaut)
    script("wild").main(["--data", str(tmp_path / "data"), "--model", toy, "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "wild")
    assert (document["photos"], document["found"], document["several"], document["faces"]) == (3, 2, 1, 3)
    assert document["not_found"] == ["000003.jpg"]
    right = {way: row["mean"] for way, row in document["accuracy"].items()}
    assert right["largest"] <= right["best"] <= 2 / 3, "a photo without a face is wrong in all forty"
    assert "**2 of 3**" in text


def test_wild_tells_the_labelled_face_by_its_pixels(script: Any, toy: str, astronaut: np.ndarray) -> None:
    import lineament

    wild, model = script("wild"), lineament.load(toy)
    pair = np.full((512, 1024, 3), 128, np.uint8)
    pair[:, :512] = astronaut
    pair[100:400, 600:900] = np.asarray(Image.fromarray(astronaut).resize((300, 300)))[:, ::-1] // 2
    report = model.analyze(pair, channels="RGB")
    assert len(report.faces) == 2
    for index in (0, 1):
        assert wild.matching_face(report, report.crops()[index].transpose(1, 2, 0)) == index


def test_invariance_encodes_every_orientation(script: Any) -> None:
    from lineament.images import load_image

    invariance, pixels = script("invariance"), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    for turn in range(1, 9):
        assert np.array_equal(load_image(invariance.encode(pixels, "PNG", orientation=turn)).pixels, pixels), turn


def test_invariance_lossless_variants_move_nothing(tmp_path: Path, script: Any, toy: str) -> None:
    assert script("invariance").main(["--data", str(tmp_path), "--model", toy, "--out", str(tmp_path / "out")]) == 0
    document, text = read(tmp_path / "out", "invariance")
    exact = [row for name, row in document["variants"].items() if name.startswith("PNG")]
    assert len(exact) == 8
    assert all(row["faces"] == 1 and row["max"] == 0 for row in exact)
    assert document["variants"]["mirrored"]["max"] > 0, "the toy network is not symmetric: a mirror must show"
    assert document["company"]["compared"] > 16
    assert document["company"]["differed"] == 0
    assert "none differs" in text


@pytest.mark.slow
def test_startup_measures_fresh_processes(tmp_path: Path, script: Any, toy: str) -> None:
    script("startup").main(["--runs", "1", "--stage-runs", "1", "--model", toy, "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "startup")
    assert [document["cold_start"][name]["faces_found"] for name in ("one face", "twelve faces")] == [1, 12]
    peak = document["cold_start"]["one face"]["peak_mb"]["median"]
    assert peak == 0 or 36 < peak < 4000, "12 megapixels are 36 MB of pixels: less cannot be the peak"
    assert sys.executable not in text


def test_draft_pairs_faces_and_counts_what_moved(script: Any) -> None:
    from lineament.types import Answer, FaceReport, Quality, Report

    def face(x: float, prob: float) -> FaceReport:
        quality = Quality(100.0, 0.5, 0.0, 0.0, 0.0)
        return FaceReport(
            (x, 0, x + 9, 9), 0.9, ((x, 5.0),) * 5, quality, {"Smiling": Answer(prob, "yes" if prob >= 0.5 else "no")}
        )

    ours = Report("x", "ok", "toy", "all", (face(1000, 0.2), face(500, 0.4), face(9000, 0.9)))
    theirs = Report("x", "ok", "toy", "all", (face(501, 0.6), face(999, 0.21)))
    found = list(script("draft").pairs(ours, theirs, 0))
    assert [(one.keypoints[0][0], other.keypoints[0][0]) for one, other in found] == [(1000, 999), (500, 501)]
    row = script("draft").moved(found, 0)
    assert (row["faces"], row["labels_changed"], row["labels"]) == (2, 1, 2)
    assert row["max"] == pytest.approx(0.2)
    assert row["median"] == pytest.approx(0.105)
    assert row["points_max"] == pytest.approx(0.01)


@pytest.mark.slow
def test_draft_times_and_compares_both_decodes(tmp_path: Path, script: Any, toy: str, astronaut: np.ndarray) -> None:
    wild_folder(tmp_path / "data", astronaut)
    script("draft").main(
        [
            "--data",
            str(tmp_path / "data"),
            "--model",
            toy,
            "--runs",
            "1",
            "--limit",
            "1",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    document, text = read(tmp_path / "out", "draft")
    assert [(row["faces"], row["answered_small"]) for row in document["times"].values()] == [
        (1, True),
        (8, True),
        (8, False),
        (0, False),
    ]
    assert document["moves"]["wild/, enlarged"]["answered_small"] == 1
    assert document["moves"]["wild/, enlarged"]["moves"]["smaller decode"]["faces"] == 1
    assert "one pixel cut off" in text


def test_metrics_scale_measures_fresh_processes(tmp_path: Path, script: Any) -> None:
    script("metrics_scale").main(["--images", "600", "--draws", "50", "--runs", "1", "--out", str(tmp_path)])
    document = json.loads((tmp_path / "metrics-scale.json").read_text())
    run = document["runs"][0]
    assert run["total"] == pytest.approx(sum(run[key] for key in ("read", "scorecard", "by_person", "by_image")))
    assert 0.03 < run["peak_gb"] < 4, "NumPy and PyArrow alone take tens of megabytes"
    assert 0.8 < run["accuracy"] < 1
    assert "600 images x 40 attributes" in (tmp_path / "metrics-scale.md").read_text()


def test_speed_and_planning_write_what_they_measured(
    tmp_path: Path, script: Any, toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed, out = script("speed"), tmp_path / "out"
    monkeypatch.setattr(speed, "CONFIGURATIONS", (("onnx", None), ("onnx", "bf16")))
    speed.main(["--runs", "1", "--scenes", "1", "--worker-photos", "4", "--model", toy, "--out", str(out)])
    document, text = read(out, "speed")
    assert list(document["end_to_end"]) == ["onnx fp32"], "what cannot be had is left out"
    row = document["end_to_end"]["onnx fp32"]["1 face, 500x500"]
    assert row["faces_found"] == 1
    assert set(document["workers"]) == {"1 thread", "2 threads", "2 processes"}
    assert all(row["photos_per_s"] > 0 for row in document["workers"].values())
    assert "at least 600.0" in text
    script("planning").main(["--out", str(out)])
    plan, page = read(out, "planning")
    hours = plan["plan"]["hours_per_million"]["onnx fp32"]["1 face, 500x500"]
    assert hours == pytest.approx(1e6 / 3600 / row["stream"]["photos_per_s"], rel=0.01)
    assert [entry["measured"] for entry in plan["plan"]["workers"][:3]] == [True, True, False]
    assert "simulated" in page


def test_speed_says_by_how_much_a_target_is_missed(script: Any) -> None:
    speed = script("speed")
    row = {"stream": {"photos_per_s": 30.0}, "share_of_slowest": 0.75, "slowest": "detect"}
    alone = [
        {"runtime": "onnx", "precision": "fp32", "batch_faces_per_s": 150.0},
        {"runtime": "onnx", "precision": "int8", "absent": "no file"},
    ]
    rows = speed.verdicts({"attributes": alone, "end_to_end": {"onnx fp32": {"1 face, 500x500": row}}})
    assert [entry[3] for entry in rows] == ["**not met**: 25 % of it", "**not met**: 50 % of it", "met"]


def test_planning_model_of_workers(script: Any) -> None:
    planning = script("planning")
    share = planning.contention(10.0, 16.0)
    assert planning.scaled(10.0, share, 1) == pytest.approx(10.0)
    assert planning.scaled(10.0, share, 2) == pytest.approx(16.0), "the model goes through what was measured"
    assert planning.scaled(10.0, share, 10_000) < 10.0 / share
    assert planning.contention(10.0, 21.0) == 0.0, "better than twice is no negative share"


def test_soak_tells_growth(tmp_path: Path, script: Any, toy: str) -> None:
    soak = script("soak")
    flat = [(n, 200.0 + n % 3) for n in range(0, 20_001, 100)]
    assert abs(soak.verdict(flat, 20_000)["added_mb"]) <= 2
    leaking = [(n, 200.0 + n / 100) for n in range(0, 20_001, 100)]
    assert soak.verdict(leaking, 20_000)["added_mb"] == pytest.approx(100, abs=5)
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    soak.main(["--photos", "100", "--model", toy, "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "soak")
    assert sum(document["run"]["statuses"].values()) == 100
    assert document["run"]["statuses"]["truncated"] == 1
    assert "less than 30" in text


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_kill_compares_with_a_quiet_run(tmp_path: Path, script: Any, toy: str) -> None:
    script("kill").main(["--kills", "2", "--photos", "40", "--model", toy, "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "kill")
    found = document["found"]
    assert (found["lost"], found["repeated"], found["identical"]) == (0, 0, True)
    assert found["kills"][0]["after"] == 0, "the first kill comes before the first record"
    assert "**not met**" in text, "two kills are fewer than twenty"


def test_kill_notices_what_is_lost_repeated_or_different(tmp_path: Path, script: Any) -> None:
    lines = [json.dumps({"source": f"in/0000{number}.jpg"}) for number in range(3)]
    for name, kept in (("killed", [lines[0], lines[0], lines[1]]), ("whole", lines)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(kept) + "\n")
        (tmp_path / f"{name}.csv").write_text("source\nin/00000.jpg\nin/00001.jpg\nin/00002.jpg\n")
    assert script("kill").compare(tmp_path, 3) == {"lost": 1, "repeated": 1, "identical": False}


def test_the_loader_counts_every_image(tmp_path: Path, script: Any, toy: str) -> None:
    pytest.importorskip("torch")
    config = tmp_path / "small.yaml"
    config.write_text(
        f"name: small\nmodel: {{backbone: toy, input_size: [64, 52]}}\n"
        f"data: {{layout: synthetic, limit: 48, cache: {tmp_path / 'cache'}}}\noptimiser: {{batch: 8}}\n"
    )
    script("loader").main(
        ["--config", str(config), "--batches", "6", "--runs", "2", "--model", toy, "--out", str(tmp_path)]
    )
    document, text = read(tmp_path, "loader")
    assert (document["images"], document["masks"]) == (48, False)
    for row in document["ahead"].values():
        assert all(0 < row[key]["min"] <= row[key]["median"] <= row[key]["max"] for key in ("a_core", "clock"))
    assert "6 batches of 8" in text


def test_peers_are_held_against_the_runtime_they_ship_with(peers: Any) -> None:
    rows = [
        {"peer": "lineament", "runtime": "onnx", "photos_per_s": 50.0},
        {"peer": "facer", "runtime": "torch", "photos_per_s": 5.0},
        {"peer": "facer", "runtime": "onnxruntime", "photos_per_s": 10.0},
        {"peer": "deepface", "runtime": "tensorflow", "absent": "not installed"},
        {"peer": "deepface models", "runtime": "torch", "photos_per_s": 2.0},
    ]  # fmt: skip
    found = peers.against(rows)
    assert found["facer"] == {"runtime": "torch", "target": 10.0, "times": {"onnx": 10.0}}
    assert found["deepface"]["times"] == {"onnx": 25.0}, "where the package is absent its models in torch stand in"


def test_peers_run_on_the_same_photos(tmp_path: Path, peers: Any, toy: str) -> None:
    rows = "lineament:onnx,insightface:onnxruntime"
    peers.main(["--rows", rows, "--photos", "3", "--seconds", "0.1", "--model", toy, "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "peers")
    assert [(row["peer"], row["measured"]) for row in document["rows"]] == [("lineament", 3), ("insightface", 3)]
    assert document["sizes"]["scrfd"]["gmacs"] * 480 / 640 == pytest.approx(10.0, rel=0.05), (
        "SCRFD-10GF costs ten at 640x480, as published"
    )
    assert "cost stand-in" in text
