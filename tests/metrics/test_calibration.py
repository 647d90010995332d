"""Calibration: metrics from their definitions, fits against scikit-learn, cross-fitted evidence against a known
process."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lineament.decision.layer import Decision, sigmoid
from lineament.metrics import calibration, selective
from lineament.metrics.calibration import brier_1d, ece_1d, ece_floor_1d, fit_isotonic_1d, fit_platt_1d


def calibrated_sample(n=3000, seed=0, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, sharpness, n)
    return logits, (rng.random(n) < sigmoid(logits)).astype(np.int8)


def test_ece_from_its_definition_where_bins_divide_evenly():
    rng = np.random.default_rng(1)
    probs, targets = rng.random(150), rng.integers(0, 2, 150)
    order = np.argsort(probs)
    slow = sum(abs(probs[part].mean() - targets[part].mean()) * 10 / 150 for part in order.reshape(15, 10))
    assert ece_1d(probs, targets) == pytest.approx(slow)
    assert brier_1d(probs, targets) == pytest.approx(
        np.mean([(p - y) ** 2 for p, y in zip(probs, targets, strict=True)])
    )


def test_constant_attributes_and_no_data():
    assert ece_1d([0.3] * 20, [0] * 20) == pytest.approx(0.3)
    assert math.isnan(ece_1d([], []))
    assert math.isnan(brier_1d([], []))
    assert math.isnan(ece_floor_1d([]))
    assert fit_platt_1d([], []) == (1.0, 0.0)


def test_the_floor_is_what_perfect_predictions_show():
    logits, _ = calibrated_sample(1000)
    probs = sigmoid(logits)
    rng = np.random.default_rng(5)
    seen = np.mean([ece_1d(probs, rng.random(1000) < probs) for _ in range(200)])
    assert ece_floor_1d(probs, draws=200) == pytest.approx(seen, rel=0.05)
    assert ece_floor_1d(probs) > 0.005  # it is not zero: a calibration error without its floor misleads


def test_platt_agrees_with_scikit_learn_and_undoes_a_known_distortion():
    linear = pytest.importorskip("sklearn.linear_model")
    logits, targets = calibrated_sample()
    shown = 1.7 * logits + 0.6
    a, b = fit_platt_1d(shown, targets)
    reference = linear.LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(shown[:, None], targets)
    assert_allclose([a, b], [reference.coef_[0, 0], reference.intercept_[0]], atol=1e-3)
    assert a == pytest.approx(1 / 1.7, abs=0.05)
    assert fit_platt_1d(2 * logits, targets, bias=False)[0] == pytest.approx(0.5, abs=0.03)


def test_platt_stays_finite_and_keeps_the_order():
    a, b = fit_platt_1d([-1.0, -2.0, 1.0, 2.0], [0, 0, 1, 1])
    assert math.isfinite(a)
    assert math.isfinite(b)
    assert fit_platt_1d([-1.0, -2.0, 1.0, 2.0], [1, 1, 0, 0])[0] > 0


def test_isotonic_blocks_agree_with_scikit_learn():
    isotonic = pytest.importorskip("sklearn.isotonic")
    logits, targets = calibrated_sample(500)
    probs = np.sort(sigmoid(logits).round(2))
    expected = isotonic.IsotonicRegression().fit_transform(probs, targets)
    _, place, repeats = np.unique(probs, return_inverse=True, return_counts=True)
    means, sizes = calibration._pool_adjacent(np.bincount(place, targets) / repeats, repeats.astype(float))
    assert_allclose(np.repeat(means, sizes)[place], expected, atol=1e-9)


def test_the_isotonic_map_increases_strictly_and_is_what_the_decision_applies():
    logits, targets = calibrated_sample(2000)
    raw = sigmoid(1.5 * logits)
    x, y = fit_isotonic_1d(raw, targets)
    grid = np.linspace(0, 1, 501)
    shown = np.interp(grid, x, y)
    assert (np.diff(shown) > 0).all()
    assert shown[0] > 0
    assert shown[-1] < 1
    fitted = {"method": "isotonic", "x": x, "y": y}
    assert_allclose(calibration.apply(fitted, calibration.logit(raw)), np.interp(raw, x, y), atol=1e-9)
    assert ece_1d(np.interp(raw, x, y), targets) < ece_1d(raw, targets)


def test_coverage_and_risk_from_their_definition():
    probs, targets = np.array([0.9, 0.8, 0.6, 0.45, 0.1]), np.array([1, 0, 0, 0, 0])
    risk = selective.coverage_risk_1d(probs, targets, coverages=[1.0, 0.4, 0.2])
    assert_allclose(risk, [2 / 5, 0.0, 0.0])  # most confident first: 0.1 and 0.9, tied in log-odds
    assert np.isnan(selective.coverage_risk_1d([], [])).all()


def test_three_answers_are_measured_beside_two():
    probs = np.array([[0.95], [0.6], [0.4], [0.02]])
    targets, known = np.array([[1], [0], [1], [0]]), np.ones((4, 1), bool)
    low, high = selective.band_1d(probs[:, 0], 0.5)
    layer = Decision(abstain={"x": (low, high)})
    measured = selective.measure(layer.labels(probs, ("x",), abstain=True), probs >= 0.5, targets, known)
    assert (measured.coverage[0], measured.accuracy[0], measured.full_accuracy[0]) == (0.5, 1.0, 0.5)


@pytest.mark.parametrize("miss", [0.05, 0.2])
def test_conformal_sets_hold_their_promise_on_new_images(miss):
    logits, targets = calibrated_sample(40_000, seed=3)
    probs = sigmoid(logits)
    fit, new = slice(0, 20_000), slice(20_000, None)
    sets = selective.conformal_sets(probs[new], selective.conformal_limit_1d(probs[fit], targets[fit], miss))
    for value in (0, 1):
        inside = sets[targets[new] == value, value].mean()
        assert abs(inside - (1 - miss)) < 0.012
    assert selective.conformal_limit_1d([0.5, 0.6], [1, 0], 0.1) == (0.0, 0.0)  # too few to exclude anything
