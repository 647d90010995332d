"""Counts and ranking against slow oracles written from the definitions, with scikit-learn and torchmetrics as second
opinions."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lineament.errors import UsageError
from lineament.metrics.calibration import ece_1d
from lineament.metrics.counts import Counts, count, count_by_cohort, example_based, mean_of_known
from lineament.metrics.ranking import average_precision, average_precision_1d, roc_auc, roc_auc_1d
from lineament.metrics.retrieval import ndcg_1d, query_scores, retrieval


def random_case(seed, n=200, a=5, decimals=2):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, a)) < [0.5, 0.1, 0.9, 0.3, 0.02]).astype(np.int8)
    probs = np.clip(0.6 * rng.random((n, a)) + 0.3 * targets, 0, 1).round(decimals)  # rounding makes ties
    known = rng.random((n, a)) < 0.9
    return probs, targets, known


def slow_counts(labels, targets, known):
    tp = fp = tn = fn = 0
    for said, true, has in zip(labels, targets, known, strict=True):
        if not has:
            continue
        if said and true:
            tp += 1
        elif said:
            fp += 1
        elif true:
            fn += 1
        else:
            tn += 1
    return tp, fp, tn, fn


def slow_auc(probs, targets):
    yes = [p for p, y in zip(probs, targets, strict=True) if y]
    no = [p for p, y in zip(probs, targets, strict=True) if not y]
    return sum(1.0 if p > q else 0.5 if p == q else 0.0 for p in yes for q in no) / (len(yes) * len(no))


def slow_ap(probs, targets):
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(probs), reverse=True):
        said = [p >= threshold for p in probs]
        hits = sum(s and y for s, y in zip(said, targets, strict=True))
        recall = hits / sum(targets)
        total += (recall - recall_before) * hits / sum(said)
        recall_before = recall
    return total


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_ratios_agree_with_the_slow_oracle(seed):
    probs, targets, known = random_case(seed)
    labels = probs >= 0.5
    counted = count(labels, targets, known)
    for a in range(5):
        tp, fp, tn, fn = slow_counts(labels[:, a], targets[:, a], known[:, a])
        assert (counted.tp[a], counted.fp[a], counted.tn[a], counted.fn[a]) == (tp, fp, tn, fn)
        assert counted.accuracy[a] == (tp + tn) / (tp + fp + tn + fn)
        assert counted.balanced_accuracy[a] == pytest.approx((tp / (tp + fn) + tn / (tn + fp)) / 2)
        assert counted.f1[a] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert counted.fpr[a] == pytest.approx(1 - counted.specificity[a])
        assert counted.majority[a] == max(tp + fn, tn + fp) / (tp + fp + tn + fn)


def test_ratios_agree_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    probs, targets, _ = random_case(4)
    labels = probs >= 0.5
    counted = count(labels, targets)
    for a in range(5):
        truth, said = targets[:, a], labels[:, a]
        assert counted.f1[a] == pytest.approx(sklearn.f1_score(truth, said))
        assert counted.balanced_accuracy[a] == pytest.approx(sklearn.balanced_accuracy_score(truth, said))
        assert counted.precision[a] == pytest.approx(sklearn.precision_score(truth, said))


@pytest.mark.slow
def test_counts_agree_with_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    probs, targets, _ = random_case(5)
    labels = probs >= 0.5
    counted = count(labels, targets)
    said, truth = torch.tensor(labels.astype(int)), torch.tensor(targets.astype(int))
    stats = torchmetrics.multilabel_stat_scores(said, truth, num_labels=5, average=None)
    assert np.array_equal(stats[:, :4].numpy().T, [counted.tp, counted.fp, counted.tn, counted.fn])
    ece = torchmetrics.binary_calibration_error(torch.tensor(probs[:, 0]), truth[:, 0], n_bins=1)
    assert ece_1d(probs[:, 0], targets[:, 0], bins=1) == pytest.approx(float(ece), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_ranking_agrees_with_the_slow_oracle_and_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    probs, targets, known = random_case(seed, n=120)
    ap, auc = average_precision(probs, targets, known), roc_auc(probs, targets, known)
    for a in range(4):
        p, y = probs[known[:, a], a], targets[known[:, a], a]
        assert ap[a] == pytest.approx(slow_ap(p.tolist(), y.tolist()))
        assert auc[a] == pytest.approx(slow_auc(p.tolist(), y.tolist()))
        assert ap[a] == pytest.approx(sklearn.average_precision_score(y, p))
        assert auc[a] == pytest.approx(sklearn.roc_auc_score(y, p))


def test_ranking_does_not_depend_on_the_order_of_tied_images():
    assert (
        average_precision_1d([0.5, 0.5, 0.5], [1, 0, 0])
        == average_precision_1d([0.5, 0.5, 0.5], [0, 0, 1])
        == pytest.approx(1 / 3)
    )
    assert roc_auc_1d([0.5, 0.5], [0, 1]) == 0.5


def test_no_data_is_nan_and_never_zero():
    nothing = Counts.zeros(3)
    for ratio in (
        nothing.accuracy,
        nothing.recall,
        nothing.specificity,
        nothing.precision,
        nothing.f1,
        nothing.balanced_accuracy,
        nothing.majority,
    ):
        assert np.isnan(ratio).all()
    constant = count(np.ones((4, 1)), np.ones((4, 1)))
    assert np.isnan(constant.specificity[0])
    assert np.isnan(constant.balanced_accuracy[0])
    assert constant.accuracy[0] == 1.0
    assert math.isnan(average_precision_1d([0.1, 0.2], [0, 0]))
    assert math.isnan(roc_auc_1d([0.1, 0.2], [1, 1]))
    assert math.isnan(float(mean_of_known([math.nan, math.nan])))


def test_positives_that_are_never_found_give_f1_zero_not_no_data():
    missed = count(np.zeros((3, 1)), np.array([[1], [0], [0]]))
    assert missed.f1[0] == 0.0
    assert np.isnan(missed.precision[0])


def test_cohorts_that_do_not_occur_are_not_keys():
    by = count_by_cohort([[1], [0]], [[1], [1]], None, ["a", "b"])
    assert sorted(by) == ["a", "b"]
    assert (by["a"].accuracy[0], by["b"].accuracy[0]) == (1.0, 0.0)


def test_shapes_that_differ_are_refused():
    with pytest.raises(UsageError, match="one shape"):
        count(np.zeros((3, 2)), np.zeros((3, 1)))


def test_example_based_metrics_from_their_definition():
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]])
    targets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1]])
    found = example_based(labels, targets)
    assert found["accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)  # the second image has neither yes: left out
    assert found["precision"] == pytest.approx((1 / 2 + 2 / 2) / 2)
    assert found["recall"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found["f1"] == pytest.approx(2 * 0.75 * (5 / 6) / (0.75 + 5 / 6))
    assert found["mA"] == pytest.approx(np.mean([1.0, (0 + 0.5) / 2, 1.0]))


def test_ndcg_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for k in (None, 3, 50):
        scores, gains = rng.integers(0, 6, 30) / 6, rng.integers(0, 3, 30)
        assert ndcg_1d(scores, gains, k) == pytest.approx(sklearn.ndcg_score(gains[None], scores[None], k=k))
    assert math.isnan(ndcg_1d([0.1, 0.2], [0, 0]))


def test_retrieval_of_a_conjunction():
    probs = np.array([[0.9, 0.1], [0.8, 0.9], [0.2, 0.2]])
    targets = np.array([[1, 0], [1, 1], [0, 0]])
    query = {"Smiling": True, "Eyeglasses": False}
    assert_allclose(query_scores(probs, ("Smiling", "Eyeglasses"), query), [0.81, 0.08, 0.16])
    found = retrieval(probs, targets, ("Smiling", "Eyeglasses"), [query, {"Eyeglasses": True}])
    assert found == {"map": 1.0, "ndcg": 1.0, "queries": 2}
    never = retrieval(probs, np.zeros((3, 2)), ("Smiling", "Eyeglasses"), [query | {"Smiling": True}])
    assert math.isnan(never["map"])
    assert never["queries"] == 0
