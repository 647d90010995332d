"""Calibration: fit a model's decision layer from its prediction file, and measure it, cross-fitted, on people it was
not fitted on.

    raw (N,A) -> folds by identity -> calibration + thresholds + bands per fold -> held-out evidence
                 all rows          -> the Decision that is shipped

Every figure in the evidence is cross-fitted: each person's images are judged by a layer fitted without that person. The
choice between Platt and isotonic is made inside each fold as well. One caveat: pooled over folds, a flexible (isotonic)
map looks slightly better than on new people, because what one fold has too much of, the others have too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.decision import consistency
from lineament.decision.layer import Decision, sigmoid
from lineament.errors import DataError, UsageError
from lineament.evaluation.folds import folds_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import calibration_errors, number
from lineament.evaluation.thresholds import Goal, fit
from lineament.metrics import calibration, selective
from lineament.metrics.bootstrap import Interval, draw_counts, percentile_interval, simultaneous_interval
from lineament.metrics.counts import count, mean_of_known
from lineament.types import Bool, Float64

METHODS = ("auto", "platt", "temperature", "isotonic", "none")
KEEP, HALF = "keep", "half"
PRIOR_SD = (0.1, 0.3)
"""Standard deviations of slope and bias around the layer that is shipped: what a sample of one's own must outweigh.
With 50 labels a fit so shrunk was worse than none by more than 0.01 nats in under 1 % of drawn samples, on the same
people and on moved ones (benchmarks/calibrate_few.py)."""
ISOTONIC_MIN = 500
"""Fewest images of each class for an isotonic fit to be considered: below, its steps follow the sample."""


@dataclass(frozen=True)
class Plan:
    """What to fit.

    method: one of METHODS; "auto" is Platt shrunk towards `base`, or isotonic where that wins on many images. base: the
    layer to shrink towards (the card's own), the raw sigmoid where None. layer: calibration and rates that are taken as
    they are, fitted elsewhere (`evaluation.cross_split`); layers_of_fold: the same, fitted without the people of each
    fold.
    goal: "half" (0.5 of the calibrated probability), "keep" (labels stay what the raw sigmoid says at 0.5,
    expressed on the calibrated scale), or a goal of `evaluation.thresholds`, taken only where it helps held-out
    accuracy significantly unless `force`. bands: "coverage" answers that share of each attribute; "conformal" misses at
    most that share; "none".
    min_eye_distance, min_sharpness: as in `Decision`. limits_of_fold: the same two, fitted without the people of each
    fold (`evaluation.least_quality`), so that what is held out is held out from them too; empty where they were not
    fitted on these people.
    """

    method: str = "auto"
    goal: str = HALF
    force: bool = False
    bands: str = "coverage"
    share: float = 0.9
    folds: int = 5
    min_eye_distance: Mapping[str, float] = field(default_factory=dict)
    min_sharpness: Mapping[str, float] = field(default_factory=dict)
    limits_of_fold: Sequence[tuple[Mapping[str, float], Mapping[str, float]]] = ()
    base: Decision | None = None
    layer: Decision | None = None
    layers_of_fold: Sequence[Decision] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"Unknown calibration method {self.method!r}. Use one of: {', '.join(METHODS)}.")
        if self.goal not in (KEEP, HALF):
            Goal.parse(self.goal)
        if self.bands not in ("coverage", "conformal", "none"):
            raise UsageError(f"Unknown bands {self.bands!r}. Use coverage, conformal or none.")
        if not 0 < self.share <= 1 or self.folds < 2:
            raise UsageError(f"The share {self.share} must lie in 0..1 and folds {self.folds} be at least 2.")
        for what, given in (("limits", self.limits_of_fold), ("layers", self.layers_of_fold)):
            if len(given) not in (0, self.folds):
                raise UsageError(f"{len(given)} folds of {what} for {self.folds} folds. Fit both with the same number.")

    def of_fold(self, part: int) -> Plan:
        """Return the plan without what was fitted on the people of a fold."""
        plan = replace(self, layer=self.layers_of_fold[part]) if self.layers_of_fold else self
        if not self.limits_of_fold:
            return plan
        sizes, sharp = self.limits_of_fold[part]
        return replace(plan, min_eye_distance=sizes, min_sharpness=sharp)


@dataclass(frozen=True)
class Fitted:
    """The decision layer to ship and the cross-fitted evidence beside it (JSON)."""

    decision: Decision
    evidence: dict[str, Any]


def calibrator_1d(
    method: str,
    raw: Float64,
    targets: npt.NDArray[np.int8],
    base: Mapping[str, Any] | None = None,
    based: Float64 | None = None,
) -> dict[str, Any] | None:
    """Return one attribute's entry of `Decision.calibration` fitted on raw (N,), targets (N,); None where nothing can
    be fitted.

    base: the entry that "auto" shrinks towards, and that stays where there is nothing to fit on; the raw sigmoid where
    None. based: see `shrunk_1d`.
    """
    if method == "none":
        return None
    if len(raw) == 0 or targets.min() == targets.max():
        return None if base is None else dict(base)
    if method == "auto":
        if not _isotonic_wins(raw, targets):
            return shrunk_1d(raw, targets, base, based)
        method = "isotonic"
    if method == "isotonic":
        x, y = calibration.fit_isotonic_1d(raw, targets)
        return {"method": "isotonic", "x": x, "y": y}
    a, b = calibration.fit_platt_1d(calibration.logit(raw), targets, bias=method == "platt")
    return {"method": "platt", "a": a, "b": b}


def shrunk_1d(
    raw: Float64, targets: npt.NDArray[np.int8], base: Mapping[str, Any] | None, based: Float64 | None = None
) -> dict[str, Any]:
    """Return Platt scaling of what `base` makes of raw (N,), with Gaussian priors (`PRIOR_SD`) that keep it near `base`
    on few images.

    based: the base layer's probabilities (N,) where they depend on more than `base` (on face size); computed from
    `base` where None.
    """
    entry: dict[str, Any] = {"method": "platt", "a": 1.0, "b": 0.0} if base is None else dict(base)
    logits = calibration.logit(calibration.apply(entry, calibration.logit(raw)) if based is None else based)
    a, b = calibration.fit_platt_1d(logits, targets, precision=(PRIOR_SD[0] ** -2, PRIOR_SD[1] ** -2))
    if entry["method"] == "platt":
        return {"method": "platt", "a": a * float(entry["a"]), "b": a * float(entry["b"]) + b}
    heights = calibration.apply({"method": "platt", "a": a, "b": b}, calibration.logit(entry["y"]))
    return {"method": "isotonic", "x": list(entry["x"]), "y": heights.tolist()}


def _isotonic_wins(raw: Float64, targets: npt.NDArray[np.int8]) -> bool:
    """Say whether isotonic beats Platt's Brier score on the other half by more than two standard errors, both ways
    round."""
    if min(int(targets.sum()), int((1 - targets).sum())) < ISOTONIC_MIN:
        return False
    half = np.arange(len(raw)) % 2 == 0
    gains = []
    for part in (half, ~half):
        loss = [
            (calibration.apply(fitted, calibration.logit(raw[~part])) - targets[~part]) ** 2
            for method in ("platt", "isotonic")
            if (fitted := calibrator_1d(method, raw[part], targets[part])) is not None
        ]
        gains.append(loss[0] - loss[-1])
    gain = np.concatenate(gains)
    return bool(gain.mean() > 2 * gain.std() / np.sqrt(len(gain)))


def fit_decision(predictions: Predictions, plan: Plan, adopt: frozenset[str] | None = None) -> Decision:
    """Return the decision layer fitted on all rows of `predictions` (faces found, labels known).

    adopt: the attributes that may take a fitted threshold, the others stay at 0.5; all of them where None.
    """
    names, use = predictions.attributes, predictions.known
    layer = _calibrated(predictions, plan) if plan.layer is None else plan.layer
    layer = replace(layer, min_eye_distance=dict(plan.min_eye_distance), min_sharpness=dict(plan.min_sharpness))
    probs = layer.probs(calibration.logit(predictions.raw), names, eye_distance=predictions.eye_distance)
    thresholds = _thresholds(predictions, layer, probs, plan, adopt)
    fine = ~layer.too_poor(len(predictions), names, predictions.eye_distance, predictions.sharpness)
    bands = {}
    for a, name in enumerate(names):
        rows = use[:, a] & fine[:, a]
        kept = rows.sum() / max(1, use[:, a].sum())
        bands[name] = _band(probs[rows, a], predictions.targets[rows, a], thresholds[name], plan, kept)
    cuts = np.array([thresholds[name] for name in names])
    return replace(
        layer,
        thresholds={name: value for name, value in thresholds.items() if value != 0.5},
        abstain={name: band for name, band in bands.items() if band[0] < band[1]},
        precedence=consistency.fit_precedence(probs, cuts, predictions.targets, use, names),
    )


def _calibrated(predictions: Predictions, plan: Plan) -> Decision:
    """Return the layer with calibration and the class rates it assumes: the sample's, or where it is shrunk the base's
    moved as far as it was.

    What a small face asks for beyond a large one is the base's: a fit moves both alike.
    """
    base = Decision() if plan.base is None or plan.method != "auto" else plan.base
    names = predictions.attributes
    based = base.probs(calibration.logit(predictions.raw), names, eye_distance=predictions.eye_distance)
    fitted, rates, small = {}, {}, dict(base.small)
    for column, name in enumerate(names):
        rows = predictions.known[:, column]
        raw, targets = predictions.raw[rows, column], predictions.targets[rows, column]
        before = base.calibration.get(name)
        entry = calibrator_1d(plan.method, raw, targets, before, based[rows, column])
        if entry is not None:
            fitted[name] = entry
        if name in small and entry is not None and entry["method"] == "platt":
            slope, old = (1.0, 0.0) if before is None else (float(before["a"]), float(before["b"]))
            times = float(entry["a"]) / slope
            small[name] = {"a": times * small[name]["a"], "b": times * (small[name]["b"] - old) + float(entry["b"])}
        elif entry is not None:
            small.pop(name, None)
        rate = float(targets.mean()) if len(targets) else float("nan")
        if name in base.rates:
            rate = float(sigmoid(calibration.logit(base.rates[name]) + _bias(entry) - _bias(before)))
        if 0 < rate < 1:
            rates[name] = round(rate, 4)
    return Decision(calibration=fitted, rates=rates, small=small, small_eyes=base.small_eyes)


def _bias(entry: Mapping[str, Any] | None) -> float:
    """Return the calibrated log-odds of a logit of 0."""
    return 0.0 if entry is None else float(calibration.logit(calibration.apply(entry, np.zeros(1)))[0])


def _thresholds(
    predictions: Predictions, layer: Decision, probs: Float64, plan: Plan, adopt: frozenset[str] | None
) -> dict[str, float]:
    names = predictions.attributes
    if plan.goal == HALF:
        return dict.fromkeys(names, 0.5)
    if plan.goal == KEEP:
        stay = layer.probs(np.zeros((1, len(names))), names)[0]
        return dict(zip(names, stay.tolist(), strict=True))
    fitted, refused = fit(probs, predictions.targets, predictions.known, Goal.parse(plan.goal))
    left = [column in refused or (adopt is not None and name not in adopt) for column, name in enumerate(names)]
    return dict(zip(names, np.where(left, 0.5, fitted).tolist(), strict=True))


def _band(
    probs: Float64, targets: npt.NDArray[np.int8], threshold: float, plan: Plan, kept: float
) -> tuple[float, float]:
    """Return the band of one attribute. kept: the share of its faces that are large and sharp enough; the others count
    as unanswered."""
    if plan.bands == "none" or len(probs) == 0 or not 0 < threshold < 1:
        return 1.0, 0.0
    if plan.bands == "coverage":
        return selective.band_1d(probs, min(1.0, plan.share / kept), threshold)
    no, yes = selective.conformal_limit_1d(probs, targets, plan.share)
    # one answer in the set is that answer; both, or neither, is "cannot tell"; the threshold stays inside the band
    return min(yes, 1 - no, threshold), max(yes, 1 - no, threshold)


@dataclass(frozen=True)
class CrossFitted:
    """What layers fitted without a person said of that person: probs, independent and consistent labels, three answers,
    each (N,A)."""

    probs: Float64
    labels: Bool
    consistent: Bool
    answers: npt.NDArray[np.str_]


def cross_fit(predictions: Predictions, plan: Plan) -> CrossFitted:
    """Return held-out answers for every row: each fold judged by a layer fitted on the others."""
    fold, names = folds_of(predictions, plan.folds), predictions.attributes
    shape = predictions.raw.shape
    probs, labels, consistent = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool)
    answers = np.full(shape, "no", dtype="<U11")
    for part in np.unique(fold):
        inside, outside = fold == part, fold != part
        if not outside.any():
            raise DataError("All images are of one person, so nothing can be held out. Give images of more people.")
        layer = fit_decision(predictions.take(outside), plan.of_fold(int(part)))
        thresholds = layer.threshold_vector(names)
        rows = predictions.take(inside)
        probs[inside] = layer.probs(calibration.logit(rows.raw), names, eye_distance=rows.eye_distance)
        labels[inside] = probs[inside] >= thresholds
        consistent[inside] = consistency.decode_consistent(
            probs[inside], thresholds, names, precedence=layer.precedence
        )[0]
        answers[inside] = layer.labels(
            probs[inside], names, abstain=True, eye_distance=rows.eye_distance, sharpness=rows.sharpness
        )
    return CrossFitted(probs, labels, consistent, answers)


def calibrate(predictions: Predictions, plan: Plan | None = None, *, draws: int = 1000) -> Fitted:
    """Fit the decision layer of `predictions` and measure it on held-out people.

    Returns: the layer, fitted on all rows, and the evidence: calibration error (raw, calibrated, simulated floor),
    accuracy at fixed 0.5 and at the fitted thresholds, selective accuracy, consistency.
    Raises: DataError without labels or with too few images.
    """
    plan = plan or Plan()
    found = predictions.found()
    if not found.labelled:
        raise DataError(
            "Calibration needs targets: the prediction file has no target_NAME values. `lineament evaluate` writes "
            "them."
        )
    if len(found) < 10 * plan.folds:
        raise DataError(
            f"{len(found)} labelled images are too few to fit and hold out {plan.folds} folds; give at least "
            f"{10 * plan.folds}."
        )
    held = cross_fit(found, plan)
    verdict = _verdict(found, held, draws)
    choosy = plan.goal not in (KEEP, HALF) and not plan.force
    better = frozenset(name for name, low in zip(found.attributes, verdict.difference.low, strict=True) if low > 0)
    layer = fit_decision(found, plan, better if choosy else None)
    about = {"plan": _plan_dict(plan), "images": len(found), "people": _people(found), "data": found.fingerprint()}
    return Fitted(layer, {**about, **_evidence(found, held, layer, verdict)})


def _plan_dict(plan: Plan) -> dict[str, Any]:
    names = ("method", "goal", "bands", "share", "folds")
    limits = {"min_eye_distance": dict(plan.min_eye_distance), "min_sharpness": dict(plan.min_sharpness)}
    return {**{name: getattr(plan, name) for name in names}, **limits, "held_out_by": "identity"}


def _people(found: Predictions) -> int | None:
    return None if found.identity is None else len(np.unique(found.identity))


@dataclass(frozen=True)
class _Verdict:
    """Held-out fitted labels against the raw sigmoid at 0.5: accuracies (A,), their difference with simultaneous
    intervals, and its mean."""

    fixed: Float64
    fitted: Float64
    difference: Interval
    mean: Interval


def _verdict(found: Predictions, held: CrossFitted, draws: int) -> _Verdict:
    (fixed, fitted), drawn = draw_counts(
        [found.raw >= 0.5, held.labels], found.targets, found.known, found.identity, draws=draws
    )
    spread = drawn[1].accuracy - drawn[0].accuracy
    difference = fitted.accuracy - fixed.accuracy
    return _Verdict(
        fixed.accuracy,
        fitted.accuracy,
        simultaneous_interval(difference, spread),
        percentile_interval(mean_of_known(difference), mean_of_known(spread, 1)),
    )


def _evidence(found: Predictions, held: CrossFitted, layer: Decision, verdict: _Verdict) -> dict[str, Any]:
    names, use = found.attributes, found.known
    raw, after = calibration_errors(found, found.raw), calibration_errors(found, held.probs)
    measured = selective.measure(held.answers, held.labels, found.targets, use)
    consistent = count(held.consistent, found.targets, use).accuracy
    errors = {
        "ece": after["ece"],
        "ece_raw": raw["ece"],
        "ece_floor": after["floor"],
        "brier": after["brier"],
        "brier_raw": raw["brier"],
    }
    rows = {
        name: {key: number(values[a]) for key, values in errors.items()}
        | {
            "method": layer.calibration.get(name, {}).get("method"),
            "threshold": number(layer.thresholds.get(name, 0.5)),
            "accuracy_fixed": number(verdict.fixed[a]),
            "accuracy_fitted": number(verdict.fitted[a]),
            "difference_low": number(verdict.difference.low[a]),
            "difference_high": number(verdict.difference.high[a]),
            "coverage": number(measured.coverage[a]),
            "accuracy_answered": number(measured.accuracy[a]),
        }
        for a, name in enumerate(names)
    }
    return {
        "calibration": {key: number(mean_of_known(values)) for key, values in errors.items()},
        "thresholds": {
            "accuracy_fixed": number(mean_of_known(verdict.fixed)),
            "accuracy_fitted": number(mean_of_known(verdict.fitted)),
            "difference": [number(verdict.mean.estimate), number(verdict.mean.low), number(verdict.mean.high)],
            "inside_the_noise": not bool(verdict.mean.excludes_zero),
        },
        "selective": {
            "coverage": number(mean_of_known(measured.coverage)),
            "accuracy": number(mean_of_known(measured.accuracy)),
            "accuracy_full": number(mean_of_known(measured.full_accuracy)),
            "gain": number(mean_of_known(measured.accuracy) - mean_of_known(measured.full_accuracy)),
        },
        "consistency": {
            "violations": number(consistency.violation_rates(held.labels, names)["any"]),
            "violations_consistent": number(consistency.violation_rates(held.consistent, names)["any"]),
            "accuracy": number(mean_of_known(verdict.fitted)),
            "accuracy_consistent": number(mean_of_known(consistent)),
        },
        "attributes": rows,
    }
