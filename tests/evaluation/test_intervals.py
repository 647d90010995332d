"""Headline intervals: of the width that theory gives, wider where people repeat, around the estimate, absent without
labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_predictions import simulated

from lineament.decision.layer import Decision
from lineament.evaluation.scorecard import scorecard
from lineament.report.tables import scorecard_lines
from lineament.schema import CELEBA_40

LAYER = Decision(abstain=dict.fromkeys(CELEBA_40[:6], (0.4, 0.6)), thresholds={CELEBA_40[0]: 0.45})


@pytest.fixture(scope="module")
def card():
    return scorecard(simulated(600, calibrated=True), decision=LAYER)


def test_every_headline_figure_lies_in_its_interval(card):
    sure, selective, fitted, calibrated = card["intervals"], card["selective"], card["fitted"], card["calibrated"]
    pairs = [(card[key], sure[key]) for key in ("mean_accuracy", "balanced_accuracy", "macro_f1")]
    pairs += [(selective[key], selective[f"{key}_interval"]) for key in ("coverage", "accuracy")]
    pairs += [
        (fitted["mean_accuracy"], fitted["mean_accuracy_interval"]),
        (calibrated["ece"], calibrated["ece_interval"]),
    ]
    for value, (low, high) in pairs:
        assert low < value < high
        assert high - low < 0.1
    assert sure["drawn_by"] == "identity"


def test_the_width_is_that_of_independent_images_by_theory():
    found = replace(simulated(2000, CELEBA_40[:1], people=10**9), identity=None)
    card = scorecard(found)
    low, high = card["intervals"]["mean_accuracy"]
    p = card["mean_accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / 2000), rel=0.12)
    assert card["intervals"]["drawn_by"] == "image"


def test_photos_of_one_person_count_as_one():
    few = simulated(200, CELEBA_40[:1])
    rows = np.repeat(np.arange(200), 5)
    copies = replace(few.take(rows), identity=rows.astype(np.int64), files=tuple(f"{i}.jpg" for i in range(1000)))
    alone = scorecard(replace(copies, identity=None))["intervals"]["mean_accuracy"]
    people = scorecard(copies)["intervals"]["mean_accuracy"]
    assert people[1] - people[0] > 1.8 * (alone[1] - alone[0])


def test_without_labels_there_is_none_and_no_line_says_none():
    found = simulated(50, calibrated=True)
    card = scorecard(replace(found, known=np.zeros(found.raw.shape, bool)), decision=LAYER)
    assert "mean_accuracy" not in card["intervals"]
    lines = scorecard_lines(card)
    assert "no labels" in " ".join(lines)
    assert "None" not in " ".join(lines)
    assert "-" not in " ".join(lines).replace("Rule-breaking", "")
