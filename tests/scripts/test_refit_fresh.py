"""What was fitted to the default weights belongs to them: stored hashes are those of the files in the tree. Stale? Run
`make refit`."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import refit  # noqa: E402


@pytest.fixture(scope="module")
def stored(default_weights):
    assert refit.STAMP.is_file(), "default.onnx is here, but nothing was fitted to it: run `make refit`"
    return json.loads(refit.STAMP.read_text(encoding="utf-8"))


def test_no_stored_hash_is_stale(stored, default_weights):
    assert refit.stamp(default_weights) == stored, "run `make refit`"


def test_the_golden_answers_are_of_this_file(default_weights):
    golden = json.loads(default_weights.with_name("golden.json").read_text(encoding="utf-8"))
    assert golden["record"]["model"] == f"default@{refit.sha256_of(default_weights)[:8]}", "run `make refit`"


def test_the_evidence_and_the_card_are_of_this_network(stored, default_weights):
    document = json.loads((refit.BENCHMARKS / "decision.json").read_text(encoding="utf-8"))
    card = refit.read_card(default_weights)
    assert document["network_sha256"] == stored["network_sha256"]
    assert card.document["fitted_on"] == document["fitted_on"]
    assert card.document["decision_evidence"]["calibration"] == document["calibration"]
    assert card.document["metrics"]["official_val"] == document["scorecard"]


def test_what_was_promised_of_the_shipped_layer_is_what_was_measured(stored):
    document = json.loads((refit.BENCHMARKS / "decision.json").read_text(encoding="utf-8"))
    for split in ("train", "val"):
        shipped = document["across"][f"agreed, on {split}"]
        assert shipped["ece"] <= 0.015, "three views, people left out of the fit and of the choice"
        assert shipped["accuracy"] >= shipped["accuracy_raw"]
    for view in document["views"].values():
        assert view["ece"] <= min(view["ece_raw"], 0.016), "on no view worse than the raw sigmoid"
        assert view["accuracy"] >= view["accuracy_raw"]
    assert document["selective"]["coverage"] == pytest.approx(0.9, abs=0.01)
    assert document["selective"]["gain"] >= 0.025
    assert document["consistency"]["violations_consistent"] == 0


def test_the_hash_of_a_network_does_not_depend_on_its_card(tmp_path):
    from toy_model import toy_card, write_toy_model

    one = write_toy_model(tmp_path / "one.onnx")
    other = write_toy_model(tmp_path / "other.onnx", card=toy_card(name="renamed"))
    assert refit.sha256_of(one) != refit.sha256_of(other)
    assert refit.network_sha256(one) == refit.network_sha256(other)
    assert refit.network_sha256(write_toy_model(tmp_path / "third.onnx", seed=1)) != refit.network_sha256(one)
