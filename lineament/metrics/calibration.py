"""Calibration metrics and fits: Brier score, expected calibration error beside its floor, and the fits that make it so.

    logits (N,) -> Platt (a, b) or temperature (a) -> prob = sigmoid(a * logit + b)
    raw sigmoid (N,) -> isotonic knots -> prob = interp(raw, x, y)

Fits are per attribute, in NumPy; `evaluation/calibrate.py` puts them together with thresholds, cross-fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import sigmoid
from lineament.types import Float64

BINS = 15
_RIDGE = 1e-3  # of one image's weight: keeps the fit finite when the classes are separable


def logit(probs: npt.ArrayLike) -> Float64:
    """Return log(p / (1 - p)), finite: probabilities are kept 1e-12 from 0 and 1."""
    p = np.clip(np.asarray(probs, np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(p) - np.log1p(-p))


def brier_1d(probs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean squared difference of probs (N,) and targets (N,) {0,1}; NaN without data.

    >>> brier_1d([0.5, 1.0], [1, 1])
    0.125
    """
    p, y = np.asarray(probs, np.float64), np.asarray(targets, np.float64)
    return float(np.mean((p - y) ** 2)) if len(p) else float("nan")


def _sorted_with_ties(probs: Float64, targets: Float64) -> tuple[Float64, Float64]:
    """Return probs (N,) ascending and targets in that order, equal probs sharing their mean target: the file's order
    cannot matter."""
    order = np.argsort(probs, kind="stable")
    p, y = probs[order], targets[order]
    starts = np.append(0, np.flatnonzero(np.diff(p)) + 1)
    sizes = np.diff(np.append(starts, len(p)))
    return p, np.repeat(np.add.reduceat(y, starts) / sizes, sizes)


def reliability_1d(probs: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS) -> tuple[Float64, Float64]:
    """Return mean prob (B,) and mean target (B,) of equal-mass bins, lowest first: the reliability curve. Empty arrays
    without data.

    Convention: every bin holds exactly N/B images; an image on a border is shared by both bins in parts.
    """
    p, y = np.asarray(probs, np.float64), np.asarray(targets, np.float64)
    if len(p) == 0:
        return np.zeros(0), np.zeros(0)
    p, y = _sorted_with_ties(p, y)
    edges = np.linspace(0, len(p), bins + 1)
    places = np.arange(len(p) + 1)
    per_bin = len(p) / bins
    mean_p = np.diff(np.interp(edges, places, np.append(0.0, np.cumsum(p)))) / per_bin
    mean_y = np.diff(np.interp(edges, places, np.append(0.0, np.cumsum(y)))) / per_bin
    return mean_p, mean_y


def ece_1d(probs: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS) -> float:
    """Return the expected calibration error, mean over equal-mass bins of |mean prob - mean target|; NaN without data.

    Source: Naeini et al., AAAI 2015; equal-mass ("adaptive") bins as Nguyen & O'Connor, EMNLP 2015.

    >>> round(ece_1d([0.2] * 10, [1, 1] + [0] * 8), 12)
    0.0
    """
    mean_p, mean_y = reliability_1d(probs, targets, bins)
    return float(np.mean(np.abs(mean_p - mean_y))) if len(mean_p) else float("nan")


def ece_floor_1d(probs: npt.ArrayLike, *, draws: int = 50, seed: int = 0, bins: int = BINS) -> float:
    """Return the mean ECE that *perfectly* calibrated predictions of this size would show: targets drawn from probs
    themselves."""
    p = np.sort(np.asarray(probs, np.float64))
    if len(p) == 0:
        return float("nan")
    rng = np.random.default_rng(seed)
    return float(np.mean([ece_1d(p, rng.random(len(p)) < p, bins) for _ in range(draws)]))


def per_attribute(
    metric: Any, probs: npt.ArrayLike, targets: npt.ArrayLike, known: npt.ArrayLike | None = None
) -> Float64:
    """Return metric(probs, targets) for each column over its known entries: (A,). For `brier_1d` and `ece_1d`."""
    p, y = np.asarray(probs, np.float64), np.asarray(targets, np.float64)
    use = np.ones(p.shape, bool) if known is None else np.asarray(known, bool)
    return np.array([metric(p[use[:, a], a], y[use[:, a], a]) for a in range(p.shape[1])], np.float64)


def fit_platt_1d(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    bias: bool = True,
    weights: npt.ArrayLike | None = None,
    steps: int = 50,
    precision: tuple[float, float] = (_RIDGE, _RIDGE),
) -> tuple[float, float]:
    """Fit prob = sigmoid(a * logit + b) by Newton's method on the mean log loss; `bias=False` fits the temperature 1/a
    alone.

    Convention: a tiny ridge pulls (a, b) to (1, 0), which is returned without data; a is kept above 0.05, so the order
    of images stays.
    Args: logits (N,), targets (N,) {0,1}, weights (N,) or None. precision: of the Gaussian priors of a (mean 1) and b
        (mean 0), 1 / variance, in units of one image's log loss: what shrinks a fit on few images.
    Source: Platt 1999; Guo et al., ICML 2017 (temperature).
    """
    z, y = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    w = np.ones(len(z)) if weights is None else np.asarray(weights, np.float64)
    design = np.stack([z, np.ones(len(z))]) if bias else z[None]
    start = np.array([1.0, 0.0])[: len(design)]
    ridge = np.array(precision)[: len(design)]
    theta = start.copy()
    for _ in range(steps):
        p = sigmoid(theta @ design)
        gradient = (design * w) @ (p - y) + ridge * (theta - start)
        curvature = (design * (w * p * (1 - p))) @ design.T + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        # damped far from the optimum, where the quadratic model is poor
        theta = theta - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    if theta[0] < 0.05:
        return 0.05, float(theta[1]) if bias else 0.0
    return float(theta[0]), float(theta[1]) if bias else 0.0


def fit_bias_1d(logits: npt.ArrayLike, targets: npt.ArrayLike, *, steps: int = 50) -> float:
    """Fit prob = sigmoid(logit + b) by Newton's method on the mean log loss; 0.0 without data. The ridge is
    `fit_platt_1d`'s."""
    z, y = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    b = 0.0
    for _ in range(steps):
        p = sigmoid(z + b)
        step = float((p - y).sum() + _RIDGE * b) / float((p * (1 - p)).sum() + _RIDGE)
        b -= step / max(1.0, abs(step))
        if abs(step) < 1e-10:
            break
    return b


def _pool_adjacent(values: Float64, weights: Float64) -> tuple[Float64, npt.NDArray[np.intp]]:
    """Return block means and block sizes (in entries) of the weighted isotonic regression of `values`: pool adjacent
    violators."""
    means: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, mass, size = value, weight, 1
        while means and means[-1] >= mean:
            mass += masses[-1]
            mean += (means.pop() - mean) * masses.pop() / mass
            size += sizes.pop()
        means.append(mean)
        masses.append(mass)
        sizes.append(size)
    return np.array(means), np.array(sizes, np.intp)


def increasing(values: npt.ArrayLike, weights: npt.ArrayLike) -> Float64:
    """Return the weighted isotonic regression of values (N,): the closest increasing ones.

    >>> increasing([1.0, 3.0, 2.0], [1.0, 1.0, 1.0]).tolist()
    [1.0, 2.5, 2.5]
    """
    means, sizes = _pool_adjacent(np.asarray(values, np.float64), np.maximum(np.asarray(weights, np.float64), 1e-9))
    return np.repeat(means, sizes)


def fit_isotonic_1d(probs: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[list[float], list[float]]:
    """Fit an increasing map of raw probs; return knots x and calibrated y for `numpy.interp`.

    Convention: pool adjacent violators, then one knot at the mean raw prob of each block with lines between ("centred
    isotonic"), so that the map has no flat steps and different raw probs stay different. y is kept 1/(2N) away from 0
    and 1, because no finite sample shows certainty. Without data the identity.
    Source: Zadrozny & Elkan, KDD 2002; the centring: Oron & Flournoy, Statistics in Biopharmaceutical Research 2017.
    """
    p, y = np.asarray(probs, np.float64), np.asarray(targets, np.float64)
    if len(p) == 0:
        return [0.0, 1.0], [0.0, 1.0]
    distinct, place, repeats = np.unique(p, return_inverse=True, return_counts=True)
    mass = repeats.astype(np.float64)
    means, sizes = _pool_adjacent(np.bincount(place, y) / mass, mass)
    starts = np.cumsum(sizes) - sizes
    centres = np.add.reduceat(distinct * mass, starts) / np.add.reduceat(mass, starts)
    least = 0.5 / len(p)
    heights = np.clip(means, least, 1 - least)
    # the ends slope a little too: a flat end would make different raw probs equal
    x = np.concatenate([[0.0], centres, [1.0]])
    heights = np.concatenate([[heights[0] * 0.99], heights, [1 - (1 - heights[-1]) * 0.99]])
    keep = np.append(np.diff(x) > 0, True)
    return x[keep].tolist(), heights[keep].tolist()


def apply(fitted: Mapping[str, Any], logits: npt.ArrayLike) -> Float64:
    """Return the calibrated probs of logits (N,) for one attribute's entry of `Decision.calibration`."""
    from lineament.decision.layer import Decision

    return Decision(calibration={"x": fitted}).probs(np.asarray(logits, np.float64)[:, None], ("x",))[:, 0]
