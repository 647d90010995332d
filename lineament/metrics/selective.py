"""Selective prediction (abstention): bands, coverage-risk curves and split-conformal answer sets.

prob (N,) + threshold -> confidence -> answer the most confident share -> risk of those answers
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.metrics.counts import ratio
from lineament.types import Bool, Float64


def band_1d(probs: npt.ArrayLike, coverage: float, threshold: float = 0.5) -> tuple[float, float]:
    """Return (low, high) around the threshold such that at least `coverage` of probs lie outside `low < prob < high`.

    Convention: "cannot tell" is `low < prob < high`, as in `Decision.abstain`; closeness to the threshold is the
    distance in log-odds, so an asymmetric threshold is respected; ties count as answered. Coverage 1 gives (1, 0):
    never.
    """
    p = np.asarray(probs, np.float64)
    allowed = int(np.floor(len(p) * (1 - coverage) + 1e-9))
    if allowed <= 0:
        return 1.0, 0.0
    distance = confidence_1d(p, threshold)
    limit = np.sort(distance)[min(allowed, len(p) - 1)]
    # p lies inside the band iff its distance is under the limit: at most `allowed` do
    odds = np.log(threshold) - np.log1p(-threshold)
    low, high = (1 / (1 + np.exp(-(odds + side * limit))) for side in (-1.0, 1.0))
    inside = (p > low) & (p < high)
    if inside.sum() > allowed:  # rounding put a tie inside: shrink to the outermost values that are
        kept = p[distance < limit]
        # The values kept may all lie on one side; the band holds the threshold all the same.
        low, high = (
            (min(np.nextafter(kept.min(), 0), threshold), max(np.nextafter(kept.max(), 1), threshold))
            if len(kept)
            else (1.0, 0.0)
        )
    return float(low), float(high)


def confidence_1d(probs: npt.ArrayLike, threshold: float = 0.5) -> Float64:
    """Return |log-odds of prob - log-odds of threshold| (N,): 0 at the threshold, without bound away from it."""
    p = np.clip(np.asarray(probs, np.float64), 1e-12, 1 - 1e-12)
    t = min(max(threshold, 1e-12), 1 - 1e-12)
    return np.asarray(np.abs(np.log(p) - np.log1p(-p) - (np.log(t) - np.log1p(-t))))


def coverage_risk_1d(
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    threshold: float = 0.5,
    coverages: npt.ArrayLike = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5),
) -> Float64:
    """Return the error rate (C,) of the most confident share of answers, for each coverage; NaN without data.

    Convention: images of equal confidence count with their mean error, so the file's order cannot matter.
    """
    p, truth = np.asarray(probs, np.float64), np.asarray(targets).astype(bool)
    shares = np.asarray(coverages, np.float64)
    if len(p) == 0:
        return np.full(shares.shape, np.nan)
    _, tie = np.unique(-confidence_1d(p, threshold), return_inverse=True)
    wrong = (p >= threshold) != truth
    sizes = np.bincount(tie)
    answered, errors = np.append(0, np.cumsum(sizes)), np.append(0.0, np.cumsum(np.bincount(tie, wrong)))
    places = shares * len(p)
    return ratio(np.interp(places, answered, errors), places)


@dataclass(frozen=True)
class Selective:
    """Measured answers with bands: coverage (A,), accuracy among the answered (A,), accuracy at full coverage (A,)."""

    coverage: Float64
    accuracy: Float64
    full_accuracy: Float64


def measure(answers: npt.NDArray[np.str_], full: Bool, targets: npt.ArrayLike, known: npt.ArrayLike) -> Selective:
    """Return coverage and accuracy of three-valued answers (N,A) of "yes", "no", "cannot_tell", beside two-valued
    `full` (N,A)."""
    truth, has_label = np.asarray(targets).astype(bool), np.asarray(known, bool)
    answered = (answers != "cannot_tell") & has_label
    right = ((answers == "yes") == truth) & answered
    return Selective(
        coverage=ratio(answered.sum(0), has_label.sum(0)),
        accuracy=ratio(right.sum(0), answered.sum(0)),
        full_accuracy=ratio(((full == truth) & has_label).sum(0), has_label.sum(0)),
    )


def conformal_limit_1d(
    probs: npt.ArrayLike, targets: npt.ArrayLike, miss: float = 0.1, *, per_class: bool = True
) -> tuple[float, float]:
    """Return (limit for "no", limit for "yes"): an answer belongs to the set if its probability is at least its limit.

    Convention: split-conformal with score 1 - probability of the true answer, so the true answer is in the set with
    probability at least 1 - miss for new images exchangeable with these; `per_class` makes that hold among true yes and
    true no separately. A class too small for the level gets limit 0: always in the set.
    Args: probs (N,), targets (N,) {0,1} that no fit has seen; miss: the allowed miss rate.
    Source: Vovk et al. 2005; Angelopoulos & Bates, arXiv 2107.07511.
    """
    p, truth = np.asarray(probs, np.float64), np.asarray(targets).astype(bool)
    of_truth = np.where(truth, p, 1 - p)
    groups = [of_truth[~truth], of_truth[truth]] if per_class else [of_truth, of_truth]
    limits = []
    for group in groups:
        place = int(np.floor((len(group) + 1) * miss))
        limits.append(float(np.sort(group)[place - 1]) if place >= 1 else 0.0)
    return limits[0], limits[1]


def conformal_sets(probs: npt.ArrayLike, limits: tuple[float, float]) -> Bool:
    """Return which answers are in the set, (N,2): column 0 "no", column 1 "yes". Both in: cannot tell; neither: unlike
    anything seen."""
    p = np.asarray(probs, np.float64)
    return np.stack([1 - p >= limits[0], p >= limits[1]], 1)
