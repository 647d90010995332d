"""Every benchmark here that writes a page, at toy size: a toy network, drawn faces, the bundled portrait. What can be known is checked."""

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
from lineament.schema import CELEBA_40

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what imports a script of benchmarks/ by name, as `python benchmarks/NAME.py` would find its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


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
    rows = ["file," + ",".join(CELEBA_40)] + [f"00000{i}.jpg," + ",".join("1" if (i + a) % 3 else "0" for a in range(40)) for i in (1, 2, 3)]
    (root / "wild" / "labels.csv").write_text("\n".join(rows) + "\n")


def test_face_size_whole_images_score_as_evaluate_does(tmp_path: Path, script: Any, toy: str) -> None:
    from lineament.engine.evaluate import predict
    from lineament.engine.scorecard import scorecard
    from lineament.runtime.registry import load_network

    official = write_official(tmp_path / "data" / "celeba" / "official", make(60))
    script("face_size").main(["--data", str(tmp_path / "data"), "--model", toy, "--widths", "178,40,14", "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "face-size")
    source, network = Official(official, "val"), load_network(toy, threads=1)
    card = scorecard(predict(source, network, network.card.attributes).predictions)
    assert document["images"] == len(source.table) > 0
    assert document["sizes"][0]["mean_accuracy"] == pytest.approx(card["mean_accuracy"], abs=1e-6)
    assert document["majority_accuracy"] == pytest.approx(card["majority_accuracy"], abs=1e-6)
    assert [row["width"] for row in document["sizes"]] == [178, 40, 14]
    assert set(document["min_eye_distance"]) <= {"*", *CELEBA_40}
    assert "| Smiling |" in text


def test_face_size_rule(script: Any) -> None:
    face_size = script("face_size")
    assert face_size.crossing([40.0, 20.0, 10.0], [0.4, 0.3, 0.1], 0.5) == pytest.approx(200**0.5)  # halfway, on a logarithmic scale
    assert face_size.crossing([40.0, 20.0], [0.4, 0.3], 0.5) is None
    assert face_size.crossing([40.0, 20.0], [-0.1, -0.2], 0.5) is None, "no gain cannot halve"
    balanced = np.array([[0.9, 0.51, 0.9], [0.7, 0.5, 0.9], [0.5, 0.5, 0.9]])
    found = face_size.least_distances([40.0, 20.0, 10.0], balanced, ("a", "b", "c"))
    assert found == {"*": 10.0, "a": 20.0, "c": 0.0}, "b has nothing to lose; c loses nothing"


def test_face_size_shrinks_points_with_the_picture(script: Any) -> None:
    height, width = geometry.CROP_SIZE
    y, x = np.mgrid[:height, :width].astype(np.float64) + 0.5
    ramp = np.stack([x, y, x + y], -1) / 2
    whole = np.clip(np.rint(ramp), 0, 255).astype(np.uint8)
    small, points = script("face_size").shrink(whole, 89)
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
        return FaceReport((x, 0, x + 9, 9), 0.9, ((x, 5.0),) * 5, quality, {"Smiling": Answer(prob, "yes" if prob >= 0.5 else "no")})

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
    script("draft").main(["--data", str(tmp_path / "data"), "--model", toy, "--runs", "1", "--limit", "1", "--out", str(tmp_path / "out")])
    document, text = read(tmp_path / "out", "draft")
    assert [(row["faces"], row["answered_small"]) for row in document["times"].values()] == [(1, True), (8, True), (8, False), (0, False)]
    assert document["moves"]["wild/, enlarged"]["answered_small"] == 1
    assert document["moves"]["wild/, enlarged"]["moves"]["smaller decode"]["faces"] == 1
    assert "one pixel cut off" in text
