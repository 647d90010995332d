"""Evaluation of networks: every image that has labels and a file, stored or detected, through the real command line."""

import json

import numpy as np
import pytest
from PIL import Image
from toy_model import toy_card, write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.data.celeba import Official
from lineament.data.table import LabelTable
from lineament.errors import DataError
from lineament.evaluation.evaluate import predict, stored_crop
from lineament.evaluation.predictions import load
from lineament.runtime.onnx import OnnxNetwork
from lineament.schema import CELEBA_40
from lineament.types import Faces

ROWS = 24


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """An official layout of random pictures: 24 listed, one without a file, one damaged, splits and identities."""
    root = tmp_path_factory.mktemp("release")
    (root / "img_align_celeba").mkdir()
    rng = np.random.default_rng(0)
    names = [f"{i:06d}.jpg" for i in range(1, ROWS + 1)]
    labels = rng.choice([-1, 1], (ROWS, 40))
    lines = [f"{name} {' '.join(map(str, row))}" for name, row in zip(names, labels, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(ROWS), " ".join(CELEBA_40), *lines]) + "\n")
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {i % 3}\n" for i, name in enumerate(names)))
    (root / "identity_CelebA.txt").write_text("".join(f"{name} {i // 2}\n" for i, name in enumerate(names)))
    for name in names[:-1]:
        small = rng.integers(0, 255, (8, 6, 3), np.uint8)
        Image.fromarray(small).resize((178, 218), Image.Resampling.BICUBIC).save(root / "img_align_celeba" / name)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result


def test_the_scorecard_agrees_with_running_the_network_by_hand(release, model, tmp_path):
    result = run(
        "evaluate",
        release,
        "--model",
        model,
        "--json",
        tmp_path / "s.json",
        "--predictions",
        tmp_path / "p.parquet",
        "--threads",
        2,
    )
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "s.json").read_text())
    assert (card["images"], card["missing"], card["undetected"]) == (ROWS - 1, 1, 0)
    assert card["model"].startswith("toy@")
    source, network = Official(release), OnnxNetwork(model)
    right = []
    for row in range(ROWS - 1):
        pixels = np.asarray(Image.open(release / "img_align_celeba" / source.table.files[row]).convert("RGB"))
        right.append((network(stored_crop(pixels)[0]).logits[0] >= 0) == (source.table.targets[row] == 1))
    assert card["mean_accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    found = load(tmp_path / "p.parquet")
    assert found.files == source.table.files
    assert found.meta["model"] == card["model"]
    assert np.array_equal(found.identity, source.table.identity)


def test_a_prediction_file_gives_the_scorecard_of_the_run_that_wrote_it(release, model, tmp_path):
    run("evaluate", release, "--model", model, "--json", tmp_path / "a.json", "--predictions", tmp_path / "p.parquet")
    result = run(
        "evaluate", tmp_path / "p.parquet", "--layout", "predictions", "--json", tmp_path / "b.json", "--quiet"
    )
    assert result.exit_code == 0, result.output
    a, b = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert {key: value for key, value in a.items() if key != "data"} == {
        key: value for key, value in b.items() if key != "data"
    }
    part = run(
        "evaluate", tmp_path / "p.parquet", "--layout", "predictions", "--split", "val", "--json", "-", "--quiet"
    )
    assert json.loads(part.stdout)["images"] == 8


def test_splits_zips_and_one_image(release, model, tmp_path):
    import shutil

    card = json.loads(run("evaluate", release, "--split", "test", "--model", model, "--json", "-", "--quiet").stdout)
    assert (card["images"], card["missing"]) == (7, 1)
    packed = shutil.make_archive(str(tmp_path / "celeba"), "zip", release)
    zipped = json.loads(run("evaluate", packed, "--split", "test", "--model", model, "--json", "-", "--quiet").stdout)
    assert zipped["mean_accuracy"] == card["mean_accuracy"]
    single = tmp_path / "single"
    shutil.copytree(release, single)
    for path in sorted((single / "img_align_celeba").iterdir())[1:]:
        path.unlink()
    alone = json.loads(run("evaluate", single, "--model", model, "--json", "-", "--quiet").stdout)
    assert (alone["images"], alone["missing"]) == (1, ROWS - 1)
    assert alone["majority_accuracy"] == 1.0


def test_damaged_images_are_counted_not_guessed(release, model):
    class Damaged:
        table = Official(release).table
        read = Official(release).read_bytes

        def read_bytes(self, row):
            return self.read(row)[:200] if row == 3 else self.read(row)

    outcome = predict(Damaged(), OnnxNetwork(model), CELEBA_40)
    assert outcome.unreadable == ("000004.jpg",)
    assert len(outcome.predictions) == ROWS - 2
    assert "000004.jpg" not in outcome.predictions.files


def test_detection_takes_the_largest_face_and_counts_what_it_misses(release, model):
    def find(pixels):
        if pixels[0, 0, 0] % 2:
            return Faces.empty()
        boxes = np.array([[0, 0, 20, 20], [30, 40, 150, 200]], np.float32)
        points = np.array(
            [[[5, 5], [15, 5], [10, 10], [6, 15], [14, 15]], [[69, 111], [108, 111], [88, 135], [73, 152], [106, 152]]],
            np.float32,
        )
        return Faces(boxes, np.ones(2, np.float32), points)

    found = predict(Official(release), OnnxNetwork(model), CELEBA_40, find=find, threads=2).predictions
    assert 0 < found.detected.sum() < len(found)
    assert np.isnan(found.raw[~found.detected]).all()
    assert not np.isnan(found.raw[found.detected]).any()


def test_the_answer_does_not_depend_on_threads(release, model):
    one, four = (predict(Official(release), OnnxNetwork(model), CELEBA_40, threads=n).predictions.raw for n in (1, 4))
    assert np.array_equal(one, four)


def test_other_sizes_of_stored_crops_are_resized_and_said(tmp_path, model):
    Image.new("RGB", (89, 109), (200, 100, 50)).save(tmp_path / "half.png")
    Image.new("RGB", (178, 218), (200, 100, 50)).save(tmp_path / "full.png")
    (tmp_path / "labels.csv").write_text("file,smiling,Young\nhalf.png,1,\nfull.png,-1,1\ngone.png,1,1\n")
    card = json.loads(
        run(
            "evaluate",
            tmp_path / "labels.csv",
            "--layout",
            "table",
            "--align",
            "stored",
            "--model",
            model,
            "--json",
            "-",
            "--quiet",
        ).stdout
    )
    assert card["protocol"]["resized_crops"] == 1
    assert (card["images"], card["missing"]) == (2, 1)
    assert card["attributes"]["Smiling"]["images"] == 2
    assert card["attributes"]["Young"]["images"] == 1
    assert card["attributes"]["Bald"]["accuracy"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("file,Smiling\na.png,2\n", "holds"), ("file,Smiling\na.png,-1\nb.png,0\n", "holds"),
    ("name,Smiling\na.png,1\n", "`file` column"),
     ("file,Smilling\na.png,1\n", "columns named after attributes"), ("file,Smiling\na.png,maybe\n", "not a number")],
)  # fmt: skip
def test_label_tables_that_would_need_a_guess_are_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        LabelTable(tmp_path / "labels.csv")


def test_a_table_without_attributes_gives_predictions_only_when_asked(tmp_path, model):
    Image.new("RGB", (178, 218), (200, 100, 50)).save(tmp_path / "a.png")
    (tmp_path / "people.csv").write_text("file,race\na.png,A\n")
    flags = (tmp_path / "people.csv", "--layout", "table", "--align", "stored", "--model", model)
    assert "columns named after attributes" in run("evaluate", *flags, "--predictions", tmp_path / "p.csv").stderr
    assert "--predictions" in run("evaluate", *flags, "--unlabelled").stderr
    result = run("evaluate", *flags, "--unlabelled", "--predictions", tmp_path / "p.csv", "--json", "-", "--quiet")
    assert json.loads(result.stdout)["mean_accuracy"] is None
    assert not load(tmp_path / "p.csv").labelled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--layout", "circle"], "Unknown layout"), (["--split", "dev"], "Unknown split"),
    (["--align", "magic"], "Unknown --align"),
     (["--layout", "predictions"], "No file at")],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_status_two(release, model, arguments, message):
    result = run(
        "evaluate", release / "list_eval.txt" if "predictions" in arguments else release, "--model", model, *arguments
    )
    assert result.exit_code == 2
    assert message in result.stderr


def test_calibrate_writes_a_model_whose_scorecard_has_calibration_and_fitted_thresholds(model, tmp_path):
    from dataclasses import replace

    from toy_predictions import simulated

    from lineament.evaluation.predictions import save
    from lineament.runtime.onnx_file import read_card

    found = replace(simulated(400, CELEBA_40, distortion=2.0), meta={"model": "toy@00000000", "data": "made/val@1"})
    save(found, tmp_path / "p.parquet")
    out = tmp_path / "calibrated.onnx"
    flags = ("--predictions", tmp_path / "p.parquet", "--method", "platt")
    result = run("calibrate", "--model", model, "--out", out, "--json", tmp_path / "c.json", *flags)
    assert result.exit_code == 0, result.output
    card = read_card(out)
    assert card.document["fitted_on"] == "made/val@1"
    assert set(card.decision.calibration) == set(CELEBA_40)
    assert json.loads((tmp_path / "c.json").read_text())["calibration"]["ece"] < 0.06
    assert (tmp_path / "calibrated.card.json").is_file()
    crops = stored_crop(np.full((218, 178, 3), 77, np.uint8))[0]
    assert np.array_equal(OnnxNetwork(out)(crops).logits, OnnxNetwork(model)(crops).logits)
    again = tmp_path / "again.onnx"
    run("calibrate", "--model", out, "--out", again, *flags)
    assert again.read_bytes() == out.read_bytes()  # fitting twice changes nothing
    save(replace(found, meta={"model": "other@00000000"}), tmp_path / "o.parquet")
    refused = run("calibrate", "--predictions", tmp_path / "o.parquet", "--model", model, "--out", out)
    assert refused.exit_code == 2
    assert "predictions of other" in refused.stderr
    assert toy_card().name == "toy"


def test_compare_audit_and_label_commands_run(tmp_path):
    from toy_predictions import simulated

    from lineament.evaluation.predictions import save

    save(simulated(200), tmp_path / "a.csv")
    save(simulated(200, distortion=1.5), tmp_path / "b.csv")
    result = run("compare", tmp_path / "a.csv", tmp_path / "b.csv", "--json", "-", "--quiet", "--draws", 100)
    assert json.loads(result.stdout)["a"] == "a.csv"
    result = run(
        "audit",
        tmp_path / "a.csv",
        "--by",
        "Bangs",
        "--json",
        tmp_path / "audit.json",
        "--fail-if",
        "tpr_gap > 0.0001",
        "--draws",
        100,
    )
    assert result.exit_code == 3
    assert json.loads((tmp_path / "audit.json").read_text())["failures"]
    assert run("audit", tmp_path / "a.csv", "--by", "Bangs", "--fail-if", "tpr_gap > 1", "--draws", 100).exit_code == 0
    assert run("audit-labels", tmp_path / "a.csv", "--out", tmp_path / "labels", "--most", 5).exit_code == 0
    assert len((tmp_path / "labels" / "suspects.csv").read_text().splitlines()) == 6
    assert run("report", tmp_path / "a.csv", "--html", tmp_path / "r.html").exit_code == 0
