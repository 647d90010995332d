"""Cohort audit: do answers and errors differ between sets of people, by more than chance?

    predictions + cohort table (joined on `file`) -> cohort per face -> rates with corrected intervals -> gaps -> --fail-if

Where labels exist: accuracy, TPR, FPR, calibration. Where they do not: how often yes is said, how sure, how often no face is found.
Cohorts with too few labelled images of a class are shown and not judged.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.data import columns
from lineament.errors import DataError, UsageError
from lineament.evaluation.compare import labels_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import number
from lineament.metrics import calibration
from lineament.metrics.bootstrap import Interval
from lineament.metrics.cohorts import MIN_POSITIVES, corrected_level, cross, gap, rate_interval
from lineament.types import Bool, Float64

RATES = ("tpr", "fpr", "accuracy", "answer_rate")
GAPS = (*(f"{rate}_gap" for rate in RATES), "undetected_gap")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_CONDITION = re.compile(r"\s*(?:([\w]+)\.)?(\w+_gap(?:_low)?)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*")


@dataclass(frozen=True)
class Joined:
    """Predictions whose cohort is known, its name per row (N,), and how many rows of either side found no partner."""

    predictions: Predictions
    cohort: npt.NDArray[np.str_]
    without_cohort: int
    without_prediction: int


def join(predictions: Predictions, table: str | Path | None, by: Sequence[str]) -> Joined:
    """Return each face's cohort: columns of the table joined on `file`, or, without a table, the labels of the prediction file itself.

    Rows whose cohort value is empty (or whose label is unknown) count as without cohort.
    Raises: DataError if nothing joins or a file stands twice in the table; UsageError for an unknown column.
    """
    values, extra = _from_targets(predictions, by) if table is None else _from_table(predictions, Path(table), by)
    known = np.array([all(row) for row in zip(*values.values(), strict=True)], bool)
    if not known.any():
        raise DataError(f"No image of the predictions has a cohort. File names must be equal; predictions begin with {predictions.files[:2]}.")
    kept = {name: [value for value, ok in zip(column, known, strict=True) if ok] for name, column in values.items()}
    return Joined(predictions.take(known), cross(kept, by), int((~known).sum()), extra)


def _from_targets(predictions: Predictions, by: Sequence[str]) -> tuple[dict[str, list[str]], int]:
    absent = [name for name in by if name not in predictions.attributes]
    if absent:
        raise UsageError(f"No column {absent}. Without --cohorts, --by names attributes that have target_ columns.")
    values = {}
    for name in by:
        at = predictions.attributes.index(name)
        words = np.where(predictions.targets[:, at] == 1, "yes", "no")
        values[name] = np.where(predictions.known[:, at], words, "").tolist()
    return values, 0


def _from_table(predictions: Predictions, path: Path, by: Sequence[str]) -> tuple[dict[str, list[str]], int]:
    table = columns.read(path, lambda name: False)
    if "file" not in table.text:
        raise DataError(f"{path} has no column `file` to join on. Its columns: {', '.join(table.order)}.")
    cross({name: [] for name in table.text}, by)
    places: dict[str, int] = {}
    for row, file in enumerate(table.text["file"]):
        if file in places:
            raise DataError(f"{path}: {file!r} stands twice. Each file belongs to one cohort.")
        places[file or ""] = row
    rows = [places.get(file, -1) for file in predictions.files]
    values = {name: ["" if row < 0 else (table.text[name][row] or "") for row in rows] for name in by}
    return values, table.rows - len({row for row in rows if row >= 0})


def audit(joined: Joined, *, labels: str = "shipped", draws: int = 1000, level: float = 0.95, least: int = MIN_POSITIVES) -> dict[str, Any]:
    """Return the audit as a JSON object: per cohort and attribute counts, rates and intervals; per attribute the gaps between cohorts.

    Args: level: of all cohorts' intervals together (Bonferroni); least: fewest images a rate must rest on to be judged.
    """
    names = [str(name) for name in np.unique(joined.cohort)]
    said = labels_of(joined.predictions, labels)
    each = corrected_level(level, len(names))
    found = {}
    for seed, name in enumerate(names):
        inside = joined.cohort == name
        found[name] = _Cohort.measure(joined.predictions.take(inside), said[inside], each, draws, seed, least)
    attributes = joined.predictions.attributes
    return {
        "schema_version": 1,
        "model": joined.predictions.meta.get("model"),
        "labels": labels,
        "images": len(joined.predictions),
        "without_cohort": joined.without_cohort,
        "without_prediction": joined.without_prediction,
        "interval_level_each": number(each),
        "least_images": least,
        "cohorts": {name: cohort.document(attributes) for name, cohort in found.items()},
        "gaps": {attribute: _gaps(found, a, each) for a, attribute in enumerate(attributes)},
        "undetected_gap": _named(gap({name: c.undetected for name, c in found.items()}), "undetected_gap"),
    }


@dataclass(frozen=True)
class _Cohort:
    """One cohort's rates (4A columns: tpr, fpr, accuracy, answer rate), their draws, what each rests on, and the rest."""

    images: int
    undetected: float
    interval: Interval
    drawn: Float64
    rests_on: npt.NDArray[np.int64]
    mean_prob: Float64
    ece: Float64
    judged: Bool

    @staticmethod
    def measure(part: Predictions, said: Bool, level: float, draws: int, seed: int, least: int) -> _Cohort:
        truth, known = part.targets.astype(bool), part.known
        seen = np.broadcast_to(part.detected[:, None], truth.shape)
        trials = [truth & known, ~truth & known, known, seen]
        hits = [said & trials[0], said & trials[1], (said == truth) & known, said & seen]
        trial_table, hit_table = (np.concatenate(parts, 1).astype(np.int8) for parts in (trials, hits))
        interval, drawn = rate_interval(hit_table, trial_table, part.identity, level=level, draws=draws, seed=seed)
        found = part.found()
        use = found.known
        rests_on = trial_table.sum(0, dtype=np.int64)
        return _Cohort(
            len(part), float(np.mean(~part.detected)), interval, drawn, rests_on,
            found.shipped.mean(0) if len(found) else np.full(truth.shape[1], np.nan),
            calibration.per_attribute(calibration.ece_1d, found.shipped, found.targets, use), rests_on >= least,
        )  # fmt: skip

    def document(self, attributes: Sequence[str]) -> dict[str, Any]:
        size = len(attributes)
        rows = {}
        for a, name in enumerate(attributes):
            row: dict[str, Any] = {"positives": int(self.rests_on[a]), "negatives": int(self.rests_on[size + a])}
            for place, rate in enumerate(RATES):
                at = place * size + a
                row[rate] = number(self.interval.estimate[at])
                row[f"{rate}_interval"] = [number(self.interval.low[at]), number(self.interval.high[at])]
                row[f"{rate}_judged"] = bool(self.judged[at])
            rows[name] = {**row, "mean_prob": number(self.mean_prob[a]), "ece": number(self.ece[a])}
        return {"images": self.images, "undetected": number(self.undetected), "attributes": rows}


def _gaps(found: Mapping[str, _Cohort], a: int, level: float) -> dict[str, Any]:
    size = next(iter(found.values())).mean_prob.shape[0]
    document: dict[str, Any] = {}
    for place, rate in enumerate(RATES):
        at = place * size + a
        judged = {name: float(cohort.interval.estimate[at]) for name, cohort in found.items() if cohort.judged[at]}
        estimate = gap(judged)
        document |= _named(estimate, f"{rate}_gap")
        if estimate[1]:
            spread = found[estimate[1]].drawn[:, at] - found[estimate[2]].drawn[:, at]
            reach = NormalDist().inv_cdf(0.5 + level / 2) * float(np.nanstd(spread))
            document[f"{rate}_gap_low"] = number(max(0.0, estimate[0] - reach))
    return document


def _named(estimate: tuple[float, str, str], name: str) -> dict[str, Any]:
    value, highest, lowest = estimate
    return {name: number(value), f"{name}_between": [highest, lowest] if highest else None}


def failures(document: Mapping[str, Any], conditions: Sequence[str]) -> list[str]:
    """Return what breaks conditions such as "tpr_gap > 0.1" or "Smiling.accuracy_gap >= 0.05", one sentence each.

    Convention: `_gap` is the largest difference between judged cohorts, `_gap_low` the lower end of its interval (0 where it is inside the
    noise). Raises: UsageError for a condition that cannot be read, or about a gap that does not exist.
    """
    broken = []
    for text in conditions:
        parts = _CONDITION.fullmatch(text)
        if parts is None or parts[2].removesuffix("_low") not in GAPS:
            raise UsageError(f"Cannot read the condition {text!r}. Write for example 'tpr_gap > 0.1'; gaps: {', '.join(GAPS)}, and NAME_low.")
        only, key, sign, limit = parts[1], parts[2], parts[3], float(parts[4])
        if only is not None and only not in document["gaps"]:
            raise UsageError(f"The condition {text!r} names {only}, which is not an attribute of these predictions.")
        where = {"": document["undetected_gap"]} if key == "undetected_gap" else document["gaps"]
        for name, row in where.items():
            value = row.get(key)
            if (only is None or name == only) and value is not None and _OPERATORS[sign](value, limit):
                between = row.get(f"{key.removesuffix('_low')}_between")
                broken.append(f"{name or 'detection'}: {key} is {value:.3f} ({' against '.join(between or [])}), the limit is {text.strip()}.")
    return broken
