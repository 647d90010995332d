"""Calibration that carries over: of each attribute's correction, the part on which two splits agree.

    splits A, B (predictions) -> per attribute (a, b) fitted on each -> the part both agree on -> kept where it helps
        people left out -> Decision

CelebA was labelled in batches, so its class rates drift between its splits, and a layer fitted on one split learns that
split's annotators.
What two splits ask for alike is the network's own error; what they ask for differently is theirs. So of the two log
slopes, and of the two biases at that slope, the smaller is taken where both have one sign, else none:
prob = sigmoid(a * logit + b). An attribute gets it only where it lowers the log loss of people it was not fitted on in
both splits; else the raw sigmoid is shipped.

**Convention**: each split counts the same, whatever its size; views of one image (stored, detected, smaller) are rows
of their own.
**Source**: Platt scaling (Platt 1999) on each split; taking the agreed part is ours, a cautious estimate of what a
third split shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import Decision
from lineament.errors import DataError
from lineament.evaluation.folds import folds_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import number
from lineament.metrics import calibration
from lineament.metrics.counts import mean_of_known
from lineament.types import Bool, Float64


@dataclass(frozen=True)
class Split:
    """One split's predictions: every row a face found. half (N,) is the half of the split's people that a row belongs
    to, quarter (N,) the half of that half: a choice inside one half needs two halves of its own."""

    name: str
    rows: Predictions
    half: npt.NDArray[np.int64]
    quarter: npt.NDArray[np.int64]

    @staticmethod
    def of(name: str, views: Sequence[Predictions]) -> Split:
        """Return the rows of all views together. Raises: DataError where nothing is labelled or all are one person."""
        found = [view.found() for view in views]
        rows = joined(found)
        if len(rows) == 0 or not rows.labelled:
            raise DataError(f"The split {name} holds no labelled face, so nothing can be fitted or judged on it.")
        fold = np.concatenate([folds_of(view, 4) for view in found]).astype(np.int64)
        if len(np.unique(fold)) < 4:
            raise DataError(f"The split {name} holds fewer than four people. Give images of more.")
        return Split(name, rows, fold // 2, fold % 2)

    def where(self, rows: npt.NDArray[np.bool_]) -> Split:
        """Return the rows (N,) that are marked, in the same halves."""
        return Split(self.name, self.rows.take(rows), self.half[rows], self.quarter[rows])

    def part(self, half: int) -> Split:
        """Return the rows of one half of the people."""
        inside = self.half == half
        return Split(self.name, self.rows.take(inside), self.quarter[inside], self.quarter[inside])


def joined(views: Sequence[Predictions]) -> Predictions:
    """Return the rows of several predictions of the same attributes below each other. File names may repeat: they are
    views of one image."""
    first = views[0]
    if any(view.attributes != first.attributes for view in views):
        raise DataError("The prediction files to fit together answer different attributes. Write them with one model.")
    identity = (
        None
        if any(view.identity is None for view in views)
        else np.concatenate([np.asarray(view.identity) for view in views])
    )
    return Predictions(
        tuple(name for view in views for name in view.files),
        first.attributes,
        np.concatenate([view.raw for view in views]),
        None,
        np.concatenate([view.targets for view in views]),
        np.concatenate([view.known for view in views]),
        np.concatenate([view.detected for view in views]),
        identity=identity,
        eye_distance=np.concatenate([_sizes(view) for view in views]),
    )


def _sizes(view: Predictions) -> Float64:
    """Return the eye distance (N,), NaN (a face large enough) where the file has none."""
    return np.full(len(view), np.nan) if view.eye_distance is None else view.eye_distance


def agreed(one: float, other: float) -> float:
    """Return the number nearer to 0 of two of one sign; 0.0 where they point in different directions.

    >>> agreed(0.3, 0.2), agreed(-0.3, 0.2)
    (0.2, 0.0)
    """
    return float(np.sign(one) * min(abs(one), abs(other))) if one * other > 0 else 0.0


def fit_agreed_1d(parts: Sequence[tuple[Float64, npt.NDArray[np.int8]]]) -> dict[str, Any] | None:
    """Return one attribute's entry of `Decision.calibration` from (logits (N,), targets (N,)) of two splits; None where
    a class is missing."""
    if any(len(y) == 0 or y.min() == y.max() for _, y in parts):
        return None
    slope = float(np.exp(agreed(*(np.log(calibration.fit_platt_1d(z, y)[0]) for z, y in parts))))
    bias = agreed(*(calibration.fit_bias_1d(slope * z, y) for z, y in parts))
    return {"method": "platt", "a": slope, "b": bias}


def fit_agreed(one: Split, other: Split) -> dict[str, dict[str, Any] | None]:
    """Return each attribute's entry, fitted on all rows of both splits."""
    names = one.rows.attributes
    return {name: fit_agreed_1d([_column(one, column), _column(other, column)]) for column, name in enumerate(names)}


def fit_sizes(one: Split, other: Split, eyes: tuple[float, float] = (19.0, 38.0)) -> Decision:
    """Return the layer to ship for faces of every size: fitted on large faces and on small ones, each as `fit_across`
    does.

    Args: eyes: pixels between the eyes at which a face is small and large (`Decision.small_eyes`); a row belongs to the
        nearer of the two, by the logarithm of its distance.
    """
    middle = float(np.sqrt(eyes[0] * eyes[1]))
    small = [np.asarray(split.rows.eye_distance, np.float64) < middle for split in (one, other)]
    large = fit_across(one.where(~small[0]), other.where(~small[1]))
    if not all(marked.any() for marked in small):
        return large
    fitted = fit_across(one.where(small[0]), other.where(small[1])).calibration
    entries = {name: {"a": float(entry["a"]), "b": float(entry["b"])} for name, entry in fitted.items()}
    # an attribute whose small faces ask for nothing has the raw sigmoid there, whatever its large ones have
    entries |= {name: {"a": 1.0, "b": 0.0} for name in large.calibration if name not in entries}
    return replace(large, small=entries, small_eyes=eyes)


def fit_across(one: Split, other: Split) -> Decision:
    """Return the layer for faces of one size: each attribute's agreed correction where it helps held-out people of both
    splits; and class rates.

    The rates are the mean of the two splits' shares of yes: what the probabilities assume (see `decision.rates`).
    """
    kept = _helps(one, other)
    entries = {name: entry for name, entry in fit_agreed(one, other).items() if entry is not None and name in kept}
    rates = {}
    for column, name in enumerate(one.rows.attributes):
        shares = [_column(split, column)[1] for split in (one, other)]
        rate = float(np.mean([y.mean() for y in shares if len(y)])) if any(len(y) for y in shares) else 0.0
        if 0 < rate < 1:
            rates[name] = round(rate, 4)
    return Decision(calibration=entries, rates=rates)


def _helps(one: Split, other: Split) -> frozenset[str]:
    """Return the attributes whose correction, fitted on half of the people, lowers the log loss of the other half in
    both splits."""
    gains: dict[str, list[list[float]]] = {name: [[], []] for name in one.rows.attributes}
    for half in (0, 1):
        fitted = fit_agreed(one.part(1 - half), other.part(1 - half))
        for at, split in enumerate((one.part(half), other.part(half))):
            for column, (name, entry) in enumerate(fitted.items()):
                logits, targets = _column(split, column)
                gains[name][at].append(log_loss_1d(None, logits, targets) - log_loss_1d(entry, logits, targets))
    return frozenset(name for name, both in gains.items() if all(np.mean(part) > 0 for part in both))


def log_loss_1d(fitted: Mapping[str, Any] | None, logits: Float64, targets: npt.ArrayLike) -> float:
    """Return the mean of -log p(target) in nats, probabilities kept 1e-6 from 0 and 1; NaN without rows."""
    p = np.clip(_probs(fitted, logits), 1e-6, 1 - 1e-6)
    y = np.asarray(targets, np.float64)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))) if len(y) else float("nan")


def across(one: Split, other: Split) -> dict[str, Any]:
    """Return calibration error and accuracy on people left out, raw and shipped, of three ways to fit.

    "agreed": what is shipped, fitted (and chosen) on half of both splits' people, judged on the other half of each. "A
    -> B": the usual Platt scaling fitted on split A alone and judged on B: what a layer that knows one split only would
    do.
    """
    document: dict[str, Any] = {}
    halves = [fit_sizes(one.part(1 - half), other.part(1 - half)) for half in (0, 1)]
    for judge in (one, other):
        probs = np.zeros(judge.rows.raw.shape)
        for half, layer in enumerate(halves):
            inside = judge.half == half
            rows = judge.rows.take(inside)
            probs[inside] = layer.probs(calibration.logit(rows.raw), rows.attributes, eye_distance=rows.eye_distance)
        document[f"agreed, on {judge.name}"] = _worth(judge.rows, probs)
    for fit, judge in ((one, other), (other, one)):
        entries = {}
        for column, name in enumerate(fit.rows.attributes):
            a, b = calibration.fit_platt_1d(*_column(fit, column))
            entries[name] = {"method": "platt", "a": a, "b": b}
        probs = Decision(calibration=entries).probs(calibration.logit(judge.rows.raw), judge.rows.attributes)
        document[f"{fit.name} -> {judge.name}"] = _worth(judge.rows, probs)
    return document


def _worth(rows: Predictions, probs: Float64) -> dict[str, Any]:
    use: Bool = rows.known
    errors = {
        key: calibration.per_attribute(calibration.ece_1d, p, rows.targets, use)
        for key, p in (("ece", probs), ("ece_raw", rows.raw))
    }
    right = {key: _accuracy(p, rows) for key, p in (("accuracy", probs), ("accuracy_raw", rows.raw))}
    per = {
        name: {key: number(values[a]) for key, values in {**errors, **right}.items()}
        for a, name in enumerate(rows.attributes)
    }
    return {key: number(mean_of_known(values)) for key, values in {**errors, **right}.items()} | {
        "rows": len(rows),
        "attributes": per,
    }


def _accuracy(probs: Float64, rows: Predictions) -> Float64:
    hits = np.where(rows.known, (probs >= 0.5) == (rows.targets == 1), np.nan)
    return np.asarray([mean_of_known(hits[:, a]) for a in range(hits.shape[1])], np.float64)


def _column(split: Split, column: int) -> tuple[Float64, npt.NDArray[np.int8]]:
    use = split.rows.known[:, column]
    return calibration.logit(split.rows.raw[use, column]), split.rows.targets[use, column]


def _probs(fitted: Mapping[str, Any] | None, logits: Float64) -> Float64:
    return calibration.apply({"method": "platt", "a": 1.0, "b": 0.0} if fitted is None else fitted, logits)
