"""Paired bootstrap by identity, on counts: is a difference real?

    labels of A and B (N,A) -> counts per identity (I, columns) -> multinomial weights (draws, I) @ counts -> intervals

Photos of one person are not independent, so people are drawn, not photos. Counts are summed per person once; every draw
is then one row of a matrix product, done in chunks: 200,000 images x 40 attributes x 1,000 draws take seconds and well
under 2 GB. Where a system was trained several times, `two_level` draws its trainings too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.errors import DataError, UsageError
from lineament.metrics.counts import Counts, mean_of_known
from lineament.types import Bool, Float64

_CHUNK_BYTES = 64_000_000  # of float32 weights held at once


def clusters(identity: npt.ArrayLike | None, rows: int) -> tuple[npt.NDArray[np.intp], int]:
    """Return the cluster of each row (N,) and how many there are: one per identity; rows without one (None, or
    negative) stand alone."""
    if identity is None:
        return np.arange(rows), rows
    people = np.asarray(identity, np.int64).copy()
    alone = people < 0
    people[alone] = people.max(initial=0) + 1 + np.arange(alone.sum())
    distinct, place = np.unique(people, return_inverse=True)
    return place.astype(np.intp), len(distinct)


def sum_by_cluster(values: npt.ArrayLike, place: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.float32]:
    """Return the sums (I,C) of the rows of values (N,C) in each cluster."""
    array = np.asarray(values)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(size))
    out = np.empty((size, array.shape[1]), np.float32)
    for column in range(array.shape[1]):
        out[:, column] = np.add.reduceat(array[order, column].astype(np.float32), starts)
    return out


def weights(size: int, draws: int, seed: int = 0) -> Iterator[npt.NDArray[np.float32]]:
    """Yield how often each of `size` clusters is drawn, (chunk, I) float32, `draws` rows in all: multinomial, seeded,
    bounded memory."""
    rng = np.random.default_rng(seed)
    chunk = max(1, min(draws, _CHUNK_BYTES // (4 * max(size, 1))))
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        block = np.empty((rows, size), np.float32)
        for row in range(rows):
            block[row] = np.bincount(rng.integers(0, size, size), minlength=size)
        yield block


def resample(per_cluster: npt.NDArray[np.float32], draws: int = 1000, seed: int = 0) -> Float64:
    """Return the column sums (draws, C) of bootstrap samples of clusters (I,C). Raises: DataError without clusters."""
    if len(per_cluster) == 0:
        raise DataError("There is nothing to draw from: no image has a label. Give predictions with targets.")
    return np.concatenate([block @ per_cluster for block in weights(len(per_cluster), draws, seed)]).astype(np.float64)


@dataclass(frozen=True)
class Interval:
    """estimate, low and high, of one shape; NaN is "no data"."""

    estimate: Float64
    low: Float64
    high: Float64

    @property
    def excludes_zero(self) -> Bool:
        """Where the interval lies on one side of 0: a difference that is not inside the noise."""
        return (self.low > 0) | (self.high < 0)


def percentile_interval(estimate: npt.ArrayLike, draws: Float64, level: float = 0.95) -> Interval:
    """Return the percentile interval over draws (D, ...) of an estimate (...); NaN draws are left out."""
    tail = (1 - level) / 2
    flat = draws.reshape(len(draws), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    for column in range(flat.shape[1]):
        known = flat[~np.isnan(flat[:, column]), column]
        if len(known):
            bounds[:, column] = np.quantile(known, [tail, 1 - tail])
    point = np.asarray(estimate, np.float64)
    return Interval(point, bounds[0].reshape(point.shape), bounds[1].reshape(point.shape))


def simultaneous_interval(estimate: npt.ArrayLike, draws: Float64, level: float = 0.95) -> Interval:
    """Return intervals that hold for *all* entries at once with probability `level`: the max-t bootstrap.

    Convention: estimate (A,) +- q * standard error, q the level-quantile over draws of the largest standardised
    deviation.
    Source: Romano & Wolf, Econometrica 2005 (single-step form).
    """
    point = np.asarray(estimate, np.float64)
    spread, middle = spread_of(draws), np.asarray(mean_of_known(draws, 0))
    usable = spread > 0
    if not usable.any():
        return Interval(point, point.copy(), point.copy())
    deviation = np.abs(np.where(np.isnan(draws), middle, draws)[:, usable] - middle[usable]) / spread[usable]
    reach = float(np.quantile(deviation.max(1), level)) * spread
    return Interval(point, point - reach, point + reach)


def spread_of(draws: Float64) -> Float64:
    """Return the bootstrap standard error of each entry over draws (D, ...), NaN draws left out; NaN where all are."""
    middle = mean_of_known(draws, 0)
    return np.sqrt(mean_of_known((draws - middle) ** 2, 0))


METRICS: dict[str, Callable[[Counts], Float64]] = {
    "accuracy": lambda counts: counts.accuracy,
    "balanced_accuracy": lambda counts: counts.balanced_accuracy,
    "f1": lambda counts: counts.f1,
    "tpr": lambda counts: counts.recall,
    "tnr": lambda counts: counts.specificity,
}
"""Metrics that are functions of counts, by the name used in results."""


def _columns(labels: Bool, truth: Bool, known: Bool) -> npt.NDArray[np.int8]:
    """Return per row (N, 2A): true positives, then true negatives."""
    return np.concatenate([labels & truth & known, ~labels & ~truth & known], 1).astype(np.int8)


def _to_counts(hits: Float64, truths: Float64) -> Counts:
    """Return Counts of hits (..., 2A) (tp, tn) and truths (..., 2A) (positives, negatives)."""
    tp, tn = np.split(hits, 2, -1)
    positives, negatives = np.split(truths, 2, -1)
    parts = (tp, negatives - tn, tn, positives - tp)
    return Counts(*(np.rint(part).astype(np.int64) for part in parts))


def draw_counts(
    systems: Sequence[npt.ArrayLike],
    targets: npt.ArrayLike,
    known: npt.ArrayLike,
    identity: npt.ArrayLike | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[list[Counts], list[Counts]]:
    """Return for each system's labels (N,A) its counts (A,), and its counts in every bootstrap draw (draws, A).

    The same people are drawn for every system, so differences between systems are paired.
    Raises: UsageError if shapes differ; DataError without data.
    """
    truth, has_label = np.asarray(targets).astype(bool), np.asarray(known, bool)
    answers = [np.asarray(labels).astype(bool) for labels in systems]
    if any(labels.shape != truth.shape for labels in answers) or has_label.shape != truth.shape:
        raise UsageError(
            f"labels {[labels.shape for labels in answers]}, targets {truth.shape} and known must be one shape (N,A)."
        )
    place, size = clusters(identity, len(truth))
    base: npt.NDArray[np.int8] = np.concatenate([truth & has_label, ~truth & has_label], 1).astype(np.int8)
    tables = [base, *(_columns(labels, truth, has_label) for labels in answers)]
    parts = [sum_by_cluster(table, place, size) for table in tables]
    drawn = np.split(resample(np.concatenate(parts, 1), draws, seed), len(parts), 1)
    whole = [part.sum(0, dtype=np.float64) for part in parts]
    return [_to_counts(hits, whole[0]) for hits in whole[1:]], [_to_counts(hits, drawn[0]) for hits in drawn[1:]]


def mean_interval(counts: Counts, drawn: Counts, metric: str = "accuracy", level: float = 0.95) -> Interval:
    """Return the interval of one metric's mean over attributes."""
    value = METRICS[metric]
    return percentile_interval(mean_of_known(value(counts)), mean_of_known(value(drawn), 1), level)


@dataclass(frozen=True)
class SeedDraws:
    """What two-level draws say of one system, as fractions: per_seed (S,A), the metric of each training; draws (D,A),
    the seed mean redrawn.

    `estimate` (A,) is the mean over trainings. With a single training there is no seed part in `draws`: its interval is
    of people alone.
    """

    per_seed: Float64
    draws: Float64

    @property
    def seeds(self) -> int:
        """How many trainings there are."""
        return len(self.per_seed)

    @property
    def estimate(self) -> Float64:
        """The mean over trainings (A,)."""
        return mean_of_known(self.per_seed, 0)

    @property
    def spread(self) -> float:
        """The standard deviation over trainings of the mean over attributes, in fractions; NaN for one training."""
        return float(np.std(mean_of_known(self.per_seed, 1), ddof=1)) if self.seeds > 1 else float("nan")


def two_level(
    systems: Sequence[Sequence[npt.ArrayLike]],
    targets: npt.ArrayLike,
    known: npt.ArrayLike,
    identity: npt.ArrayLike | None = None,
    *,
    metric: str = "accuracy",
    draws: int = 1000,
    seed: int = 0,
) -> list[SeedDraws]:
    """Draw people and trainings: how sure is the mean over seeds of each system, were it trained anew and asked about
    other people?

    Every draw takes people with replacement, the same ones for all systems (differences stay paired), and of each
    system its S trainings with replacement. A resampled mean of S varies by (S - 1) / S of what the mean of S varies
    by, so each draw's departure from the plain seed mean is widened by sqrt(S / (S - 1)): sqrt(1.5) for three.

    Args: systems: of each, its trainings' labels (N,A) in {0,1}, all on the same rows; targets, known (N,A); identity
        (N,) or None; metric: a name in `METRICS`; draws: how many; seed: of the draws.
    Raises: UsageError for an unknown metric, a system without a training or shapes that differ; DataError without data.
    Source: a bootstrap of crossed levels, people and trainings; the widening is the small-sample correction of the
    variance of a mean of S.

    >>> one, other = two_level([[[[1, 0]], [[1, 1]]], [[[0, 0]]]], [[1, 1]], [[1, 1]], draws=3)
    >>> one.per_seed.tolist(), other.estimate.tolist()
    ([[1.0, 0.0], [1.0, 1.0]], [0.0, 0.0])
    """
    if metric not in METRICS:
        raise UsageError(f"No metric is called {metric!r}. Use one of: {', '.join(METRICS)}.")
    if not systems or not all(len(trainings) for trainings in systems):
        raise UsageError("Every system needs the labels of at least one training.")
    flat = [labels for trainings in systems for labels in trainings]
    whole, drawn = draw_counts(flat, targets, known, identity, draws=draws, seed=seed)
    value, rng = METRICS[metric], np.random.default_rng([seed, 1])
    found, first = [], 0
    for trainings in systems:
        count = len(trainings)
        per_seed = np.stack([value(counts) for counts in whole[first : first + count]])
        people = np.stack([value(counts) for counts in drawn[first : first + count]])  # (S,D,A)
        found.append(SeedDraws(per_seed, _with_seeds(people, rng)))
        first += count
    return found


def _with_seeds(people: Float64, rng: np.random.Generator) -> Float64:
    """Return (D,A): the mean over trainings of people (S,D,A), moved in each draw by what redrawing the trainings moves
    it, widened."""
    trainings, draws, _ = people.shape
    middle = mean_of_known(people, 0)
    if trainings == 1:
        return middle
    chosen = rng.integers(0, trainings, (draws, trainings))
    redrawn = mean_of_known(people[chosen, np.arange(draws)[:, None]], 1)
    return np.asarray(middle + np.sqrt(trainings / (trainings - 1)) * (redrawn - middle))


def two_level_difference(system: SeedDraws, baseline: SeedDraws, level: float = 0.95) -> tuple[Interval, Interval]:
    """Return system minus baseline, fractions: the interval of the mean over attributes (), and the simultaneous ones
    of all attributes (A,).

    Both must come from one call of `two_level`, so that they drew the same people. "Better" may be said where an
    interval excludes zero.
    Raises: UsageError if the draws are not of one call.
    """
    if system.draws.shape != baseline.draws.shape:
        raise UsageError(
            f"Draws of shapes {system.draws.shape} and {baseline.draws.shape} are not of one call of two_level."
        )
    each, moved = system.estimate - baseline.estimate, system.draws - baseline.draws
    mean = percentile_interval(mean_of_known(each), mean_of_known(moved, 1), level)
    return mean, simultaneous_interval(each, moved, level)
