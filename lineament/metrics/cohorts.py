"""Cohorts: demographic sets of images, crossed on request; gaps between cohorts, with intervals corrected for how many
are looked at.

table columns -> cohort name per image -> counts per cohort -> rates, gaps, intervals
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from lineament.errors import DataError, UsageError
from lineament.metrics.bootstrap import Interval, clusters, resample, sum_by_cluster
from lineament.metrics.counts import mean_of_known, ratio
from lineament.types import Float64

MIN_POSITIVES = 20
"""Fewest labelled images of the class a rate is about for a cohort's rate to be judged; fewer is "too small"."""


def cross(columns: Mapping[str, Sequence[str]], by: Sequence[str]) -> npt.NDArray[np.str_]:
    """Return each row's cohort name: the values of the columns in `by`, joined as "race=Black, gender=Female".

    Raises: UsageError naming a column that is not there.

    >>> cross({"race": ["A", "B"], "sex": ["m", "f"]}, ["race", "sex"]).tolist()
    ['race=A, sex=m', 'race=B, sex=f']
    """
    absent = [name for name in by if name not in columns]
    if absent or not by:
        raise UsageError(f"No column {absent} to make cohorts by. The table has: {', '.join(columns)}.")
    values = zip(*(columns[name] for name in by), strict=True)
    return np.array(
        [", ".join(f"{name}={value}" for name, value in zip(by, row, strict=True)) for row in values], dtype=np.str_
    )


def corrected_level(level: float, looked_at: int) -> float:
    """Return the level of each of `looked_at` intervals so that all hold at once with probability `level` (Bonferroni).

    >>> round(corrected_level(0.95, 5), 3)
    0.99
    """
    return 1 - (1 - level) / max(looked_at, 1)


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Return the Wilson score interval of a rate; NaN without trials. For rates of 0 or 1, where a bootstrap has no
    spread.

    >>> wilson(0, 20).high.round(3).tolist()
    0.161
    """
    n = np.asarray(trials, np.float64)
    rate = ratio(successes, n)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    denominator = 1 + ratio(z * z, n)
    centre = (rate + ratio(z * z / 2, n)) / denominator
    reach = z / denominator * np.sqrt(ratio(rate * (1 - rate), n) + ratio(z * z / 4, n * n))
    return Interval(rate, np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1))


def rate_interval(
    hits: npt.ArrayLike,
    trials: npt.ArrayLike,
    identity: npt.ArrayLike | None,
    *,
    level: float,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Interval, Float64]:
    """Return intervals (C,) of rates hits/trials and the draws (D,C) behind them, people drawn with replacement.

    Convention: estimate +- z * bootstrap standard error, so that levels corrected for many cohorts need no thousands of
    draws in the tail; the Wilson interval where every draw gives the same rate (0 or 1).
    Args: hits, trials (N,C) of {0,1}: what each image adds to numerator and denominator.
    """
    over, under = np.asarray(hits), np.asarray(trials)
    if len(over) == 0:
        raise DataError("The cohort holds no image.")
    place, size = clusters(identity, len(over))
    table = sum_by_cluster(np.concatenate([over, under], 1), place, size)
    drawn = ratio(*np.split(resample(table, draws, seed), 2, 1))
    top, bottom = over.sum(0), under.sum(0)
    estimate = ratio(top, bottom)
    middle = mean_of_known(drawn, 0)
    spread = np.sqrt(mean_of_known((drawn - middle) ** 2, 0))
    reach = NormalDist().inv_cdf(0.5 + level / 2) * spread
    plain = wilson(top, bottom, level)
    flat = ~(spread > 0)
    low = np.where(flat, plain.low, np.clip(estimate - reach, 0, 1))
    high = np.where(flat, plain.high, np.clip(estimate + reach, 0, 1))
    return Interval(estimate, low, high), drawn


def gap(rates: Mapping[str, float]) -> tuple[float, str, str]:
    """Return the largest difference between two cohorts' rates and the two names (highest, lowest); NaN with fewer than
    two known rates.

    >>> gap({"a": 0.9, "b": 0.7, "c": float("nan")})
    (0.2, 'a', 'b')
    >>> gap({"a": 0.9, "b": 0.9})
    (0.0, 'a', 'b')
    """
    known = {name: rate for name, rate in rates.items() if not np.isnan(rate)}
    if len(known) < 2:
        return float("nan"), "", ""
    highest = max(known, key=lambda name: known[name])
    lowest = min(
        reversed(known), key=lambda name: known[name]
    )  # of equal ones the last, so that a gap of 0 names two cohorts
    return round(known[highest] - known[lowest], 12), highest, lowest
