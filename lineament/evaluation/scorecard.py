"""The scorecard: everything measured about one prediction file, as the JSON object of `docs/reference/interface.md`.

    Predictions -> labels -> counts -> ratios -> {"mean_accuracy": ..., "attributes": {NAME: {...}}, ...}

`mean_accuracy` is always of the raw sigmoid at 0.5. What is calibrated or fitted stands beside it, never in its place.
A face that was not found counts as wrong in every attribute; calibration is measured on the faces that were found. No
data is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lineament.decision import consistency
from lineament.decision.layer import Decision
from lineament.evaluation import intervals
from lineament.evaluation.predictions import Predictions
from lineament.metrics import calibration
from lineament.metrics.counts import Counts, count, example_based, mean_of_known
from lineament.metrics.ranking import average_precision, roc_auc
from lineament.metrics.selective import measure
from lineament.schema import LOW_AGREEMENT
from lineament.types import Bool, Float64

DECIMALS = 6


def number(value: Any) -> float | None:
    """Return a fraction rounded for JSON; None ("no data") for NaN.

    >>> number(float("nan")) is None, number(0.25)
    (True, 0.25)
    """
    return None if np.isnan(value) else round(float(value), DECIMALS)


def raw_labels(predictions: Predictions) -> Bool:
    """Return what the raw sigmoid at 0.5 says (N,A); a face that was not found answers wrongly everywhere."""
    return decided(predictions, predictions.raw, np.full(len(predictions.attributes), 0.5))


def decided(predictions: Predictions, probs: Float64, thresholds: Float64) -> Bool:
    """Return `probs >= thresholds` (N,A), and the opposite of the target where no face was found."""
    with np.errstate(invalid="ignore"):
        labels = probs >= thresholds
    return np.where(predictions.detected[:, None], labels, predictions.targets == 0)


def _ranked(predictions: Predictions) -> Float64:
    """Return raw probs (N,A), a missed face as wrong as can be."""
    return np.where(predictions.detected[:, None], predictions.raw, 1.0 - predictions.targets)


def _attributes(predictions: Predictions, counts: Counts) -> dict[str, dict[str, Any]]:
    ap = average_precision(_ranked(predictions), predictions.targets, predictions.known)
    auc = roc_auc(_ranked(predictions), predictions.targets, predictions.known)
    columns = {
        "accuracy": counts.accuracy, "majority": counts.majority, "tpr": counts.recall, "tnr": counts.specificity,
        "balanced_accuracy": counts.balanced_accuracy, "precision": counts.precision, "f1": counts.f1, "ap": ap,
        "auc": auc, "answer_rate": counts.answer_rate,
    }  # fmt: skip
    whole = {"images": counts.total, "positives": counts.positives, "negatives": counts.negatives}
    return {
        name: {key: number(values[place]) for key, values in columns.items()}
        | {key: int(values[place]) for key, values in whole.items()}
        | {"low_agreement": name in LOW_AGREEMENT}
        for place, name in enumerate(predictions.attributes)
    }


def calibration_errors(found: Predictions, probs: Float64) -> dict[str, Float64]:
    """Return ece, brier and the simulated ECE floor of perfectly calibrated predictions of this size, each (A,)."""
    draws = 20 if len(found) < 50_000 else 3
    use = found.known
    return {
        "ece": calibration.per_attribute(calibration.ece_1d, probs, found.targets, use),
        "brier": calibration.per_attribute(calibration.brier_1d, probs, found.targets, use),
        "floor": np.array([calibration.ece_floor_1d(probs[use[:, a], a], draws=draws) for a in range(probs.shape[1])]),
    }


def _calibrated(predictions: Predictions) -> dict[str, Any] | None:
    if predictions.probs is None:
        return None
    found = predictions.found()
    after = calibration_errors(found, found.shipped)
    before = calibration.per_attribute(calibration.ece_1d, found.raw, found.targets, found.known)
    ece = float(mean_of_known(after["ece"]))
    return {
        "ece": number(ece),
        "ece_interval": intervals.ece_interval(found, found.shipped, ece) if predictions.labelled else None,
        "brier": number(mean_of_known(after["brier"])),
        "ece_floor": number(mean_of_known(after["floor"])),
        "ece_raw": number(mean_of_known(before)),
        "attributes": {
            name: {
                "ece": number(after["ece"][a]),
                "ece_floor": number(after["floor"][a]),
                "brier": number(after["brier"][a]),
            }
            for a, name in enumerate(predictions.attributes)
        },
    }


def _fitted(predictions: Predictions, decision: Decision | None, fitted_on: str | None) -> dict[str, Any] | None:
    """Return how right the labels users get are; None where they are the raw sigmoid's at 0.5."""
    if decision is None or not (decision.thresholds or (decision.calibration and predictions.probs is not None)):
        return None
    thresholds = decision.threshold_vector(predictions.attributes)
    labels = decided(predictions, predictions.shipped, thresholds)
    counts = count(labels, predictions.targets, predictions.known)
    return {
        "mean_accuracy": number(mean_of_known(counts.accuracy)),
        "mean_accuracy_interval": intervals.fitted_interval(predictions, labels) if predictions.labelled else None,
        "balanced_accuracy": number(mean_of_known(counts.balanced_accuracy)),
        "macro_f1": number(mean_of_known(counts.f1)),
        "thresholds": {
            name: round(float(t), DECIMALS) for name, t in zip(predictions.attributes, thresholds, strict=True)
        },
        "fitted_on": fitted_on,
    }


def consistency_of(predictions: Predictions, decision: Decision) -> dict[str, Any]:
    """Return violation rates and accuracy of independent and of consistent labels (shipped probabilities), of the faces
    found."""
    thresholds = decision.threshold_vector(predictions.attributes)
    found = predictions.found()
    before = found.shipped >= thresholds
    after, _ = consistency.decode_consistent(
        found.shipped, thresholds, found.attributes, precedence=decision.precedence
    )
    accuracy = [mean_of_known(count(labels, found.targets, found.known).accuracy) for labels in (before, after)]
    in_labels = found.targets.astype(bool)[found.known.all(1)]
    return {
        "violations": {
            key: number(rate) for key, rate in consistency.violation_rates(before, found.attributes).items()
        },
        "violations_consistent": {
            key: number(rate) for key, rate in consistency.violation_rates(after, found.attributes).items()
        },
        "violations_in_targets": {
            key: number(rate) for key, rate in consistency.violation_rates(in_labels, found.attributes).items()
        },
        "accuracy": number(accuracy[0]),
        "accuracy_consistent": number(accuracy[1]),
    }


def selective_of(predictions: Predictions, decision: Decision) -> dict[str, Any] | None:
    """Return coverage and accuracy of the card's three answers, mean over attributes; None if the card never says
    "cannot tell"."""
    if not (decision.abstain or decision.min_eye_distance or decision.min_sharpness):
        return None
    found = predictions.found()
    answers = decision.labels(
        found.shipped, found.attributes, abstain=True, eye_distance=found.eye_distance, sharpness=found.sharpness
    )
    full = found.shipped >= decision.threshold_vector(found.attributes)
    measured = measure(answers, full, found.targets, found.known)
    sure = intervals.selective_intervals(found, *intervals.three_answers(decision, found)) if found.labelled else {}
    return {
        "coverage": number(mean_of_known(measured.coverage)),
        "lowest_coverage": number(np.nanmin(measured.coverage)) if predictions.labelled else None,
        "accuracy": number(mean_of_known(measured.accuracy)),
        "full_accuracy": number(mean_of_known(measured.full_accuracy)),
        **{f"{key}_interval": value for key, value in sure.items()},
    }


def scorecard(
    predictions: Predictions, *, missing: int = 0, decision: Decision | None = None, **about: Any
) -> dict[str, Any]:
    """Return the scorecard of a prediction file.

    Args: missing: images listed without a file; decision: the card's layer, for `fitted` and `selective`; about: more
        keys, such as model.
    """
    labels = raw_labels(predictions)
    counts = count(labels, predictions.targets, predictions.known)
    low = np.array([name in LOW_AGREEMENT for name in predictions.attributes])
    attributes = _attributes(predictions, counts)
    optional = {
        "calibrated": _calibrated(predictions),
        "fitted": _fitted(predictions, decision, about.pop("fitted_on", None)),
        "selective": selective_of(predictions, decision) if decision else None,
    }
    between = intervals.accuracy_intervals(predictions, labels) if predictions.labelled else {}
    return {
        "schema_version": 1,
        "images": len(predictions),
        "missing": int(missing),
        "undetected": int((~predictions.detected).sum()),
        "mean_accuracy": number(mean_of_known(counts.accuracy)),
        "majority_accuracy": number(mean_of_known(counts.majority)),
        "balanced_accuracy": number(mean_of_known(counts.balanced_accuracy)),
        "macro_f1": number(mean_of_known(counts.f1)),
        "mean_ap": number(mean_of_known([_or_nan(row["ap"]) for row in attributes.values()])),
        "mean_accuracy_high_agreement": number(mean_of_known(counts.accuracy[~low])),
        "mean_accuracy_low_agreement": number(mean_of_known(counts.accuracy[low])),
        "intervals": {"level": intervals.LEVEL, "drawn_by": intervals.drawn_by(predictions), **between},
        "example_based": {
            key: number(value) for key, value in example_based(labels, predictions.targets, predictions.known).items()
        },
        "attributes": attributes,
        "consistency": consistency_of(predictions, decision or Decision()),
        **about,
        **{key: value for key, value in optional.items() if value is not None},
    }


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def decision_in(meta: Mapping[str, Any]) -> Decision | None:
    """Return the decision layer a Lineament prediction file carries in its metadata, None in foreign files."""
    return Decision.from_dict(meta["decision"]) if meta.get("decision") else None
