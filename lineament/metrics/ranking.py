"""Threshold-free metrics, exact with ties: average precision and the area under the ROC curve, per attribute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lineament.types import Bool, Float64


def _known(probs: Float64, known: npt.ArrayLike | None) -> Bool:
    return np.ones(probs.shape, bool) if known is None else np.asarray(known, bool)


def _curve(probs: Float64, truth: Bool) -> tuple[Float64, Float64]:
    """Return cumulative true and false positives (T,) at each distinct threshold, highest first: equal probs enter
    together."""
    order = np.argsort(-probs, kind="stable")
    sorted_probs = probs[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(sorted_probs)), len(probs) - 1)
    tp = np.cumsum(truth[order], dtype=np.float64)[last_of_tie]
    return tp, last_of_tie + 1.0 - tp


def average_precision_1d(probs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return AP = sum over distinct thresholds of (recall step) x precision; NaN without positives.

    Args: probs (N,), targets (N,) {0,1}.

    >>> average_precision_1d([0.9, 0.8, 0.7], [1, 0, 1])
    0.8333333333333333
    """
    p, truth = np.asarray(probs, np.float64), np.asarray(targets).astype(bool)
    positives = int(truth.sum())
    if positives == 0:
        return float("nan")
    tp, fp = _curve(p, truth)
    return float(np.sum(np.diff(tp, prepend=0.0) / positives * tp / (tp + fp)))


def roc_auc_1d(probs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the chance that a random positive outranks a random negative, ties counting half; NaN unless both are
    present.

    >>> roc_auc_1d([0.9, 0.5, 0.5], [1, 1, 0])
    0.75
    """
    p, truth = np.asarray(probs, np.float64), np.asarray(targets).astype(bool)
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    tp, fp = _curve(p, truth)
    tp, fp = np.append(0.0, tp), np.append(0.0, fp)
    return float(np.sum(np.diff(fp) * (tp[1:] + tp[:-1]) / 2) / (positives * negatives))


def _per_attribute(
    metric: Callable[[npt.ArrayLike, npt.ArrayLike], float],
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    known: npt.ArrayLike | None,
) -> Float64:
    p, truth = np.asarray(probs, np.float64), np.asarray(targets).astype(bool)
    use = _known(p, known)
    return np.array([metric(p[use[:, a], a], truth[use[:, a], a]) for a in range(p.shape[1])], np.float64)


def average_precision(probs: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Float64:
    """Return AP (A,) of probs (N,A) against targets (N,A) {0,1}; entries not `known` are left out; NaN is "no data"."""
    return _per_attribute(average_precision_1d, probs, targets, known)


def roc_auc(probs: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Float64:
    """Return ROC-AUC (A,) of probs (N,A) against targets (N,A) {0,1}; entries not `known` are left out; NaN is "no
    data"."""
    return _per_attribute(roc_auc_1d, probs, targets, known)
