"""Comparisons and audits: known differences, no difference, mismatched files, small cohorts, conditions."""

from dataclasses import replace

import numpy as np
import pytest
from toy_predictions import simulated

from lineament.decision.layer import sigmoid
from lineament.errors import DataError, UsageError
from lineament.evaluation.audit import audit, failures, join
from lineament.evaluation.compare import compare, match
from lineament.metrics.calibration import logit


def noisier(found, amount, seed=0, column=slice(None)):
    raw = found.raw.copy()
    raw[:, column] = sigmoid(
        logit(raw[:, column]) + np.random.default_rng(seed).normal(0, amount, raw[:, column].shape)
    )
    return replace(found, raw=raw)


def test_a_worse_model_is_said_to_be_worse_and_only_where_it_is():
    a = simulated(3000, people=700)
    document = compare(a, noisier(a, 3.0, column=[1]), draws=300)
    verdicts = {name: row["verdict"] for name, row in document["attributes"].items()}
    assert verdicts.pop(a.attributes[1]) == "A is better"
    assert set(verdicts.values()) == {"inside the noise"}
    assert document["mean"]["accuracy"]["verdict"] == "A is better"
    assert document["paired_by"] == "identity"


def test_the_same_model_twice_is_inside_the_noise_without_a_flip():
    a = simulated(300)
    document = compare(a, a, draws=100)
    assert document["flips"]["share"] == 0
    assert all(
        row["verdict"] == "inside the noise" and row["difference"] == 0 for row in document["attributes"].values()
    )


def test_rows_are_matched_by_name_whatever_their_order():
    a = simulated(200)
    order = np.random.default_rng(1).permutation(200)
    shuffled = compare(a, noisier(a, 1.0).take(order), draws=100)
    assert shuffled == compare(a, noisier(a, 1.0), draws=100)


def test_without_labels_the_flips_are_told_largest_first():
    a = replace(simulated(200), known=np.zeros((200, 6), bool))
    document = compare(a, noisier(a, 2.0))
    assert not document["labelled"]
    assert "attributes" not in document
    change = [abs(row["a"] - row["b"]) for row in document["flips"]["largest"]]
    assert change == sorted(change, reverse=True)
    total = sum(row["yes_to_no"] + row["no_to_yes"] for row in document["flips"]["attributes"].values())
    assert total == round(document["flips"]["share"] * 1200)


def test_mismatched_files_are_named():
    a = simulated(100)
    with pytest.raises(DataError, match="10 only in A, 0 only in B"):
        compare(a, a.take(np.arange(90)))
    assert compare(a, a.take(np.arange(90)), common=True, draws=100)["only_in_a"] == 10
    elsewhere = replace(a, files=tuple(f"x{name}" for name in a.files))
    with pytest.raises(DataError, match="share no image"):
        compare(a, elsewhere, common=True)
    with pytest.raises(DataError, match="share no attribute"):
        match(a, replace(a, attributes=tuple(f"X{i}" for i in range(6))))
    other = a.take(np.arange(100))
    other.targets[0, 0] = 1 - other.targets[0, 0]
    with pytest.raises(DataError, match="disagree on 1 targets"):
        compare(a, other)


def table(tmp_path, rows, header="file,race,gender"):
    path = tmp_path / "cohorts.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def grouped(tmp_path, n=1200, bad=0.0, seed=0):
    """Half the files in each cohort; in cohort B a share `bad` of the true yes of attribute 0 is missed."""
    found = simulated(n, people=n, seed=seed, sharpness=3.0)
    in_b = np.arange(n) % 2 == 1
    missed = in_b & (found.targets[:, 0] == 1) & (np.random.default_rng(seed).random(n) < bad)
    raw = found.raw.copy()
    raw[missed, 0] = 0.01
    rows = [
        f"{name},{'B' if b else 'A'},{'f' if i % 3 else 'm'}"
        for i, (name, b) in enumerate(zip(found.files, in_b, strict=True))
    ]
    return replace(found, raw=raw), table(tmp_path, rows)


def test_a_planted_gap_is_found_and_breaks_its_condition(tmp_path):
    found, cohorts = grouped(tmp_path, bad=0.5)
    document = audit(join(found, cohorts, ["race"]), draws=300)
    worst = document["gaps"][found.attributes[0]]
    assert worst["tpr_gap"] > 0.3
    assert worst["tpr_gap_low"] > 0.1
    assert worst["tpr_gap_between"] == ["race=A", "race=B"]
    assert failures(document, ["tpr_gap > 0.2"])[0].startswith(found.attributes[0])
    assert failures(document, [f"{found.attributes[1]}.tpr_gap > 0.2", "undetected_gap > 0"]) == []


def test_no_gap_is_inside_the_noise(tmp_path):
    found, cohorts = grouped(tmp_path)
    document = audit(join(found, cohorts, ["race", "gender"]), draws=300)
    assert len(document["cohorts"]) == 4
    assert document["interval_level_each"] == pytest.approx(1 - 0.05 / 4)
    assert failures(document, ["tpr_gap_low > 0.05", "accuracy_gap_low > 0.05"]) == []


def test_counts_of_a_cohort_are_those_of_its_rows(tmp_path):
    found, cohorts = grouped(tmp_path, n=200)
    row = audit(join(found, cohorts, ["race"]), labels="raw", draws=100)["cohorts"]["race=A"]["attributes"][
        found.attributes[2]
    ]
    part = found.take(np.arange(0, 200, 2))
    said, truth = part.raw[:, 2] >= 0.5, part.targets[:, 2] == 1
    assert row["tpr"] == pytest.approx((said & truth).sum() / truth.sum(), abs=1e-6)
    assert row["fpr"] == pytest.approx((said & ~truth).sum() / (~truth).sum(), abs=1e-6)
    assert row["answer_rate"] == pytest.approx(said.mean(), abs=1e-6)
    assert row["tpr_interval"][0] < row["tpr"] < row["tpr_interval"][1]


def test_unmatched_rows_are_counted_and_one_image_is_not_judged(tmp_path):
    found = simulated(50)
    rows = [f"{name},{'A' if i else 'B'},f" for i, name in enumerate(found.files[:40])] + ["stranger.jpg,A,f"]
    joined = join(found, table(tmp_path, rows), ["race"])
    assert (joined.without_cohort, joined.without_prediction) == (10, 1)
    document = audit(joined, draws=100)
    alone = document["cohorts"]["race=B"]
    assert alone["images"] == 1
    assert not any(row["tpr_judged"] or row["accuracy_judged"] for row in alone["attributes"].values())
    assert all(row["tpr_gap"] is None for row in document["gaps"].values())


def test_unlabelled_predictions_still_have_answer_rates(tmp_path):
    found, cohorts = grouped(tmp_path, n=200)
    found = replace(found, known=np.zeros(found.raw.shape, bool))
    document = audit(join(found, cohorts, ["race"]), draws=100)
    row = document["cohorts"]["race=A"]["attributes"][found.attributes[0]]
    assert row["tpr"] is None
    assert row["accuracy"] is None
    assert row["ece"] is None
    assert 0 < row["answer_rate"] < 1


def test_detector_misses_are_compared(tmp_path):
    found, cohorts = grouped(tmp_path, n=200)
    found.detected[1:60:2] = False
    found.raw[1:60:2] = np.nan
    document = audit(join(found, cohorts, ["race"]), draws=100)
    assert document["undetected_gap"]["undetected_gap"] == pytest.approx(0.3)
    assert failures(document, ["undetected_gap > 0.1"])[0].startswith("detection")


def test_labelled_attributes_can_be_the_cohorts():
    found = simulated(300)
    document = audit(join(found, None, [found.attributes[5]]), draws=100)
    assert set(document["cohorts"]) == {f"{found.attributes[5]}=yes", f"{found.attributes[5]}=no"}


def test_faults_of_an_audit(tmp_path):
    found = simulated(30)
    with pytest.raises(UsageError, match="race, gender"):
        join(found, table(tmp_path, ["a.jpg,A,f"]), ["age"])
    with pytest.raises(DataError, match="No image of the predictions has a cohort"):
        join(found, table(tmp_path, ["a.jpg,A,f"]), ["race"])
    with pytest.raises(DataError, match="stands twice"):
        join(found, table(tmp_path, ["a.jpg,A,f", "a.jpg,B,f"]), ["race"])
    with pytest.raises(DataError, match="no column `file`"):
        join(found, table(tmp_path, ["a.jpg,A"], "name,race"), ["race"])
    with pytest.raises(UsageError, match="Without --cohorts"):
        join(found, None, ["race"])
    document = audit(join(found, None, [found.attributes[5]]), draws=100)
    for condition in ("gap > 1", "tpr_gap", "tpr_gap > x", "Nobody.tpr_gap > 0.1", "tpr_gap > 0.1; rm"):
        with pytest.raises(UsageError):
            failures(document, [condition])
