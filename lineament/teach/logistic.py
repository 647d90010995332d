"""Logistic regression with an L2 penalty for few examples of many features, and its strength by cross-validation. NumPy
only.

    features (N,D) -> standardised rows -> products of rows (N,N) -> coefficients (N,) and bias -> logits

With 60 examples of 2,048 features the solution lies in the span of the examples, so it is found there: Newton's method
on N coefficients, not D.
Source: penalised iteratively reweighted least squares in its dual form, Roth, "Probabilistic discriminative kernel
classifiers" (DAGM 2001); the bias is not penalised. scikit-learn's `LogisticRegression(C=1/penalty)` is the oracle of
its tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import sigmoid
from lineament.metrics.calibration import fit_platt_1d
from lineament.types import Bool, Float64, Int64

PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Candidates, the strongest first. Rows have a mean squared length of 1 and weights sum to the number of examples, so
the scale is always this."""

_LEAST_CURVATURE, _STEPS, _EXACT = 1e-6, 60, 1e-9
INNER_FOLDS = 4


@dataclass(frozen=True)
class Scale:
    """What makes features comparable: mean (D,) and factor (D,) so that rows `(x - mean) * factor` have a mean squared
    length of 1."""

    mean: Float64
    factor: Float64

    @staticmethod
    def fit(features: npt.ArrayLike) -> Scale:
        """Return the scale of features (N,D). A feature that never varies gets factor 0."""
        x = np.asarray(features, np.float64)
        return Scale.known(x.mean(0), x.std(0))

    @staticmethod
    def known(mean: npt.ArrayLike, spread: npt.ArrayLike) -> Scale:
        """Return the scale of features with this mean and standard deviation (D,), of these rows or of others."""
        mean, spread = np.asarray(mean, np.float64), np.asarray(spread, np.float64)
        varies = spread > 1e-6 * (1 + np.abs(mean))
        factor = np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0) / np.sqrt(max(1, int(varies.sum())))
        return Scale(mean, factor)

    def __call__(self, features: npt.ArrayLike) -> Float64:
        return (np.asarray(features, np.float64) - self.mean) * self.factor


def balanced(targets: npt.ArrayLike, shares: npt.ArrayLike | None = None) -> Float64:
    """Return weights (N,) by which yes and no weigh the same and all sum to the sum of `shares` (1 each by default).

    >>> balanced([1, 0, 0, 0]).tolist()
    [2.0, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666]
    """
    yes = np.asarray(targets) > 0.5
    weights = np.ones(len(yes)) if shares is None else np.asarray(shares, np.float64).copy()
    whole = weights.sum()
    for side in (yes, ~yes):
        mass = weights[side].sum()
        if mass > 0:
            weights[side] *= whole / 2 / mass
    return weights


@dataclass(frozen=True)
class Fitted:
    """coefficients (N,) of the examples and a bias: logit of a row z is `products(z) @ coefficients + bias`."""

    coefficients: Float64
    bias: float

    def logits(self, products: Float64) -> Float64:
        """Return logits (M,) from the products (M,N) of M rows with the N examples."""
        return np.asarray(products @ self.coefficients + self.bias)


def fit(
    products: Float64, targets: npt.ArrayLike, weights: npt.ArrayLike, penalty: float, start: Fitted | None = None
) -> Fitted:
    """Minimise sum_i weights_i * log loss_i + penalty / 2 * |w|^2 over w in the span of the examples, and an
    unpenalised bias.

    Args: products (N,N) of the examples' rows; targets (N,) {0,1}; weights (N,) above 0; start: a fit to begin from.
    """
    y, s = np.asarray(targets, np.float64), np.asarray(weights, np.float64)
    a, b = (np.zeros(len(y)), 0.0) if start is None else (start.coefficients, start.bias)
    f = products @ a + b
    value = _objective(f, y, s, penalty, float(a @ (f - b)))
    for _ in range(_STEPS):
        p = sigmoid(f)
        w = np.maximum(s * p * (1 - p), _LEAST_CURVATURE)
        to_a, to_b = _solve(products, penalty / w, f + s * (y - p) / w)
        moved = False
        for part in (1.0, 0.5, 0.25, 0.125, 0.0625, 0.01):
            new_a, new_b = a + part * (to_a - a), b + part * (to_b - b)
            g = products @ new_a
            new_value = _objective(g + new_b, y, s, penalty, float(new_a @ g))
            if new_value <= value:
                moved = value - new_value > _EXACT * (1 + abs(value))
                a, b, f, value = new_a, new_b, g + new_b, new_value
                break
        if not moved:
            break
    return Fitted(a, float(b))


def _objective(f: Float64, y: Float64, s: Float64, penalty: float, length: float) -> float:
    return float(s @ (np.logaddexp(0.0, f) - y * f)) + penalty / 2 * length


def _solve(products: Float64, ridge: Float64, wanted: Float64) -> tuple[Float64, float]:
    """Solve (products + diag(ridge)) a + b = wanted with sum(a) = 0."""
    both = np.linalg.solve(products + np.diag(ridge), np.stack([wanted, np.ones(len(wanted))], 1))
    b = float(both[:, 0].sum() / both[:, 1].sum())
    return both[:, 0] - b * both[:, 1], b


def deal_folds(groups: npt.ArrayLike, targets: npt.ArrayLike, folds: int, seed: int) -> Int64:
    """Return the fold (N,) of each example: a group is never split, and yes and no are dealt out evenly."""
    group, yes = np.asarray(groups), np.asarray(targets) > 0.5
    rng = np.random.default_rng(seed)
    fold_of: dict[int, int] = {}
    for side in (True, False):
        names = [int(name) for name in np.unique(group[yes == side]) if int(name) not in fold_of]
        first = int(rng.integers(folds))
        fold_of |= {name: (first + place) % folds for place, name in enumerate(rng.permutation(names).tolist())}
    return np.array([fold_of[int(name)] for name in group], np.int64)


def path_of_fits(products: Float64, targets: Float64, shares: Float64) -> list[Fitted]:
    """Return the fit at each of `PENALTIES`, each begun from the one before."""
    fits: list[Fitted] = []
    weights = balanced(targets, shares)
    for penalty in PENALTIES:
        fits.append(fit(products, targets, weights, penalty, fits[-1] if fits else None))
    return fits


@dataclass(frozen=True)
class Rows:
    """Examples with their views: products (R,R), target (R,), share (R,) of an example's weight, example (R,), group
    (R,), original (R,)."""

    products: Float64
    targets: Float64
    shares: Float64
    groups: Int64
    original: Bool

    def take(self, rows: Bool) -> Rows:
        """Return the rows where `rows` (R,) holds."""
        return Rows(
            self.products[np.ix_(rows, rows)],
            self.targets[rows],
            self.shares[rows],
            self.groups[rows],
            self.original[rows],
        )


def choose_penalty(rows: Rows, seed: int = 0) -> int:
    """Return the place in `PENALTIES` whose logits on left-out groups, once calibrated, have the least log loss;
    originals only are judged.

    Convention: calibrated, because the logits of a strong penalty are small and would lose however well they rank; at
    the strongest the fit points from the mean of no to the mean of yes, as nearest centroid does.
    """
    fold = deal_folds(rows.groups, rows.targets, INNER_FOLDS, seed)
    logits = np.zeros((len(PENALTIES), len(rows.targets)))
    for left_out in range(INNER_FOLDS):
        train, test = fold != left_out, (fold == left_out) & rows.original
        if not test.any() or len(np.unique(rows.targets[train])) < 2:
            continue
        across = rows.products[np.ix_(test, train)]
        for place, fitted in enumerate(
            path_of_fits(rows.products[np.ix_(train, train)], rows.targets[train], rows.shares[train])
        ):
            logits[place, test] = fitted.logits(across)
    targets = rows.targets[rows.original]
    return int(np.argmin([calibrated_loss(one[rows.original], targets) for one in logits]))


def calibrated_loss(logits: Float64, targets: Float64) -> float:
    """Return the log loss of logits (N,) under their own sigmoid fit, yes and no weighing the same."""
    spread = float(logits.std())
    if spread == 0:
        return float(np.log(2))
    z, weights = (logits - logits.mean()) / spread, balanced(targets)
    a, b = fit_platt_1d(z, targets, weights=weights)
    f = a * z + b
    return float(weights @ (np.logaddexp(0.0, f) - targets * f) / weights.sum())
