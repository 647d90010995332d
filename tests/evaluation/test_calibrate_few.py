"""A user's own few labels: the fit is held near the shipped layer, and goes where many labels say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from lineament.decision.layer import Decision, sigmoid
from lineament.evaluation.calibrate import PRIOR_SD, Plan, calibrate, shrunk_1d
from lineament.evaluation.predictions import Predictions
from lineament.metrics import calibration
from lineament.types import Float64

BASE = {"method": "platt", "a": 1.2, "b": -0.4}


def sample(images: int, bias: float, seed: int) -> tuple[Float64, np.ndarray]:
    """Raw sigmoids and labels of people whose annotators say yes `bias` earlier, in log-odds, than the shipped layer
    has it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, images)
    return sigmoid(logits), (rng.random(images) < sigmoid(1.2 * logits - 0.4 + bias)).astype(np.int8)


def test_it_is_the_maximum_of_the_posterior() -> None:
    raw, targets = sample(60, 0.8, 5)
    z = 1.2 * calibration.logit(raw) - 0.4

    def loss(theta: Float64) -> float:
        p = sigmoid(theta[0] * z + theta[1])
        prior = ((theta - np.array([1.0, 0.0])) / np.array(PRIOR_SD)) ** 2 / 2
        return float(-np.sum(targets * np.log(p) + (1 - targets) * np.log(1 - p)) + prior.sum())

    a, b = minimize(loss, np.array([1.0, 0.0])).x
    found = shrunk_1d(raw, targets, BASE)
    assert (found["a"], found["b"]) == pytest.approx((a * 1.2, b - a * 0.4), abs=1e-3)


def test_few_labels_hardly_move_it_and_many_do() -> None:
    few = [shrunk_1d(*sample(10, 0.0, seed), BASE)["b"] for seed in range(40)]
    assert np.mean(np.abs(np.array(few) + 0.4)) < 0.2
    assert shrunk_1d(*sample(20_000, 0.8, 1), BASE)["b"] == pytest.approx(0.4, abs=0.1)


def test_an_isotonic_layer_is_moved_as_it_stands() -> None:
    base = {"method": "isotonic", "x": [0.0, 0.5, 1.0], "y": [0.1, 0.4, 0.9]}
    found = shrunk_1d(*sample(5000, 1.0, 2), base)
    assert found["x"] == base["x"]
    assert np.all(np.diff(found["y"]) > 0)
    assert found["y"][1] > 0.4


def test_the_rate_moves_with_the_layer() -> None:
    raw, targets = sample(4000, 1.0, 3)
    files = tuple(f"{i}.jpg" for i in range(len(raw)))
    rows = Predictions(
        files, ("Bald",), raw[:, None], None, targets[:, None], np.ones((len(raw), 1), bool), np.ones(len(raw), bool)
    )
    base = Decision(calibration={"Bald": BASE}, rates={"Bald": 0.3})
    layer = calibrate(rows, Plan(base=base, folds=2, bands="none"), draws=20).decision
    assert 0.45 < layer.rates["Bald"] < 0.6, "odds of 0.3 times e is 0.54"
    assert calibrate(rows, Plan(folds=2, bands="none"), draws=20).decision.rates["Bald"] == pytest.approx(
        targets.mean(), abs=1e-4
    )


def test_a_fit_on_small_faces_moves_the_small_face_s_layer() -> None:
    raw, targets = sample(6000, 0.0, 4)
    files = tuple(f"{i}.jpg" for i in range(len(raw)))
    eyes = np.full(len(raw), 10.0)
    rows = Predictions(
        files,
        ("Bald",),
        raw[:, None],
        None,
        targets[:, None],
        np.ones((len(raw), 1), bool),
        np.ones(len(raw), bool),
        eye_distance=eyes,
    )
    base = Decision(
        calibration={"Bald": {"method": "platt", "a": 1.0, "b": 0.5}}, small={"Bald": {"a": 1.2, "b": -1.0}}
    )
    layer = calibrate(rows, Plan(base=base, folds=2, bands="none"), draws=20).decision
    probs = layer.probs(calibration.logit(rows.raw), ("Bald",), eye_distance=eyes)[:, 0]
    assert abs(probs.mean() - targets.mean()) < 0.01, "true bias is -0.4, the small layer's -1"
    assert layer.calibration["Bald"]["b"] > 0.9, "the large face's layer moves as far"
