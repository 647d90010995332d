"""Intervals on every headline figure: people are drawn with replacement, and each figure is computed anew from what was
drawn.

    labels, probabilities -> counts per person -> draws -> [low, high] of accuracy, balanced accuracy, F1, calibration
        error, coverage

Convention: percentile intervals at 95 %, people drawn (images where there is no identity). The calibration error is
estimate +- 1.96 standard errors, cut at 0, with the bins of the whole file: bins drawn anew would make every draw look
worse calibrated than it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lineament.decision.layer import Decision
from lineament.evaluation.predictions import Predictions
from lineament.metrics.bootstrap import (
    Interval,
    clusters,
    draw_counts,
    mean_interval,
    percentile_interval,
    resample,
    sum_by_cluster,
)
from lineament.metrics.calibration import BINS
from lineament.metrics.counts import mean_of_known, ratio
from lineament.types import Bool, Float64

LEVEL = 0.95
_Z = 1.959963984540054
_ATTRIBUTES_AT_ONCE = 10  # bounds memory: 16 columns each


def _pair(interval: Interval) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in (interval.low, interval.high)]


def accuracy_intervals(predictions: Predictions, labels: Bool, draws: int = 1000) -> dict[str, list[float | None]]:
    """Return [low, high] of mean accuracy, balanced accuracy and macro F1 of labels (N,A), as fractions."""
    (counts,), (drawn,) = draw_counts(
        [labels], predictions.targets, predictions.known, predictions.identity, draws=draws
    )
    names = {"mean_accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "f1"}
    return {key: _pair(mean_interval(counts, drawn, metric, LEVEL)) for key, metric in names.items()}


def ece_interval(predictions: Predictions, probs: Float64, estimate: float, draws: int = 300) -> list[float | None]:
    """Return [low, high] of the mean calibration error over attributes. probs (N,A); estimate: the error measured on
    the whole file."""
    place, size = clusters(predictions.identity, len(predictions))
    errors = []
    for start in range(0, probs.shape[1], _ATTRIBUTES_AT_ONCE):
        columns = range(start, min(start + _ATTRIBUTES_AT_ONCE, probs.shape[1]))
        table = np.concatenate(
            [_bin_columns(probs[:, a], predictions.targets[:, a], predictions.known[:, a]) for a in columns], 1
        )
        drawn = resample(sum_by_cluster(table, place, size), draws).reshape(draws, len(columns), BINS + 1)
        errors.append(ratio(np.abs(drawn[..., :BINS]).sum(-1), drawn[..., BINS]))
    reach = _Z * float(np.nanstd(mean_of_known(np.concatenate(errors, 1), 1)))
    return _pair(Interval(np.asarray(estimate), np.asarray(max(0.0, estimate - reach)), np.asarray(estimate + reach)))


def _bin_columns(probs: Float64, targets: Any, known: Bool) -> Float64:
    """Return (N, BINS + 1): in the column of a row's bin, prob - target; in the last, 1. Rows without a label add
    nothing."""
    table = np.zeros((len(probs), BINS + 1))
    rows = np.flatnonzero(known)
    order = rows[np.argsort(probs[rows], kind="stable")]
    bins = np.arange(len(order)) * BINS // max(len(order), 1)
    table[order, bins] = probs[order] - targets[order]
    table[order, BINS] = 1
    return table


def selective_intervals(
    predictions: Predictions, answered: Bool, right: Bool, draws: int = 1000
) -> dict[str, list[float | None]]:
    """Return [low, high] of coverage and of the accuracy of what is answered. answered, right (N,A): answered, and
    answered rightly."""
    place, size = clusters(predictions.identity, len(predictions))
    table = np.concatenate([answered & predictions.known, right & predictions.known, predictions.known], 1)
    told, hits, asked = np.split(sum_by_cluster(table, place, size), 3, 1)
    drawn_told, drawn_hits, drawn_asked = np.split(resample(np.concatenate([told, hits, asked], 1), draws), 3, 1)
    coverage = percentile_interval(np.nan, mean_of_known(ratio(drawn_told, drawn_asked), 1), LEVEL)
    accuracy = percentile_interval(np.nan, mean_of_known(ratio(drawn_hits, drawn_told), 1), LEVEL)
    return {"coverage": _pair(coverage), "accuracy": _pair(accuracy)}


def drawn_by(predictions: Predictions) -> str:
    """Return what is drawn: "identity", or "image" where no identity is known."""
    return "image" if predictions.identity is None or not (predictions.identity >= 0).any() else "identity"


def fitted_interval(predictions: Predictions, labels: Bool) -> list[float | None]:
    """Return [low, high] of the mean accuracy of the labels that users get."""
    return accuracy_intervals(predictions, labels)["mean_accuracy"]


def three_answers(decision: Decision, found: Predictions) -> tuple[Bool, Bool]:
    """Return which answers of found faces are given (N,A), and which of those are right."""
    said = decision.labels(
        found.shipped, found.attributes, abstain=True, eye_distance=found.eye_distance, sharpness=found.sharpness
    )
    answered = said != "cannot_tell"
    return answered, answered & ((said == "yes") == found.targets.astype(bool))
