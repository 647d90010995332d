"""Cohorts: crossing, gaps, corrected intervals, rates of 0 and 1."""

import math

import numpy as np
import pytest

from lineament.errors import DataError, UsageError
from lineament.metrics.bootstrap import weights
from lineament.metrics.cohorts import corrected_level, cross, gap, rate_interval, wilson


def test_crossing_names_every_combination_and_refuses_unknown_columns():
    table = {"race": ["A", "A", "B"], "gender": ["f", "m", "f"]}
    assert cross(table, ["gender"]).tolist() == ["gender=f", "gender=m", "gender=f"]
    with pytest.raises(UsageError, match="The table has: race, gender"):
        cross(table, ["race", "age"])


def test_wilson_agrees_with_its_formula():
    found = wilson([8], [10])
    z, n, p = 1.959964, 10, 0.8
    centre = (p + z * z / 2 / n) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    assert found.low[0] == pytest.approx(centre - reach, abs=1e-5)
    assert found.high[0] == pytest.approx(centre + reach, abs=1e-5)
    assert np.isnan(wilson([0], [0]).low[0])


def test_a_perfect_rate_has_an_honest_interval():
    found, _ = rate_interval(np.ones((25, 1)), np.ones((25, 1)), None, level=0.95)
    assert found.high[0] == 1.0
    assert 0.8 < found.low[0] < 0.95


def test_more_cohorts_make_wider_intervals():
    rng = np.random.default_rng(0)
    hits = rng.integers(0, 2, (200, 1))
    one, _ = rate_interval(hits, np.ones((200, 1)), None, level=corrected_level(0.95, 1))
    ten, _ = rate_interval(hits, np.ones((200, 1)), None, level=corrected_level(0.95, 10))
    assert ten.low[0] < one.low[0]
    assert ten.high[0] > one.high[0]


def test_gap_needs_two_known_rates():
    assert gap({"a": 0.9, "b": 0.6})[0] == pytest.approx(0.3)
    assert math.isnan(gap({"a": 0.9, "b": float("nan")})[0])
    with pytest.raises(DataError, match="no image"):
        rate_interval(np.ones((0, 1)), np.ones((0, 1)), None, level=0.95)


def test_draws_are_rates_of_whole_people():
    rng = np.random.default_rng(1)
    hits, trials, people = rng.integers(0, 2, (12, 2)), np.ones((12, 2), int), np.repeat(np.arange(4), 3)
    _, drawn = rate_interval(hits, trials, people + 7, level=0.95, draws=6, seed=4)
    times = np.concatenate(list(weights(4, 6, 4)))[:, people]
    assert drawn == pytest.approx(times @ hits / (times @ trials))
