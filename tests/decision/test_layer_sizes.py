"""Calibration by face size: the large face's numbers, the small face's, and the way between them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineament.decision.layer import Decision, sigmoid

LAYER = Decision(
    calibration={"Bald": {"method": "platt", "a": 1.2, "b": 0.1}},
    small={"Bald": {"a": 0.6, "b": 0.9}, "Bangs": {"a": 0.5, "b": -0.5}},
    small_eyes=(20.0, 40.0),
)
NAMES = ("Bald", "Bangs", "Smiling")


def test_each_size_by_hand() -> None:
    logits = np.full((5, 3), 2.0)
    probs = LAYER.probs(logits, NAMES, eye_distance=[80, 40, 20 * np.sqrt(2), 20, 5])
    assert probs[:, 0] == pytest.approx(sigmoid([2.5, 2.5, 0.9 * 2 + 0.5, 0.6 * 2 + 0.9, 0.6 * 2 + 0.9]))
    assert probs[:, 1] == pytest.approx(sigmoid([2.0, 2.0, 0.75 * 2 - 0.25, 0.5, 0.5])), "raw where large"
    assert probs[:, 2] == pytest.approx(sigmoid([2.0] * 5))


def test_an_unknown_size_is_a_large_face() -> None:
    logits = np.array([[0.3, -0.2, 1.0]])
    large = LAYER.probs(logits, NAMES, eye_distance=[100.0])
    assert np.array_equal(LAYER.probs(logits, NAMES), large)
    assert np.array_equal(LAYER.probs(logits, NAMES, eye_distance=[np.nan]), large)


@given(st.floats(1, 500), st.lists(st.floats(-8, 8), min_size=2, max_size=2, unique=True))
def test_at_any_size_a_larger_logit_is_a_larger_probability(eyes: float, logits: list[float]) -> None:
    low, high = sorted(logits)
    probs = LAYER.probs(np.array([[low] * 3, [high] * 3]), NAMES, eye_distance=[eyes, eyes])
    assert np.all(probs[1] >= probs[0])


def test_it_survives_the_card() -> None:
    assert Decision.from_dict(json.loads(json.dumps(LAYER.to_dict()))) == LAYER
    assert "small" not in Decision().to_dict()


def test_sizes_that_a_card_does_not_state() -> None:
    """19 and 38 pixels, and half way between their logarithms half of each; the same for a card read from a file."""
    for layer in (Decision(), Decision.from_dict({})):
        assert layer.smallness([100, 38, np.sqrt(19 * 38), 19, 4]) == pytest.approx([0, 0, 0.5, 1, 1])
