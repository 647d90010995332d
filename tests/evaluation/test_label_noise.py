"""Label audit: planted wrong labels are found first; folds never see the person they judge."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from toy_predictions import simulated

from lineament.errors import DataError, MissingExtraError
from lineament.evaluation.label_noise import off_diagonal, out_of_fold, summary, suspects


def with_wrong_labels(n=1500, wrong=40, seed=0):
    found = simulated(n, sharpness=4.0, people=n)
    rows = np.random.default_rng(seed).choice(n, wrong, replace=False)
    targets = found.targets.copy()
    targets[rows, 1] = 1 - targets[rows, 1]
    return replace(found, targets=targets), set(rows.tolist())


def test_planted_wrong_labels_are_the_most_suspicious():
    found, planted = with_wrong_labels()
    worst = [one for one in suspects(found, 1000) if one.column == 1][:40]
    assert sum(one.row in planted for one in worst) >= 30
    doubts = [one.of_given for one in suspects(found, 50)]
    assert doubts == sorted(doubts)


def test_confident_learning_from_its_definition():
    probs = np.array([[0.9], [0.8], [0.1], [0.2], [0.85], [0.3]])
    targets = np.array([[1], [1], [0], [0], [0], [1]])
    t_yes, t_no = np.mean([0.9, 0.8, 0.3]), np.mean([0.9, 0.8, 0.15])
    assert off_diagonal(probs, targets, np.ones((6, 1))).ravel().tolist() == [
        False,
        False,
        False,
        False,
        True,
        t_no <= 0.7,
    ]
    assert probs[4, 0] >= t_yes
    assert not off_diagonal(probs, np.ones((6, 1)), np.ones((6, 1))).any()  # one class: nothing to compare with
    assert not off_diagonal(probs, targets, np.zeros((6, 1))).any()


def test_cleanlab_finds_the_planted_labels_too_and_agrees_with_ours():
    pytest.importorskip("cleanlab", reason="extra [audit] is not installed")
    found, planted = with_wrong_labels()
    found.known[:5, 2] = False
    theirs = {(one.row, one.column) for one in suspects(found, 10_000, method="cleanlab")}
    ours = {(one.row, one.column) for one in suspects(found, 10_000)}
    assert sum((row, 1) in theirs for row in planted) >= 30
    assert not any((row, 2) in theirs for row in range(5)), "what has no label cannot be wrong"
    assert len(theirs & ours) / len(theirs | ours) > 0.9


def test_cleanlab_skips_an_attribute_of_one_class():
    pytest.importorskip("cleanlab", reason="extra [audit] is not installed")
    found, _ = with_wrong_labels(300)
    found.targets[:, 0] = 1
    assert all(one.column != 0 for one in suspects(found, 10_000, method="cleanlab"))


def test_without_cleanlab_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match=r"lineament\[audit\]"):
        suspects(simulated(60), method="cleanlab")


def test_summary_counts_both_directions():
    found, _ = with_wrong_labels()
    row = summary(found)["attributes"][found.attributes[1]]
    assert row["labels"] == 1500
    assert row["yes_likely_no"] > 5
    assert row["no_likely_yes"] > 5


def test_folds_on_cached_features_judge_only_strangers():
    rng = np.random.default_rng(0)
    found = simulated(800, people=200)
    features = np.concatenate(
        [2.0 * found.targets + rng.normal(0, 1, found.targets.shape), rng.normal(0, 1, (800, 5))], 1
    )
    probs = out_of_fold(features, found, folds=4, steps=80)
    assert ((probs >= 0.5) == found.targets).mean() > 0.8
    person = found.identity == found.identity[0]
    flipped = found.targets.copy()
    flipped[person] = 1 - flipped[person]
    again = out_of_fold(features, replace(found, targets=flipped), folds=4, steps=80)
    assert np.array_equal(again[person], probs[person])


def test_the_linear_model_agrees_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    from lineament.evaluation.label_noise import _logistic

    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (500, 6)).astype(np.float32)
    y = (x[:, 0] + rng.normal(0, 1, 500) > 0.3).astype(np.int8)[:, None]
    w, b = _logistic(x, y, np.ones((500, 1), bool), 600, 0.01)
    reference = linear.LogisticRegression(C=1 / (0.01 * 500), tol=1e-8).fit(x, y[:, 0])
    assert np.allclose(w[:, 0], reference.coef_[0], atol=5e-3)
    assert b[0] == pytest.approx(reference.intercept_[0], abs=5e-3)


def test_faults_of_a_label_audit():
    found = simulated(60)
    with pytest.raises(DataError, match="no labels to audit"):
        suspects(replace(found, known=np.zeros((60, 6), bool)))
    with pytest.raises(DataError, match="do not match 60"):
        out_of_fold(np.zeros((59, 4)), found)
    with pytest.raises(DataError, match="images of more people"):
        out_of_fold(np.zeros((60, 4)), replace(found, identity=np.zeros(60, np.int64)))
