"""The layer that carries over: what two splits agree on is kept, what they disagree on is not; nobody is judged by a
layer that saw them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from lineament.decision.layer import sigmoid
from lineament.errors import DataError
from lineament.evaluation.cross_split import Split, across, agreed, fit_across, fit_agreed_1d
from lineament.evaluation.predictions import Predictions
from lineament.metrics.calibration import fit_bias_1d
from lineament.types import Float64

NAMES = ("Shared", "Drifted", "Sound")


def split(name: str, biases: tuple[float, float, float], seed: int, people: int = 3000, slope: float = 1.0) -> Split:
    """A split whose true log-odds are slope * logit + bias: what the network's own sigmoid misses, per attribute."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (people, 3))
    targets = (rng.random((people, 3)) < sigmoid(slope * logits + np.array(biases))).astype(np.int8)
    known = np.ones((people, 3), bool)
    files = tuple(f"{name}{i}.jpg" for i in range(people))
    rows = Predictions(
        files,
        NAMES,
        sigmoid(logits),
        None,
        targets,
        known,
        np.ones(people, bool),
        identity=np.arange(people) + seed * 100_000,
    )
    return Split.of(name, [rows])


def test_the_shared_error_is_corrected_and_the_drift_is_not() -> None:
    layer = fit_across(split("one", (0.8, 0.9, 0.0), 1), split("other", (0.8, -0.9, 0.0), 2))
    assert layer.calibration["Shared"]["b"] == pytest.approx(0.8, abs=0.12)
    assert abs(layer.calibration.get("Drifted", {"b": 0.0})["b"]) < 0.05
    assert set(layer.rates) == set(NAMES)


def test_judged_on_people_left_out_it_beats_the_raw_sigmoid_and_one_split_alone() -> None:
    found = across(split("one", (0.8, 0.9, 0.0), 1), split("other", (0.8, -0.9, 0.0), 2))
    for name in ("one", "other"):
        shipped = found[f"agreed, on {name}"]
        assert shipped["attributes"]["Shared"]["ece"] < 0.6 * shipped["attributes"]["Shared"]["ece_raw"]
        assert shipped["accuracy"] > shipped["accuracy_raw"]
    alone = found["one -> other"]["attributes"]["Drifted"]
    assert alone["ece"] > alone["ece_raw"] + 0.05, "a layer of one split learns that split's annotators"


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_agreed_is_never_beyond_either(one: float, other: float) -> None:
    found = agreed(one, other)
    assert abs(found) <= min(abs(one), abs(other))
    assert found == agreed(other, one)
    assert found * one >= 0
    assert found * other >= 0


def test_the_bias_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, 500)
    targets = (rng.random(500) < sigmoid(logits + 0.7)).astype(float)

    def loss(b: Float64) -> float:
        p = sigmoid(logits + b[0])
        return float(-np.sum(targets * np.log(p) + (1 - targets) * np.log(1 - p)))

    assert fit_bias_1d(logits, targets) == pytest.approx(minimize(loss, np.zeros(1)).x[0], abs=1e-3)
    assert fit_bias_1d([], []) == 0.0


def test_what_cannot_be_fitted_stays_raw_and_too_few_people_are_said() -> None:
    assert fit_agreed_1d([(np.zeros(3), np.zeros(3, np.int8)), (np.zeros(3), np.ones(3, np.int8))]) is None
    one = split("one", (0.8, 0.9, 0.0), 1, people=40)
    with pytest.raises(DataError, match="fewer than four people"):
        Split.of("few", [one.rows.take(np.arange(1))])
    with pytest.raises(DataError, match="no labelled face"):
        Split.of(
            "none",
            [
                Predictions(
                    ("a",),
                    NAMES,
                    np.full((1, 3), np.nan),
                    None,
                    np.zeros((1, 3), np.int8),
                    np.zeros((1, 3), bool),
                    np.zeros(1, bool),
                )
            ],
        )


def test_halves_never_share_a_person() -> None:
    whole = split("one", (0.0, 0.0, 0.0), 1)
    doubled = Split.of("views", [whole.rows, whole.rows])
    people = np.asarray(doubled.rows.identity)
    assert not set(people[doubled.half == 0]) & set(people[doubled.half == 1])
    part = doubled.part(0)
    inner = np.asarray(part.rows.identity)
    assert not set(inner[part.half == 0]) & set(inner[part.half == 1])
    assert set(np.unique(part.half)) == {0, 1}
