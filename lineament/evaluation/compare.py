"""Paired comparison of two prediction files: which is better where labels exist, which answers flip either way.

A, B matched on (file, face) -> labels of each -> paired bootstrap by identity -> differences, "inside the noise" said
aloud
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import Decision
from lineament.errors import DataError, UsageError
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import decided, decision_in, number
from lineament.metrics.bootstrap import METRICS, Interval, draw_counts, percentile_interval, simultaneous_interval
from lineament.metrics.counts import Counts, mean_of_known
from lineament.schema import LOW_AGREEMENT
from lineament.types import Bool

COMPARED = ("accuracy", "balanced_accuracy", "f1")
BY_NAME = {-1: "A is better", 0: "inside the noise", 1: "B is better"}


@dataclass(frozen=True)
class Pair:
    """Two prediction files cut to the same faces and attributes, in the same order, with one set of targets (those of
    A, else of B)."""

    a: Predictions
    b: Predictions
    left_out: tuple[int, int]


def match(a: Predictions, b: Predictions, *, common: bool = False) -> Pair:
    """Return A and B on the same faces and attributes.

    Raises: DataError if they hold different faces (unless `common`, which keeps the shared ones), share no attribute,
        or disagree on targets.
    """
    places = {key: row for row, key in enumerate(b.keys)}
    rows = np.array([places.get(key, -1) for key in a.keys], np.intp)
    shared = rows >= 0
    alone = (int((~shared).sum()), len(b) - int(shared.sum()))
    if not shared.any():
        raise DataError(
            f"The two files share no image: A begins with {a.files[:1]}, B with {b.files[:1]}. Score both on the same "
            "images."
        )
    if any(alone) and not common:
        raise DataError(
            f"The files hold different images: {alone[0]} only in A, {alone[1]} only in B. Score both on the same "
            "images, or use --common."
        )
    names = tuple(name for name in a.attributes if name in b.attributes)
    if not names:
        raise DataError("The two files share no attribute.")
    a, b = _columns(a.take(shared), names), _columns(b.take(rows[shared]), names)
    both = a.known & b.known
    if (a.targets != b.targets)[both].any():
        raise DataError(
            f"The files disagree on {int((a.targets != b.targets)[both].sum())} targets. Score both against the same "
            "labels."
        )
    known = a.known | b.known
    targets = np.where(a.known, a.targets, b.targets)
    identity = a.identity if a.identity is not None else b.identity
    a, b = (replace(side, targets=targets, known=known, identity=identity) for side in (a, b))
    return Pair(a, b, alone)


def _columns(side: Predictions, names: Sequence[str]) -> Predictions:
    at = [side.attributes.index(name) for name in names]
    probs = None if side.probs is None else side.probs[:, at]
    said = None if side.said is None else side.said[:, at]
    return replace(
        side,
        attributes=tuple(names),
        raw=side.raw[:, at],
        probs=probs,
        said=said,
        targets=side.targets[:, at],
        known=side.known[:, at],
    )


def labels_of(side: Predictions, labels: str) -> Bool:
    """Return yes/no (N,A): "raw" is the raw sigmoid at 0.5, "shipped" the file's probabilities at its card's
    thresholds, or the answers themselves where the file holds them."""
    if labels == "raw":
        return decided(side, side.raw, np.full(len(side.attributes), 0.5))
    if labels != "shipped":
        raise UsageError(f"Unknown labels {labels!r}. Use shipped or raw.")
    if side.said is not None:  # answers as they were given; what was withheld is no yes
        return np.asarray(np.where(side.detected[:, None], side.said == 1, side.targets == 0), bool)
    layer = decision_in(side.meta) or Decision()
    return decided(side, side.shipped, layer.threshold_vector(side.attributes))


def compare(
    a: Predictions, b: Predictions, *, labels: str = "shipped", common: bool = False, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Return the comparison of two prediction files as a JSON object.

    Where labels exist: per metric the mean of A and B, their difference B - A with its 95 % interval; per attribute the
    same for accuracy, with intervals that hold for all attributes at once. Always: which answers flip, per attribute
    and the largest ones.
    Raises: DataError if the files cannot be matched.
    """
    pair = match(a, b, common=common)
    answers = [labels_of(side, labels) for side in (pair.a, pair.b)]
    document = {
        "schema_version": 1,
        "a": pair.a.meta.get("model"),
        "b": pair.b.meta.get("model"),
        "labels": labels,
        "images": len(pair.a),
        "only_in_a": pair.left_out[0],
        "only_in_b": pair.left_out[1],
        "labelled": pair.a.labelled,
        "flips": _flips(pair, answers),
    }
    if pair.a.labelled:
        document |= _judged(pair, answers, draws, seed)
    return document


def _judged(pair: Pair, answers: Sequence[Bool], draws: int, seed: int) -> dict[str, Any]:
    whole, drawn = draw_counts(answers, pair.a.targets, pair.a.known, pair.a.identity, draws=draws, seed=seed)
    accuracy = METRICS["accuracy"]
    low = np.array([name in LOW_AGREEMENT for name in pair.a.attributes])
    difference = simultaneous_interval(accuracy(whole[1]) - accuracy(whole[0]), accuracy(drawn[1]) - accuracy(drawn[0]))
    return {
        "paired_by": "image" if pair.a.identity is None else "identity",
        "draws": draws,
        "mean": {metric: _mean(metric, whole, drawn) for metric in COMPARED}
        | {
            f"accuracy_{kind}_agreement": _mean("accuracy", whole, drawn, columns)
            for kind, columns in (("high", ~low), ("low", low))
        },
        "attributes": {
            name: {"a": number(accuracy(whole[0])[i]), "b": number(accuracy(whole[1])[i]), **_interval(difference, i)}
            for i, name in enumerate(pair.a.attributes)
        },
    }


def _mean(metric: str, whole: Sequence[Counts], drawn: Sequence[Counts], columns: Any = slice(None)) -> dict[str, Any]:
    value = METRICS[metric]
    both = [mean_of_known(value(counts)[columns]) for counts in whole]
    before, after = (mean_of_known(value(counts)[:, columns], 1) for counts in drawn)
    spread = after - before
    found = percentile_interval(both[1] - both[0], spread)
    return {"a": number(both[0]), "b": number(both[1]), **_interval(found, ())}


def _interval(found: Interval, at: Any) -> dict[str, Any]:
    low, high = float(found.low[at]), float(found.high[at])
    verdict = None if np.isnan(low) else BY_NAME[int(low > 0) - int(high < 0)]
    return {"difference": number(found.estimate[at]), "low": number(low), "high": number(high), "verdict": verdict}


def flipped(pair: Pair, answers: Sequence[Bool]) -> npt.NDArray[np.intp]:
    """Return (row, column) of every answer that differs, largest change of probability first."""
    moved = np.abs(pair.b.shipped - pair.a.shipped)
    differs = (answers[0] != answers[1]) & ~np.isnan(moved)
    at = np.argwhere(differs)
    return np.asarray(at[np.argsort(-moved[at[:, 0], at[:, 1]], kind="stable")])


def _flips(pair: Pair, answers: Sequence[Bool], most: int = 200) -> dict[str, Any]:
    before, after = answers
    at = flipped(pair, answers)
    listed = [
        {
            "file": pair.a.files[row], "face": pair.a.keys[row][1], "attribute": pair.a.attributes[column],
            "a": number(pair.a.shipped[row, column]), "b": number(pair.b.shipped[row, column]),
            "target": int(pair.a.targets[row, column]) if pair.a.known[row, column] else None,
        }
        for row, column in at[:most]
    ]  # fmt: skip
    per_attribute = {
        name: {"yes_to_no": int((before & ~after)[:, i].sum()), "no_to_yes": int((~before & after)[:, i].sum())}
        for i, name in enumerate(pair.a.attributes)
    }
    return {"share": number(np.mean(before != after)), "attributes": per_attribute, "largest": listed}
