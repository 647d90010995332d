"""Confusion counts, additive: count first, divide last. Counts per attribute (and per cohort), and every ratio derived
from them.

    labels, targets, known (N,A) -> Counts (A,) or (Q,A) -> accuracy, balanced accuracy, precision, recall, F1,
        specificity

A ratio whose denominator is zero is NaN, "no data", never 0: an empty cohort has no accuracy. Merging the counts of
parts gives the counts of the whole, whatever cohorts or attributes a part lacks, because cohorts are keyed by name and
counts are sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.errors import UsageError
from lineament.types import Bool, Float64, Int64


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Float64:
    """Return numerator / denominator in float64, NaN ("no data") where the denominator is 0.

    >>> ratio([1, 0], [4, 0]).tolist()
    [0.25, nan]
    """
    over, under = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    out: Float64 = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under != 0)
    return out


def mean_of_known(values: npt.ArrayLike, axis: int | None = None) -> Float64:
    """Return the mean over entries that are not NaN; NaN where none is.

    >>> float(mean_of_known([0.5, float("nan"), 1.0]))
    0.75
    """
    array = np.asarray(values, np.float64)
    known = ~np.isnan(array)
    return ratio(np.where(known, array, 0.0).sum(axis), known.sum(axis))


@dataclass(frozen=True)
class Counts:
    """True/false positives/negatives, int64 arrays of one shape, (A,) or (Q,A). Additive: `a + b` counts both."""

    tp: Int64
    fp: Int64
    tn: Int64
    fn: Int64

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.tn + other.tn, self.fn + other.fn)

    @staticmethod
    def zeros(shape: int | tuple[int, ...]) -> Counts:
        """Return the counts of no image at all: the neutral element of `+`."""
        return Counts(*(np.zeros(shape, np.int64) for _ in range(4)))

    @property
    def total(self) -> Int64:
        """Decisions that have a label."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def positives(self) -> Int64:
        return self.tp + self.fn

    @property
    def negatives(self) -> Int64:
        return self.tn + self.fp

    @property
    def accuracy(self) -> Float64:
        return ratio(self.tp + self.tn, self.total)

    @property
    def recall(self) -> Float64:
        """TPR: share of true yes found; NaN without positives."""
        return ratio(self.tp, self.positives)

    @property
    def specificity(self) -> Float64:
        """TNR: share of true no found; NaN without negatives."""
        return ratio(self.tn, self.negatives)

    @property
    def fpr(self) -> Float64:
        return ratio(self.fp, self.negatives)

    @property
    def precision(self) -> Float64:
        """Share of said yes that are true; NaN where yes was never said."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def balanced_accuracy(self) -> Float64:
        """(TPR + TNR) / 2; NaN unless both classes are present."""
        return (self.recall + self.specificity) / 2

    @property
    def f1(self) -> Float64:
        """2 TP / (2 TP + FP + FN): 0 where positives exist and none is found; NaN where yes is neither true nor
        said."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def answer_rate(self) -> Float64:
        """Share of yes among the answers."""
        return ratio(self.tp + self.fp, self.total)

    @property
    def positive_rate(self) -> Float64:
        """Share of yes among the labels."""
        return ratio(self.positives, self.total)

    @property
    def majority(self) -> Float64:
        """Accuracy of always giving the more common label of these same labels."""
        return ratio(np.maximum(self.positives, self.negatives), self.total)


def _checked(labels: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None) -> tuple[Bool, Bool, Bool]:
    said, truth = np.asarray(labels).astype(bool), np.asarray(targets).astype(bool)
    has_label = np.ones(truth.shape, bool) if known is None else np.asarray(known, bool)
    if said.ndim != 2 or said.shape != truth.shape or has_label.shape != truth.shape:
        raise UsageError(
            f"labels {said.shape}, targets {truth.shape} and known {has_label.shape} must be one shape (N,A)."
        )
    return said, truth, has_label


def count(labels: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Counts:
    """Count answers against targets, each (N,A) of {0,1}; entries that are not `known` are not counted.

    Returns: Counts of shape (A,). Raises: UsageError if the shapes differ.

    >>> count([[1], [1], [0]], [[1], [0], [0]]).accuracy.round(3).tolist()
    [0.667]
    """
    said, truth, has_label = _checked(labels, targets, known)
    return Counts(
        tp=(said & truth & has_label).sum(0, dtype=np.int64),
        fp=(said & ~truth & has_label).sum(0, dtype=np.int64),
        tn=(~said & ~truth & has_label).sum(0, dtype=np.int64),
        fn=(~said & truth & has_label).sum(0, dtype=np.int64),
    )


def count_by_cohort(
    labels: npt.ArrayLike,
    targets: npt.ArrayLike,
    known: npt.ArrayLike | None,
    cohort: Sequence[str] | npt.NDArray[np.str_],
) -> dict[str, Counts]:
    """Count per cohort, keyed by the cohort's name; `cohort` (N,) names each row's. Only cohorts that occur are
    keys."""
    said, truth, has_label = _checked(labels, targets, known)
    names = np.asarray(cohort).astype(str)
    return {
        str(name): count(said[names == name], truth[names == name], has_label[names == name])
        for name in np.unique(names)
    }


def merge(parts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Return per-cohort counts summed over parts; a part may lack any cohort."""
    whole: dict[str, Counts] = {}
    for part in parts:
        for name, counted in part.items():
            whole[name] = whole[name] + counted if name in whole else counted
    return whole


def example_based(
    labels: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None = None
) -> dict[str, float]:
    """Return pedestrian-attribute literature's example-based accuracy, precision, recall, F1, and mA (label-based mean
    accuracy).

    Convention: per image |yes and true| over |yes or true|, |yes| and |true|, then averaged over images; images where a
    denominator is zero are left out of that average. F1 is of the averaged precision and recall. mA is the mean of
    balanced accuracy.
    Source: Jia et al., "Rethinking of pedestrian attribute recognition", arXiv 2005.11909, section on metrics.
    """
    said, truth, has_label = _checked(labels, targets, known)
    both = (said & truth & has_label).sum(1)
    yes, true = (said & has_label).sum(1), (truth & has_label).sum(1)
    precision, recall = float(mean_of_known(ratio(both, yes))), float(mean_of_known(ratio(both, true)))
    return {
        "accuracy": float(mean_of_known(ratio(both, yes + true - both))),
        "precision": precision,
        "recall": recall,
        "f1": float(ratio(2 * precision * recall, precision + recall)),
        "mA": float(mean_of_known(count(said, truth, has_label).balanced_accuracy)),
    }
