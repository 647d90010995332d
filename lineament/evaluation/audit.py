"""Cohort audit: do answers and errors differ between sets of people, by more than chance?

    predictions or records + cohort table (joined on `file`) -> cohort per face -> rates with corrected intervals ->
        worst, next, best
    -> gaps -> --fail-if

Where labels exist: accuracy, TPR, FPR, calibration. Where they do not: how often yes is said, how sure, how often no
face is found, and how far the mean probability is from the share of yes: calibration by class rates, which says less
than calibration by labels and is called so. Cohorts with too few labelled images of a class are shown and not judged.
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
from lineament.metrics.cohorts import MIN_POSITIVES, corrected_level, cross, gap, rate_interval, wilson
from lineament.types import Bool, Float64

RATES = ("tpr", "fpr", "accuracy", "answer_rate")
GAPS = (*(f"{rate}_gap" for rate in RATES), "undetected_gap")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(?:([\w]+)\.)?(\w+_gap(?:_low)?)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*")


@dataclass(frozen=True)
class Joined:
    """Predictions whose cohort is known, its name per row (N,), how many rows of either side found no partner, and what
    joined them."""

    predictions: Predictions
    cohort: npt.NDArray[np.str_]
    without_cohort: int
    without_prediction: int
    joined_by: str = "file"


def join(predictions: Predictions, table: str | Path | None, by: Sequence[str]) -> Joined:
    """Return each face's cohort: columns of the table joined on `file`, or, without a table, the labels of the
    prediction file itself.

    Rows whose cohort value is empty (or whose label is unknown) count as without cohort. A record's `source` is a path
    and a table often has bare names: where no whole name is equal, last parts of names are compared, if they are
    unique.
    Raises: DataError if nothing joins or a file stands twice in the table; UsageError for an unknown column.
    """
    values, extra, how = _from_targets(predictions, by) if table is None else _from_table(predictions, Path(table), by)
    known = np.array([all(row) for row in zip(*values.values(), strict=True)], bool)
    if not known.any():
        raise DataError(
            "No image of the predictions has a cohort. File names must be equal; predictions begin with "
            f"{predictions.files[:2]}."
        )
    kept = {name: [value for value, ok in zip(column, known, strict=True) if ok] for name, column in values.items()}
    return Joined(predictions.take(known), cross(kept, by), int((~known).sum()), extra, how)


def _from_targets(predictions: Predictions, by: Sequence[str]) -> tuple[dict[str, list[str]], int, str]:
    absent = [name for name in by if name not in predictions.attributes]
    if absent:
        raise UsageError(f"No column {absent}. Without --cohorts, --by names attributes that have target_ columns.")
    values = {}
    for name in by:
        at = predictions.attributes.index(name)
        words = np.where(predictions.targets[:, at] == 1, "yes", "no")
        values[name] = np.where(predictions.known[:, at], words, "").tolist()
    return values, 0, "labels"


def _from_table(predictions: Predictions, path: Path, by: Sequence[str]) -> tuple[dict[str, list[str]], int, str]:
    table = columns.read(path, lambda name: False)
    key = next((name for name in ("file", "source") if name in table.text), None)
    if key is None:
        raise DataError(f"{path} has no column `file` to join on. Its columns: {', '.join(table.order)}.")
    cross({name: [] for name in table.text}, by)
    files, how = [file or "" for file in table.text[key]], "file"
    places = _places(files, path)
    rows = [places.get(file, -1) for file in predictions.files]
    if max(rows, default=-1) < 0:
        places, how = _places([last_part(file) for file in files], path), "last part of the file's name"
        rows = [places.get(last_part(file), -1) for file in predictions.files]
    values = {name: ["" if row < 0 else (table.text[name][row] or "") for row in rows] for name in by}
    return values, table.rows - len({row for row in rows if row >= 0}), how


def last_part(file: str) -> str:
    """Return a file's name without its folders, whichever way the slashes lean.

    >>> last_part("a/b.jpg"), last_part("b.jpg"), last_part("c\\\\b.jpg")
    ('b.jpg', 'b.jpg', 'b.jpg')
    """
    return re.split(r"[\\/]|::", file)[-1]


def _places(files: Sequence[str], path: Path) -> dict[str, int]:
    """Return the row of each file. Raises: DataError for one that stands twice."""
    places: dict[str, int] = {}
    for row, file in enumerate(files):
        if file in places:
            raise DataError(f"{path}: {file!r} stands twice. Each file belongs to one cohort.")
        places[file] = row
    return places


def audit(
    joined: Joined, *, labels: str = "shipped", draws: int = 1000, level: float = 0.95, least: int = MIN_POSITIVES
) -> dict[str, Any]:
    """Return the audit as a JSON object: per cohort and attribute counts, rates and intervals; per attribute the gaps
    between cohorts.

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
    gaps = {attribute: _gaps(found, a, each) for a, attribute in enumerate(attributes)}
    return {
        "schema_version": 1,
        "model": joined.predictions.meta.get("model"),
        "labels": labels,
        "images": len(joined.predictions),
        "without_cohort": joined.without_cohort,
        "without_prediction": joined.without_prediction,
        "joined_by": joined.joined_by,
        "labelled": joined.predictions.labelled,
        "calibration_by": "labels" if joined.predictions.labelled else "class rates",
        "interval_level_each": number(each),
        "least_images": least,
        "cohorts": {name: cohort.document(attributes) for name, cohort in found.items()},
        "by_gap": {rate: widest_first(gaps, f"{rate}_gap") for rate in RATES},
        "gaps": gaps,
        "undetected_gap": _named(gap({name: c.undetected for name, c in found.items()}), "undetected_gap"),
    }


@dataclass(frozen=True)
class _Cohort:
    """One cohort's rates (4A columns: tpr, fpr, accuracy, answer rate), their draws, what each rests on, and the
    rest."""

    images: int
    level: float
    undetected: float
    interval: Interval
    drawn: Float64
    rests_on: npt.NDArray[np.int64]
    mean_prob: Float64
    ece: Float64
    withheld: Float64 | None
    judged: Bool

    @staticmethod
    def measure(part: Predictions, said: Bool, level: float, draws: int, seed: int, least: int) -> _Cohort:
        truth, known = part.targets.astype(bool), part.known
        seen = np.broadcast_to(part.detected[:, None], truth.shape)
        if part.said is not None:
            seen = seen & (part.said >= 0)  # a share of yes is of those who were answered
        trials = [truth & known, ~truth & known, known, seen]
        hits = [said & trials[0], said & trials[1], (said == truth) & known, said & seen]
        trial_table, hit_table = (np.concatenate(parts, 1).astype(np.int8) for parts in (trials, hits))
        interval, drawn = rate_interval(hit_table, trial_table, part.identity, level=level, draws=draws, seed=seed)
        found = part.found()
        use = found.known
        rests_on = trial_table.sum(0, dtype=np.int64)
        return _Cohort(
            len(part), level, float(np.mean(~part.detected)), interval, drawn, rests_on,
            found.shipped.mean(0) if len(found) else np.full(truth.shape[1], np.nan),
            calibration.per_attribute(calibration.ece_1d, found.shipped, found.targets, use),
            None if found.said is None or not len(found) else np.mean(found.said < 0, 0), rests_on >= least,
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
            by_rates = self.mean_prob[a] - self.interval.estimate[RATES.index("answer_rate") * size + a]
            rows[name] = {
                **row,
                "mean_prob": number(self.mean_prob[a]),
                "mean_prob_minus_answer_rate": number(by_rates),
            }
            rows[name] |= {"ece": number(self.ece[a])}
            if self.withheld is not None:
                rows[name] |= {"cannot_tell": number(self.withheld[a])}
        missed = wilson(round(self.undetected * self.images), self.images, self.level)
        between = [number(missed.low), number(missed.high)]
        return {
            "images": self.images,
            "undetected": number(self.undetected),
            "undetected_interval": between,
            "attributes": rows,
        }

    def row(self, name: str, at: int) -> dict[str, Any]:
        """Return what an auditor reads of the rate in column `at`: whose, how high, between what, resting on how
        many."""
        between = [number(self.interval.low[at]), number(self.interval.high[at])]
        return {
            "cohort": name,
            "rate": number(self.interval.estimate[at]),
            "interval": between,
            "size": int(self.rests_on[at]),
        }


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
            ends = (
                estimate[1:] if rate == "fpr" else estimate[:0:-1]
            )  # worst, best: false alarms are worst where they are highest
            document[f"{rate}_cohorts"] = _worst_next_best(found, judged, ends, at)
    return document


def _worst_next_best(
    found: Mapping[str, _Cohort], judged: Mapping[str, float], ends: Sequence[str], at: int
) -> dict[str, Any]:
    """Return the cohorts at both ends of a rate, and the one that comes next to the worst; None where there are only
    two.

    An answer rate has no worse and better; its "worst" is where yes is said least, and tables call the ends lowest and
    highest.
    """
    worst, best = ends
    others = [name for name in judged if name not in ends]
    following = min(others, key=lambda name: abs(judged[name] - judged[worst])) if others else None
    return {
        "worst": found[worst].row(worst, at),
        "next": found[following].row(following, at) if following else None,
        "best": found[best].row(best, at),
    }


def widest_first(gaps: Mapping[str, Mapping[str, Any]], key: str) -> list[str]:
    """Return attribute names by their gap, widest first; those without a gap last, in their order."""
    return sorted(gaps, key=lambda name: float("inf") if gaps[name][key] is None else -gaps[name][key])


def _named(estimate: tuple[float, str, str], name: str) -> dict[str, Any]:
    value, highest, lowest = estimate
    return {name: number(value), f"{name}_between": [highest, lowest] if highest else None}


def failures(document: Mapping[str, Any], conditions: Sequence[str]) -> list[str]:
    """Return what breaks conditions such as "tpr_gap > 0.1" or "Smiling.accuracy_gap >= 0.05", one sentence each.

    Convention: `_gap` is the largest difference between judged cohorts, `_gap_low` the lower end of its interval (0
    where it is inside the noise). Raises: UsageError for a condition that cannot be read, or about a gap that does not
    exist.
    """
    broken = []
    for text in conditions:
        parts = _CONDITION.fullmatch(text)
        if parts is None or parts[2].removesuffix("_low") not in GAPS:
            raise UsageError(
                f"Cannot read the condition {text!r}. Write for example 'tpr_gap > 0.1'; gaps: {', '.join(GAPS)}, and "
                "NAME_low."
            )
        only, key, sign, limit = parts[1], parts[2], parts[3], float(parts[4])
        if only is not None and only not in document["gaps"]:
            raise UsageError(f"The condition {text!r} names {only}, which is not an attribute of these predictions.")
        where = {"": document["undetected_gap"]} if key == "undetected_gap" else document["gaps"]
        for name, row in where.items():
            value = row.get(key)
            if (only is None or name == only) and value is not None and _OPERATORS[sign](value, limit):
                between = row.get(f"{key.removesuffix('_low')}_between")
                broken.append(
                    f"{name or 'detection'}: {key} is {value:.3f} ({' against '.join(between or [])}), the limit is "
                    f"{text.strip()}."
                )
    return broken
