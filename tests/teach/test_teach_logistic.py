"""The dual fit against scikit-learn, and what must hold of folds, weights and scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.decision.layer import sigmoid
from lineament.metrics.ranking import roc_auc_1d
from lineament.teach.confounds import auc_interval
from lineament.teach.judge import band, platt_targets, suspects
from lineament.teach.logistic import PENALTIES, Rows, Scale, balanced, choose_penalty, deal_folds, fit, path_of_fits


def data(n: int = 40, d: int = 90, seed: int = 0, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(0, 1, (n, d))
    x[:, :5] += signal * (2 * y[:, None] - 1)
    return x * rng.uniform(0.1, 30, d) + rng.normal(0, 5, d), y.astype(np.float64)


@pytest.mark.parametrize("penalty", [3.0, 0.1, 0.01])
@pytest.mark.parametrize("uneven", [False, True])
def test_the_fit_is_what_scikit_learn_finds(penalty: float, uneven: bool) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = data()
    weights = balanced(y, np.random.default_rng(1).uniform(0.2, 2, len(y))) if uneven else np.ones(len(y))
    rows = Scale.fit(x)(x)
    fitted = fit(rows @ rows.T, y, weights, penalty)
    oracle = linear.LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=20000).fit(rows, y, sample_weight=weights)
    np.testing.assert_allclose(fitted.logits(rows @ rows.T), oracle.decision_function(rows), atol=2e-4)
    np.testing.assert_allclose(rows.T @ fitted.coefficients, oracle.coef_[0], atol=2e-4)


def test_at_the_minimum_the_gradient_is_zero() -> None:
    x, y = data(24, 200, signal=6.0)  # separable by far
    rows = Scale.fit(x)(x)
    for penalty, fitted in zip(PENALTIES, path_of_fits(rows @ rows.T, y, np.ones(len(y))), strict=True):
        p = sigmoid(fitted.logits(rows @ rows.T))
        w = rows.T @ fitted.coefficients
        np.testing.assert_allclose(rows.T @ (p - y) + penalty * w, 0, atol=1e-3)
        assert abs((p - y).sum()) < 1e-3


def test_the_scale_ignores_what_never_varies_and_makes_rows_one_long() -> None:
    x, _ = data()
    x[:, 3] = 7.0
    rows = Scale.fit(x)(x)
    assert (rows[:, 3] == 0).all()
    assert (rows**2).sum(1).mean() == pytest.approx(1.0, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(12, 60), st.integers(0, 1000))
def test_folds_keep_groups_and_deal_out_both_sides(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, targets = rng.integers(0, count, count), rng.integers(0, 2, count)
    fold = deal_folds(groups, targets, 5, seed)
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    assert set(fold) <= set(range(5))


def test_a_fold_holds_both_sides() -> None:
    fold = deal_folds(np.arange(20), np.arange(20) % 2, 5, 3)
    assert all(set(np.flatnonzero(fold == one) % 2) == {0, 1} for one in range(5))


def test_noise_asks_for_the_strongest_penalty_and_a_signal_for_less() -> None:
    def place(signal: float, seed: int) -> int:
        x, y = data(60, 300, seed=seed, signal=signal)
        rows = Scale.fit(x)(x)
        return choose_penalty(Rows(rows @ rows.T, y, np.ones(60), np.arange(60), np.ones(60, bool)))

    noise, signal = ([place(strength, seed) for seed in range(4)] for strength in (0.0, 4.0))
    assert np.mean(noise) + 1 < np.mean(signal)


def test_platts_targets_never_claim_certainty() -> None:
    assert platt_targets(np.array([1.0, 1.0, 0.0])).tolist() == [3 / 4, 3 / 4, 1 / 3]


def test_the_band_widens_for_unsure_photos_up_to_a_quarter() -> None:
    probs = np.linspace(0, 1, 201)
    alone, low = band(probs, np.zeros(0)), band(probs, np.array([0.45, 0.55]))
    far = band(probs, np.array([0.02, 0.98]))
    assert np.mean((probs > alone[0]) & (probs < alone[1])) == pytest.approx(0.1, abs=0.02)
    assert low == alone
    assert np.mean((probs > far[0]) & (probs < far[1])) == pytest.approx(0.25, abs=0.02)


def test_suspects_are_the_labels_that_the_others_contradict() -> None:
    assert suspects(np.array([0.9, 0.05, 0.1, 0.97]), np.array([1.0, 1.0, 0.0, 0.0])) == [3, 1]


def test_the_interval_of_an_auc_covers_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        y = np.arange(60) % 2
        low, high = auc_interval(roc_auc_1d(rng.normal(0, 1, 60) + y, y), 30, 30)
        inside += low <= 0.7602 <= high  # the true AUC of two normals one apart
    assert 180 <= inside <= 200
