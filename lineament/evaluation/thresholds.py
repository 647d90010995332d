"""Fitted decision thresholds, one per attribute, for a goal that is named.

    probs, targets, known (N,A) + goal -> thresholds_ (A,)

DMM-CNN's adaptive rule: Mao et al., "Deep Multi-task Multi-label CNN for Effective Facial Attribute Classification",
arXiv 2002.03683.

| paper symbol | our name |
|---|---|
| tau_j | thresholds_[j] |
| FP_j, FN_j | counts at the current threshold on held-out data |
| gamma | step, 0.02, halved every 5 rounds |

Read (abstract and reading notes; no full text was at hand): that each attribute has an adaptive threshold, against the
imbalance of its classes.
Reconstructed here: that false positives and false negatives on held-out images move it, the formula, its step and its
limits 0.1 .. 0.9. Its fixed point is FP = FN: as many said yes as true yes, so it follows the class rates of the
held-out data, which in CelebA differ from those of test. Fixed 0.5 is always reported beside any fitted threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.errors import DataError, UsageError
from lineament.metrics.cohorts import wilson
from lineament.metrics.counts import count
from lineament.types import Float64

GOALS = ("accuracy", "balanced_accuracy", "f1", "precision", "dmm")
MIN_POSITIVES = 50
"""Fewest positives on which a precision threshold is fitted: at 50 the 95 % interval of 90 % precision is already 17
points wide."""


@dataclass(frozen=True)
class Goal:
    """A named goal. `precision` needs `least`, the precision wanted; `accuracy`, `balanced_accuracy`, `f1` and `dmm`
    need nothing."""

    name: str
    least: float | None = None

    @staticmethod
    def parse(text: str) -> Goal:
        """Return the goal of "accuracy", "balanced_accuracy", "f1", "dmm" or "precision>=0.9". Raises: UsageError.

        >>> Goal.parse("precision>=0.9")
        Goal(name='precision', least=0.9)
        """
        name, _, least = text.replace(" ", "").partition(">=")
        if name not in GOALS or (name == "precision") != bool(least):
            raise UsageError(f"Unknown goal {text!r}. Use accuracy, balanced_accuracy, f1, dmm or precision>=0.9.")
        try:
            value = float(least) if least else None
        except ValueError as error:
            raise UsageError(f"{least!r} in the goal {text!r} is not a number.") from error
        if value is not None and not 0 < value < 1:
            raise UsageError(f"The precision in {text!r} must lie between 0 and 1.")
        return Goal(name, value)


def _candidates(probs: Float64, truth: npt.NDArray[np.bool_]) -> tuple[Float64, Float64, Float64]:
    """Return thresholds (T,) half-way between neighbouring distinct probs (and one above all), with tp and fp (T,) at
    each."""
    order = np.argsort(probs, kind="stable")
    p, y = probs[order], truth[order].astype(np.float64)
    starts = np.append(0, np.flatnonzero(np.diff(p)) + 1)
    distinct = p[starts]
    above = np.append(distinct[1:], np.nextafter(1.0, 2.0))
    middles = np.append(distinct[0] / 2, (distinct + above) / 2)
    middles[-1] = min(middles[-1], 1.0) if distinct[-1] < 1.0 else np.nextafter(1.0, 2.0)
    positives_below = np.append(0.0, np.add.reduceat(y, starts).cumsum())
    below = np.append(0.0, np.diff(np.append(starts, len(p))).cumsum())
    tp = y.sum() - positives_below
    return middles, tp, len(p) - below - tp


def _scores(goal: str, tp: Float64, fp: Float64, positives: float, negatives: float) -> Float64:
    tn = negatives - fp
    if goal == "accuracy":
        return np.asarray((tp + tn) / (positives + negatives))
    if goal == "balanced_accuracy":
        return np.asarray((tp / positives + tn / negatives) / 2)
    return np.asarray(2 * tp / (tp + fp + positives))


def fit_1d(probs: npt.ArrayLike, targets: npt.ArrayLike, goal: Goal) -> float:
    """Return the threshold that serves the goal best on probs (N,), targets (N,) {0,1}.

    Convention: among equally good thresholds the one closest to 0.5. 0.5 itself where a class is absent (nothing can be
    fitted).
    Raises: DataError for a precision goal on too few positives, or one that no threshold reaches with 95 % confidence.
    """
    p, truth = np.asarray(probs, np.float64), np.asarray(targets).astype(bool)
    positives, negatives = float(truth.sum()), float((~truth).sum())
    if goal.name == "precision":
        return _precision_1d(p, truth, goal.least or 0.9)
    if positives == 0 or negatives == 0:
        return 0.5
    if goal.name == "dmm":
        return float(dmm_adaptive(p[:, None], truth[:, None])[0])
    middles, tp, fp = _candidates(p, truth)
    scores = _scores(goal.name, tp, fp, positives, negatives)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return float(middles[best[np.abs(middles[best] - 0.5).argmin()]])


def _precision_1d(probs: Float64, truth: npt.NDArray[np.bool_], least: float) -> float:
    """Return the lowest threshold whose precision is at least `least` at the lower end of its 95 % (Wilson)
    interval."""
    if truth.sum() < MIN_POSITIVES:
        raise DataError(
            f"{int(truth.sum())} positives are too few for a precision goal; {MIN_POSITIVES} are needed. Give more "
            "images."
        )
    middles, tp, fp = _candidates(probs, truth)
    good = wilson(tp, tp + fp).low >= least
    if not good.any():
        raise DataError(
            f"No threshold reaches a precision of {least:g} with 95 % confidence on these images. Ask for less, or "
            "give more."
        )
    return float(middles[good.argmax()])


def fit(
    probs: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None, goal: Goal, *, refuse: bool = True
) -> tuple[Float64, dict[int, str]]:
    """Return thresholds_ (A,) for a goal, and column -> reason where a precision goal was refused (those stay 0.5).

    Args: probs, targets, known (N,A); refuse: keep refusals as reasons (True) or raise the first (False).
    """
    p, truth = np.asarray(probs, np.float64), np.asarray(targets)
    use = np.ones(p.shape, bool) if known is None else np.asarray(known, bool)
    thresholds, refused = np.full(p.shape[1], 0.5), {}
    for column in range(p.shape[1]):
        rows = use[:, column]
        try:
            thresholds[column] = fit_1d(p[rows, column], truth[rows, column], goal)
        except DataError as error:
            if not refuse:
                raise
            refused[column] = str(error)
    return thresholds, refused


def dmm_adaptive(
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    known: npt.ArrayLike | None = None,
    *,
    rounds: int = 50,
    step: float = 0.02,
) -> Float64:
    """Return thresholds_ (A,) after DMM-CNN's adaptive rule on fixed held-out predictions (N,A).

    tau <- clip(tau + step * (FP - FN) / (FP + FN + eps), 0.1, 0.9), the step halved every 5 rounds; see the head of
    this file. The steps add up to 0.2 at most, so a threshold ends between 0.3 and 0.7, and where FP = FN only if that
    lies there.
    """
    p = np.asarray(probs, np.float64)
    tau = np.full(p.shape[1], 0.5)
    for round_ in range(rounds):
        tau = dmm_step(tau, p, targets, known, step=step * 0.5 ** (round_ // 5))
    return tau


def dmm_step(
    tau: Float64,
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    known: npt.ArrayLike | None = None,
    *,
    step: float = 0.02,
) -> Float64:
    """Return the thresholds (A,) after one round on held-out predictions (N,A)."""
    counted = count(np.asarray(probs, np.float64) >= tau, targets, known)
    move = (counted.fp - counted.fn) / (counted.fp + counted.fn + 1e-9)
    return np.asarray(np.clip(tau + step * move, 0.1, 0.9))
