"""Which of two answers that are wrong together stands: the fit against plain gradient descent on its definition."""

from __future__ import annotations

import numpy as np
import pytest

from lineament.decision.consistency import fit_precedence

NAMES = ("No_Beard", "Goatee", "Smiling", "Mustache")
CONFLICTS = ((0, 1), (0, 3))  # columns that a rule forbids to be "yes" together


def descended(probs: np.ndarray, truth: np.ndarray, ridge: float) -> np.ndarray:
    """Return d / s (A,) by gradient descent on the penalised log loss of P(a rather than b) = sigmoid(s (z_a - z_b) +
    d_a - d_b)."""
    rows, right = [], []
    for probs_of, true in zip(probs, truth, strict=True):
        z = np.log(probs_of / (1 - probs_of))
        for a, b in CONFLICTS:
            if probs_of[a] >= 0.5 and probs_of[b] >= 0.5 and true[a] != true[b]:
                row = np.zeros(5)
                row[0], row[a + 1], row[b + 1] = z[a] - z[b], 1, -1
                rows.append(row)
                right.append(float(true[a]))
    x, y = np.array(rows), np.array(right)
    start = np.array([1.0, 0, 0, 0, 0])
    theta, step = start.copy(), 1 / (np.linalg.eigvalsh(x.T @ x)[-1] / 4 + ridge)
    for _ in range(4000):
        theta -= step * (x.T @ (1 / (1 + np.exp(-x @ theta)) - y) + ridge * (theta - start))
    return theta[1:] / theta[0]


@pytest.mark.parametrize("ridge", [1.0, 8.0])
def test_the_fit_is_the_best_one_there_is(ridge: float) -> None:
    rng = np.random.default_rng(2)
    probs = rng.uniform(0.3, 0.97, (120, 4))
    truth = rng.random((120, 4)) < (0.8, 0.3, 0.5, 0.4)
    found = fit_precedence(probs, [0.5] * 4, truth, np.ones((120, 4), bool), NAMES, ridge=ridge)
    expected = descended(probs, truth, ridge)
    assert "Smiling" not in found, "in no conflict, so nothing was learned of it"
    assert [found[name] for name in ("No_Beard", "Goatee", "Mustache")] == pytest.approx(expected[[0, 1, 3]], abs=1e-6)
