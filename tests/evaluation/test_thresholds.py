"""Thresholds: the best by trying every cut, refusals, DMM-CNN's rule."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lineament.errors import DataError, UsageError
from lineament.evaluation.thresholds import Goal, dmm_adaptive, dmm_step, fit, fit_1d
from lineament.metrics.counts import count


def case(seed, n=300, rate=0.3):
    rng = np.random.default_rng(seed)
    targets = (rng.random(n) < rate).astype(np.int8)
    return np.clip(rng.normal(0.35 + 0.25 * targets, 0.2), 0, 1).round(2), targets


def score(goal, probs, targets, threshold):
    counted = count((probs >= threshold)[:, None], targets[:, None])
    return {"accuracy": counted.accuracy, "balanced_accuracy": counted.balanced_accuracy, "f1": counted.f1}[goal][0]


@pytest.mark.parametrize("goal", ["accuracy", "balanced_accuracy", "f1"])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_cut_is_better(goal, seed):
    probs, targets = case(seed)
    fitted = fit_1d(probs, targets, Goal(goal))
    best = max(score(goal, probs, targets, cut) for cut in np.linspace(0, 1.001, 1002))
    assert score(goal, probs, targets, fitted) == pytest.approx(best, abs=1e-12)


def test_saying_yes_or_no_to_everything_is_a_cut_too():
    assert fit_1d([0.2, 0.4, 0.3], [1, 1, 0], Goal("f1")) <= 0.2
    never = fit_1d([0.99, 1.0, 0.2, 0.1], [0, 0, 0, 1], Goal("accuracy"))
    assert never > 1.0
    assert fit_1d([0.7, 0.8], [1, 1], Goal("accuracy")) == 0.5  # one class: nothing to fit


def test_precision_goal_holds_with_confidence_or_is_refused():
    probs, targets = case(0, n=4000)
    goal = Goal.parse("precision>=0.8")
    fitted = fit_1d(probs, targets, goal)
    counted = count((probs >= fitted)[:, None], targets[:, None])
    assert counted.precision[0] > 0.8
    with pytest.raises(DataError, match="49 positives are too few"):
        fit_1d(np.linspace(0, 1, 100), [0] * 51 + [1] * 49, goal)
    with pytest.raises(DataError, match="No threshold reaches"):
        fit_1d(np.full(400, 0.5), [0, 1] * 200, goal)
    thresholds, refused = fit(np.stack([probs, probs], 1), np.stack([targets, targets * 0], 1), None, goal)
    assert thresholds[1] == 0.5
    assert "too few" in refused[1]


@pytest.mark.parametrize("text", ["speed", "precision", "precision>=2", "precision>=x", "f1>=0.3"])
def test_goals_that_do_not_exist_are_refused(text):
    with pytest.raises(UsageError):
        Goal.parse(text)


def test_dmm_rule_moves_towards_as_many_false_yes_as_false_no():
    probs, targets = case(1, n=2000, rate=0.2)
    one = dmm_step(np.array([0.5]), probs[:, None], targets[:, None])
    counted = count((probs >= 0.5)[:, None], targets[:, None])
    expected = 0.5 + 0.02 * (counted.fp[0] - counted.fn[0]) / (counted.fp[0] + counted.fn[0])
    assert_allclose(one, [expected])
    tau = dmm_adaptive(probs[:, None], targets[:, None], step=0.1)
    after = count(probs[:, None] >= tau, targets[:, None])
    assert abs(int(after.fp[0]) - int(after.fn[0])) < abs(int(counted.fp[0]) - int(counted.fn[0]))
    assert_allclose(dmm_adaptive(np.ones((5, 1)), np.zeros((5, 1)), step=5.0), [0.9])  # kept within 0.1 .. 0.9
