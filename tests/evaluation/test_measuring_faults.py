"""The table of docs/measuring.md, "When the data is not right": each fault through each command is a clear error or a
stated "no data"."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_model import write_toy_model
from toy_predictions import simulated
from typer.testing import CliRunner

from lineament.cli import app
from lineament.evaluation import predictions
from lineament.schema import CELEBA_40

ROOT = Path(__file__).resolve().parents[2]
IMAGES, CONSTANT = 100, CELEBA_40.index("Eyeglasses")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of one sound prediction file, one file per fault, cohorts of 99 and of one image, and a toy
    model."""
    root = tmp_path_factory.mktemp("faults")
    found = simulated(IMAGES, CELEBA_40, people=50)
    targets = found.targets.copy()
    targets[:, CONSTANT] = 0
    files = {
        "good": found, "no labels": replace(found, known=np.zeros_like(found.known)),
        "constant": replace(found, targets=targets), "one image": found.take(np.arange(1)),
        "other images": replace(found, files=tuple(f"x{name}" for name in found.files)),
        "some images": found.take(np.arange(60)),
    }  # fmt: skip
    for name, content in files.items():
        predictions.save(content, root / f"{name}.csv")
    lines = (root / "good.csv").read_text().splitlines()
    cells = lines[3].split(",")
    cells[lines[0].split(",").index("raw_Bald")] = "nan"
    (root / "nan.csv").write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    (root / "twice.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    rows = [f"{name},{'A' if row else 'B'}" for row, name in enumerate(found.files)]
    (root / "cohorts.csv").write_text("\n".join(["file,race", *rows]) + "\n")
    write_toy_model(root / "toy.onnx")
    return root


def run(folder: Path, command: str, fault: str, against: str | None = None) -> tuple[int, str, dict[str, Any]]:
    """Return exit status, what was said, and the JSON, of a command on a fault."""
    file, out = folder / f"{fault}.csv", folder / "out.json"
    out.unlink(missing_ok=True)
    arguments = {
        "evaluate": [file, "--layout", "predictions", "--json", out],
        "calibrate": [
            "--predictions",
            file,
            "--model",
            folder / "toy.onnx",
            "--out",
            folder / "out.onnx",
            "--json",
            out,
        ],
        "audit": [file, "--by", "race", "--cohorts", folder / "cohorts.csv", "--draws", 100, "--json", out],
        "audit-labels": [file, "--out", folder / "suspects"],
        "compare": [file, folder / f"{against or 'good'}.csv", "--draws", 100, "--json", out],
        "report": [file, "--html", folder / "out.html"],
    }
    done = CliRunner().invoke(app, [command, *map(str, arguments[command])], env={"COLUMNS": "200"})
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr + done.stdout, json.loads(out.read_text()) if out.is_file() else {}


READERS = ("evaluate", "calibrate", "audit", "audit-labels", "compare", "report")
ERRORS = [
    *((command, "nan", None, "column raw_Bald is NaN in row 3") for command in READERS),
    *((command, "twice", None, "stands twice") for command in READERS),
    ("calibrate", "no labels", None, "needs targets"),
    ("audit-labels", "no labels", None, "no labels to audit"),
    ("calibrate", "one image", None, "too few"),
    ("compare", "other images", None, "share no image"),
    ("compare", "good", "some images", "40 only in A, 0 only in B"),
]


@pytest.mark.parametrize(("command", "fault", "against", "words"), ERRORS)
def test_what_cannot_be_answered_is_an_error_that_names_the_cause(
    folder: Path, command: str, fault: str, against: str | None, words: str
) -> None:
    status, said, document = run(folder, command, fault, against)
    assert status == 2
    assert words in said
    assert said.count("\n") <= 3, "one sentence, no traceback"
    assert document == {}


def test_without_labels_there_is_no_accuracy_and_everything_else(folder: Path) -> None:
    _, _, card = run(folder, "evaluate", "no labels")
    assert card["images"] == IMAGES
    assert card["mean_accuracy"] is None
    assert all(row["accuracy"] is None for row in card["attributes"].values())
    _, _, audit = run(folder, "audit", "no labels")
    row = audit["cohorts"]["race=A"]["attributes"]["Smiling"]
    assert row["accuracy"] is None
    assert row["answer_rate"] is not None
    status, said, document = run(folder, "compare", "no labels", "no labels")
    assert status == 0
    assert "which answers flip" in said
    assert document["labelled"] is False
    assert run(folder, "report", "no labels")[0] == 0
    assert "Do the probabilities mean" not in (folder / "out.html").read_text()


def test_a_constant_attribute_has_no_rate_of_the_class_it_lacks(folder: Path) -> None:
    _, _, card = run(folder, "evaluate", "constant")
    row = card["attributes"]["Eyeglasses"]
    assert (row["tpr"], row["ap"], row["balanced_accuracy"], row["positives"]) == (None, None, None, 0)
    assert row["accuracy"] is not None
    status, _, fitted = run(folder, "calibrate", "constant")
    assert status == 0
    assert fitted["attributes"]["Eyeglasses"]["method"] is None, "nothing can be calibrated"
    assert "Eyeglasses" not in fitted["decision"]["thresholds"]
    assert run(folder, "report", "constant")[0] == 0
    run(folder, "audit-labels", "constant")
    assert "Eyeglasses" not in (folder / "suspects" / "suspects.csv").read_text()


def test_a_cohort_of_one_image_is_shown_and_not_judged(folder: Path) -> None:
    status, said, document = run(folder, "audit", "good")
    assert status == 0
    assert "Too small to judge (fewer than 20 images): race=B" in said
    assert document["cohorts"]["race=B"]["images"] == 1
    assert all(
        row[f"{rate}_gap"] is None
        for row in document["gaps"].values()
        for rate in ("tpr", "fpr", "accuracy", "answer_rate")
    )


def test_one_image_has_a_scorecard(folder: Path) -> None:
    status, _, card = run(folder, "evaluate", "one image")
    assert (status, card["images"]) == (0, 1)


def test_the_documented_table_says_what_these_tests_hold() -> None:
    text = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")
    table = text.split("## When the data is not right")[1].split("\n## ")[0]
    for row in ("no labels", "constant attribute", "cohort of one image", "NaN", "twice", "different images"):
        assert row in table, row
