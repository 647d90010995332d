"""Confidence, bands and answer sets from their definitions, to the very ends of the scale."""

import math

import numpy as np
import pytest

from lineament.metrics import selective
from lineament.metrics.calibration import fit_bias_1d, logit

END = math.log(1 - 1e-12) - math.log(1e-12)  # log-odds of the largest probability that is told from 1


def odds(p):
    return math.log(p) - math.log(1 - p)


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_confidence_is_the_distance_in_log_odds(threshold):
    probs = np.array([0.01, 0.2, 0.35, 0.5, 0.77, 0.9, 0.999])
    expected = [abs(odds(p) - odds(threshold)) for p in probs]
    assert selective.confidence_1d(probs, threshold) == pytest.approx(expected, abs=1e-12)


def test_certainty_is_finite_and_the_same_on_both_sides():
    assert selective.confidence_1d([0.0, 1.0]) == pytest.approx([END, END], abs=1e-3)
    assert logit([0.0, 1.0]) == pytest.approx([-END, END], abs=1e-3)
    for threshold, far in ((0.0, 1.0), (1.0, 0.0)):
        assert selective.confidence_1d([threshold, far], threshold) == pytest.approx([0, 2 * END], abs=1e-3)


def test_a_band_that_need_answer_nothing_holds_all_but_the_most_confident():
    probs = np.array([0.1, 0.4, 0.45, 0.7, 0.8])
    low, high = selective.band_1d(probs, 0.0)
    assert ((probs > low) & (probs < high)).tolist() == [False, True, True, True, True]


def test_a_limit_without_a_stated_miss_rate_misses_one_in_ten():
    rng = np.random.default_rng(0)
    probs, targets = rng.random(400), rng.integers(0, 2, 400)
    assert selective.conformal_limit_1d(probs, targets) == selective.conformal_limit_1d(probs, targets, 0.1)
    assert selective.conformal_limit_1d(probs, targets) != selective.conformal_limit_1d(probs, targets, 0.05)


def test_a_shift_that_lies_too_far_away_ends_after_its_steps():
    """One image, certain and wrong by a thousand: each step moves by one at most."""
    assert fit_bias_1d([-1000.0], [1]) == 50
    assert fit_bias_1d([-1000.0], [1], steps=7) == 7
