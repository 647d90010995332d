"""Whether to believe an own attribute: everything measured on photos that took no part in the fit.

    rows -> folds of groups -> strength chosen inside -> logits out of fold -> calibration out of fold -> scores with
        intervals

Photos that show the same moment, or the same person where that is known, are one group, and a group is never on both
sides of a fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineament.decision.layer import sigmoid
from lineament.metrics.calibration import ece_1d, ece_floor_1d, fit_platt_1d
from lineament.metrics.ranking import average_precision_1d, roc_auc_1d
from lineament.teach.logistic import PENALTIES, Rows, balanced, choose_penalty, deal_folds, fit
from lineament.types import Float64, Int64

FOLDS = 5
DRAWS = 400
SHUFFLES = 40
CURVE = (0.25, 0.5, 0.75)
_WORTH = 0.01
SUSPECT = 0.2
"""A photo whose own label is this improbable, judged by the others, is shown as likely mislabelled."""


@dataclass(frozen=True)
class Held:
    """Out-of-fold answers on the N original photos: raw logits (N,), calibrated probs (N,) at equal class rates."""

    logits: Float64
    probs: Float64


def platt_targets(targets: Float64) -> Float64:
    """Return the targets that a sigmoid is fitted to: (n+ + 1)/(n+ + 2) for yes, 1/(n- + 2) for no, so that few photos
    never show certainty.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999, section 2.2.
    """
    yes = targets > 0.5
    return np.asarray(np.where(yes, (yes.sum() + 1) / (yes.sum() + 2), 1 / ((~yes).sum() + 2)), np.float64)


def calibrate(logits: Float64, targets: Float64) -> tuple[float, float]:
    """Return Platt's (a, b) for logits (N,) at equal class rates, fitted on standardised logits: a strong penalty makes
    small ones."""
    spread = max(float(logits.std()), 1e-12)
    a, b = fit_platt_1d((logits - logits.mean()) / spread, platt_targets(targets), weights=balanced(targets))
    return a / spread, b - a * float(logits.mean()) / spread


def hold_out(rows: Rows, *, folds: int = FOLDS, seed: int = 0) -> Held:
    """Return what each original photo is answered by fits and calibrations that never saw its group: calibrated
    log-odds and probabilities.

    Convention: strength and calibration are found inside each fold, so logits of different folds are on one scale only
    once calibrated.
    """
    fold = deal_folds(rows.groups, rows.targets, folds, seed)
    logits = np.zeros(len(rows.targets))
    for left_out in range(folds):
        train, test = fold != left_out, fold == left_out
        if not test.any():
            continue
        inside = rows.take(train)
        place = choose_penalty(inside, seed)
        a, b = calibration(inside, place, seed=seed)
        fitted = fit(inside.products, inside.targets, balanced(inside.targets, inside.shares), PENALTIES[place])
        logits[test] = a * fitted.logits(rows.products[np.ix_(test, train)]) + b
    own = rows.original
    return Held(logits[own], sigmoid(logits[own]))


def calibration(rows: Rows, place: int, *, seed: int = 0) -> tuple[float, float]:
    """Return Platt's (a, b) for a fit on all rows at one strength, from its logits on groups left out at that
    strength."""
    fold = deal_folds(rows.groups, rows.targets, FOLDS, seed + 1)
    logits = np.zeros(len(rows.targets))
    for left_out in np.unique(fold):
        train, test = fold != left_out, fold == left_out
        fitted = fit(
            rows.products[np.ix_(train, train)],
            rows.targets[train],
            balanced(rows.targets[train], rows.shares[train]),
            PENALTIES[place],
        )
        logits[test] = fitted.logits(rows.products[np.ix_(test, train)])
    return calibrate(logits[rows.original], rows.targets[rows.original])


def scores(logits: Float64, probs: Float64, targets: Float64) -> dict[str, float]:
    """Return ranking (ROC AUC), average precision, balanced accuracy and calibration error; NaN where a side is
    empty."""
    yes = targets > 0.5
    said = probs >= 0.5
    accuracy = (said[yes].mean() + (~said[~yes]).mean()) / 2 if yes.any() and (~yes).any() else float("nan")
    bins = int(np.clip(len(probs) // 10, 3, 15))
    return {
        "auc": roc_auc_1d(logits, yes), "ap": average_precision_1d(probs, yes), "accuracy": float(accuracy),
        "calibration_error": ece_1d(probs, targets, bins),
    }  # fmt: skip


def with_intervals(
    held: Held, targets: Float64, groups: Int64, *, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """Return each score with its interval: groups are drawn again, yes and no groups apart."""
    point = scores(held.logits, held.probs, targets)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    sides = [[rows for rows in members if (targets[rows].mean() > 0.5) == side] for side in (True, False)]
    drawn: list[dict[str, float]] = []
    for _ in range(draws):
        picked = [side[int(place)] for side in sides if side for place in rng.integers(0, len(side), len(side))]
        rows = np.concatenate(picked)
        drawn.append(scores(held.logits[rows], held.probs[rows], targets[rows]))
    tail = (1 - level) / 2
    found: dict[str, Any] = {}
    for name, value in point.items():
        low, high = np.nanquantile([one[name] for one in drawn], [tail, 1 - tail])
        found[name] = {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
    bins = int(np.clip(len(targets) // 10, 3, 15))
    found["calibration_error"]["floor"] = round(ece_floor_1d(held.probs, bins=bins), 4)
    return found


def chance(rows: Rows, place: int, *, seed: int = 0) -> float:
    """Return the AUC that shuffled labels reach on these photos: the mean over shuffles and 2.33 standard deviations (1
    in 100).

    Convention: labels are dealt out anew over the groups, fits are at the chosen strength, of original views. Answers
    out of fold hang together, so the interval of an AUC by resampling photos is too narrow near chance (measured:
    meaningless labels passed it in a tenth of draws).
    """
    own = rows.take(rows.original)
    names, where = np.unique(own.groups, return_inverse=True)
    of_group = np.array([own.targets[where == name].mean() > 0.5 for name in range(len(names))], np.float64)
    rng, found = np.random.default_rng(seed), []
    for draw in range(SHUFFLES):
        targets = rng.permutation(of_group)[where]
        fold, logits = deal_folds(own.groups, targets, FOLDS, seed + draw), np.zeros(len(targets))
        for left_out in np.unique(fold):
            train, test = fold != left_out, fold == left_out
            fitted = fit(own.products[np.ix_(train, train)], targets[train], balanced(targets[train]), PENALTIES[place])
            logits[test] = fitted.logits(own.products[np.ix_(test, train)])
        found.append(roc_auc_1d(logits, targets))
    return round(float(np.mean(found) + 2.33 * np.std(found)), 4)


def learnable(found: Mapping[str, Any]) -> bool:
    """Return whether photos are ranked better than by chance: the AUC's interval above 0.5, the AUC above what shuffled
    labels reach."""
    return bool(found["auc"]["low"] > 0.5 and found["auc"]["value"] > found["auc"]["shuffled_labels_reach"])


def learning_curve(rows: Rows, place: int, whole: float, *, seed: int = 0) -> dict[str, Any]:
    """Return accuracy by number of photos, and what twice as many may bring.

    Convention: at each share of the groups the fit at the chosen strength is judged on the left-out folds. The gain is
    read from accuracy = a - b / sqrt(photos), least squares: a rule of thumb, said as one.
    """
    fold = deal_folds(rows.groups, rows.targets, FOLDS, seed)
    points = []
    for share in CURVE:
        found = [_at_share(rows, fold, place, share, seed + draw) for draw in range(2)]
        points.append(
            {
                "photos": round(np.mean([n for n, _ in found])),
                "accuracy": round(float(np.mean([right for _, right in found])), 4),
            }
        )
    used = int(rows.original.sum() * (FOLDS - 1) / FOLDS)
    points.append({"photos": used, "accuracy": round(whole, 4)})
    x = np.array([1 / np.sqrt(max(1.0, float(point["photos"]))) for point in points])
    slope = float(np.polyfit(x, [float(point["accuracy"]) for point in points], 1)[0])
    gain = float(np.clip(-slope * (1 - np.sqrt(0.5)) / np.sqrt(used), 0.0, 1.0 - whole))
    return {"points": points, "gain_from_twice_as_many": round(gain, 4), "more_would_help": gain >= _WORTH}


def _at_share(rows: Rows, fold: Int64, place: int, share: float, seed: int) -> tuple[float, float]:
    """Return mean photos fitted on and balanced accuracy out of fold, of fits on a share of the other folds' groups."""
    rng, said, sizes = np.random.default_rng(seed), np.zeros(len(rows.targets)), []
    for left_out in range(FOLDS):
        kept: list[int] = []
        for side in (1.0, 0.0):
            names = np.unique(rows.groups[(fold != left_out) & (rows.targets == side)])
            kept += rng.permutation(names)[: max(2, round(share * len(names)))].tolist()
        train, test = np.isin(rows.groups, kept) & (fold != left_out), fold == left_out
        fitted = fit(
            rows.products[np.ix_(train, train)],
            rows.targets[train],
            balanced(rows.targets[train], rows.shares[train]),
            PENALTIES[place],
        )
        said[test] = fitted.logits(rows.products[np.ix_(test, train)])
        sizes.append(int((train & rows.original).sum()))
    own = rows.original
    return float(np.mean(sizes)), scores(said[own], sigmoid(said[own]), rows.targets[own])["accuracy"]


def suspects(probs: Float64, targets: Float64, most: int = 40) -> list[int]:
    """Return the photos whose label the others contradict most, the most improbable first."""
    own = np.where(targets > 0.5, probs, 1 - probs)
    return [int(row) for row in np.argsort(own, kind="stable")[:most] if own[row] < SUSPECT]


def band(probs: Float64, unsure: Float64) -> tuple[float, float]:
    """Return (low, high) between which the answer is "cannot tell": a tenth of the photos; more, up to a quarter, where
    photos marked unsure lie further out: half of those are then inside."""
    distance = np.abs(probs - 0.5)
    reach = float(np.quantile(distance, 0.1))
    if len(unsure):
        reach = float(np.clip(np.median(np.abs(unsure - 0.5)), reach, np.quantile(distance, 0.25)))
    return 0.5 - reach, 0.5 + reach
