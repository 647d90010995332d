"""Label noise: the labels most likely wrong, by confident learning on out-of-fold probabilities.

    out-of-fold probs (N,A) + given labels -> per-attribute confidence thresholds -> suspicious labels, most suspicious
        first

Source: Northcutt et al., "Confident learning", JAIR 2021 (arXiv 1911.00068): a label is off the diagonal where the
model is at least as sure of the other answer as it is, on average, of the images that carry that answer. What differs:
binary attributes one by one, and the ranking is over all attributes by the probability of the given label. The
probabilities must come from a model that was not trained on these labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import sigmoid
from lineament.errors import DataError, MissingExtraError
from lineament.evaluation.folds import folds_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import number
from lineament.metrics.counts import mean_of_known, ratio
from lineament.schema import LOW_AGREEMENT
from lineament.types import Float64


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong: where it is, what it says (given), the probability of yes, and of the given answer
    (lower: worse)."""

    row: int
    column: int
    given: bool
    prob: float
    of_given: float


def off_diagonal(probs: Float64, targets: npt.ArrayLike, known: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which labels (N,A) confident learning takes for wrong.

    Convention: with t_yes the mean prob of yes among images labelled yes, and t_no that of no among those labelled no,
    "no" is wrong where prob >= t_yes and "yes" is wrong where 1 - prob >= t_no; where both hold, the larger excess
    decides. An attribute with one class only has no suspect.
    """
    yes, use = np.asarray(targets).astype(bool), np.asarray(known, bool)
    t_yes = ratio(np.where(yes & use, probs, 0).sum(0), (yes & use).sum(0))
    t_no = ratio(np.where(~yes & use, 1 - probs, 0).sum(0), (~yes & use).sum(0))
    sure_yes, sure_no = probs >= t_yes, 1 - probs >= t_no
    excess = (probs - t_yes) - (1 - probs - t_no)
    says_yes = np.where(sure_yes & sure_no, excess >= 0, sure_yes)
    says_no = np.where(sure_yes & sure_no, excess < 0, sure_no)
    return np.asarray(use & np.where(yes, says_no, says_yes), bool)


def suspects(predictions: Predictions, most: int = 100, *, method: str = "confident") -> list[Suspect]:
    """Return the most suspicious labels, worst first. method: "confident" (ours) or "cleanlab" (its filter per
    attribute, extra [audit]).

    Raises: DataError without labels; MissingExtraError.
    """
    found = predictions.found()
    if not found.labelled:
        raise DataError("There are no labels to audit: the prediction file has no target_NAME values.")
    probs = found.shipped
    wrong = _wrong(found, method)
    of_given = np.where(found.targets == 1, probs, 1 - probs)
    at = np.argwhere(wrong)
    order = at[np.argsort(of_given[wrong], kind="stable")][:most]
    places = np.flatnonzero(predictions.detected)
    return [
        Suspect(
            int(places[row]),
            int(column),
            bool(found.targets[row, column]),
            float(probs[row, column]),
            float(of_given[row, column]),
        )
        for row, column in order
    ]


def _wrong(found: Predictions, method: str) -> npt.NDArray[np.bool_]:
    probs = found.shipped
    return off_diagonal(probs, found.targets, found.known) if method == "confident" else _cleanlab(probs, found)


def _cleanlab(probs: Float64, found: Predictions) -> npt.NDArray[np.bool_]:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtraError("cleanlab", "audit") from error
    wrong = np.zeros(probs.shape, bool)
    for column in range(probs.shape[1]):
        rows = np.flatnonzero(found.known[:, column])
        given = found.targets[rows, column].astype(int)
        if 0 < given.sum() < len(given):
            both = np.stack([1 - probs[rows, column], probs[rows, column]], 1)
            wrong[rows, column] = find_label_issues(given, both, filter_by="confident_learning", n_jobs=1)
    return wrong


def summary(predictions: Predictions, *, method: str = "confident") -> dict[str, Any]:
    """Return per attribute how many labels are off the diagonal and which way: an estimate of the noise, as good as the
    probabilities."""
    found = predictions.found()
    wrong = _wrong(found, method)
    yes = found.targets.astype(bool)
    rows = {
        name: {
            "labels": int(found.known[:, a].sum()),
            "yes_likely_no": int((wrong & yes)[:, a].sum()),
            "no_likely_yes": int((wrong & ~yes)[:, a].sum()),
            "share": number(ratio(wrong[:, a].sum(), found.known[:, a].sum())),
            "low_agreement": name in LOW_AGREEMENT,
        }
        for a, name in enumerate(found.attributes)
    }
    images = ratio((wrong.any(1)).sum(), len(found))
    share = mean_of_known(ratio(wrong.sum(0), found.known.sum(0)))
    return {
        "method": method,
        "images": len(found),
        "images_with_a_suspect": number(images),
        "share": number(share),
        "attributes": rows,
    }


def out_of_fold(
    features: npt.ArrayLike,
    predictions: Predictions,
    *,
    folds: int = 5,
    steps: int = 200,
    decay: float = 0.1,
    progress: Callable[[], None] = lambda: None,
) -> Float64:
    """Return out-of-fold probabilities (N,A) of a linear model on cached features (N,D): each person judged by a model
    without them.

    Convention: features are standardised on the training part; logistic loss over known labels plus decay * |W|^2 / 2;
    accelerated gradient steps from zero, so the answer is the same on every run.
    Raises: DataError if the rows do not match.
    """  # fmt: skip
    x = np.asarray(features, np.float32)
    if x.ndim != 2 or len(x) != len(predictions):
        raise DataError(
            f"Features {x.shape} do not match {len(predictions)} predictions. Give one row per row of the prediction "
            "file."
        )
    fold, out = folds_of(predictions, folds), np.zeros(predictions.raw.shape)
    for part in range(folds):
        inside = fold == part
        if not inside.any() or inside.all():
            raise DataError(f"{folds} folds need images of more people.")
        mean, spread = x[~inside].mean(0), x[~inside].std(0) + 1e-3
        weights, bias = _logistic(
            (x[~inside] - mean) / spread, predictions.targets[~inside], predictions.known[~inside], steps, decay
        )
        out[inside] = sigmoid((x[inside] - mean) / spread @ weights + bias)
        progress()
    return out


def _logistic(x: Any, targets: Any, known: Any, steps: int, decay: float) -> tuple[Any, Any]:
    """Return weights (D,A) and bias (A,) after Nesterov steps on the mean logistic loss."""
    y, use = targets.astype(np.float32), known.astype(np.float32)
    size = max(1.0, float(len(x)))
    # the loss curves at most a quarter of the largest eigenvalue of X'X/N, which a few power steps find
    v = np.ones(x.shape[1], np.float32)
    for _ in range(8):
        v = x.T @ (x @ v) / size
        v /= np.linalg.norm(v) + 1e-12
    rate = 1.0 / (0.25 * 1.1 * float(np.linalg.norm(x.T @ (x @ v) / size)) + 0.25 + decay)
    w, b = (
        np.zeros((x.shape[1], y.shape[1]), np.float32),
        np.log((y * use).sum(0) + 1) - np.log(((1 - y) * use).sum(0) + 1),
    )
    w_before, b_before = w, b
    for step in range(1, steps + 1):
        push = (step - 1) / (step + 2)
        w_ahead, b_ahead = w + push * (w - w_before), b + push * (b - b_before)
        residual = ((sigmoid(x @ w_ahead + b_ahead) - y) * use).astype(np.float32) / size
        w_before, b_before = w, b
        w = w_ahead - rate * (x.T @ residual + decay * w_ahead)
        b = b_ahead - rate * residual.sum(0)
    return w, b
