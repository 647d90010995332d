"""Tables over seeds of anyone's prediction files: mean, spread, difference to a baseline with an interval from people
and trainings.

files -> systems (their trainings) -> labels at 0.5 on the same faces -> two-level bootstrap -> rows -> CSV, LaTeX,
Markdown

A star stands only where the interval of the difference excludes zero. With one training on either side that interval is
of people alone, and the table says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import DataError, UsageError
from lineament.evaluation.compare import match
from lineament.evaluation.predictions import Predictions
from lineament.metrics.bootstrap import METRICS, two_level, two_level_difference
from lineament.metrics.counts import mean_of_known
from lineament.types import Float64

_SEED = re.compile(r"[-_.](?:s|seed[-_]?)(\d+)$", re.IGNORECASE)
_PLAIN = ("predictions", "pred", "preds")


@dataclass(frozen=True)
class SeedRow:
    """One system, in percent: mean over attributes, spread of the trainings (NaN for one), difference to the baseline
    with low and high (NaN for the baseline itself); per_attribute (A,), differences (A,) and starred (A,), whose
    intervals hold for all attributes at once."""

    name: str
    seeds: int
    mean: float
    spread: float
    difference: float
    low: float
    high: float
    per_attribute: Float64
    differences: Float64
    starred: tuple[bool, ...]

    @property
    def better_or_worse(self) -> bool:
        """Whether the interval of the mean difference excludes zero."""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class SeedTable:
    """attributes (A,), rows (the baseline first), and under which conditions: metric, faces, draws."""

    attributes: tuple[str, ...]
    rows: tuple[SeedRow, ...]
    metric: str
    images: int
    draws: int
    level: float

    @property
    def notes(self) -> list[str]:
        """What a reader must know beside the numbers."""
        alone = [row.name for row in self.rows if row.seeds == 1]
        metric = self.metric.replace("_", " ")
        text = [
            f"{metric} at 0.5, percent, {self.images} faces; {self.level:.0%} intervals from people and trainings, "
            f"{self.draws} draws.",
            "* the interval of the difference to the baseline excludes zero; per attribute, for all attributes at "
            "once.",
        ]
        return text + (
            [f"One training only: {', '.join(alone)}; their intervals leave the training's chance out."]
            if alone
            else []
        )


def system_name(path: str | Path, *, group_seeds: bool) -> str:
    """Return the system a prediction file belongs to: its name, of the folder where the file is just called
    predictions; without the seed's ending (-s0, _seed1) if `group_seeds`.

    >>> files = ("mgmtn-s2.parquet", "runs/mgmtn-s0/predictions.csv", "v1.csv")
    >>> [system_name(name, group_seeds=True) for name in files]
    ['mgmtn', 'mgmtn', 'v1']
    """
    where = Path(path)
    name = where.parent.name if where.stem.lower() in _PLAIN and where.parent.name else where.stem
    return _SEED.sub("", name) if group_seeds else name


def seed_table(
    systems: Mapping[str, Sequence[Predictions]],
    baseline: str,
    *,
    metric: str = "accuracy",
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> SeedTable:
    """Return the table of systems (name -> the predictions of its trainings), all scored on the same labelled faces.

    Raises: UsageError for a baseline that is not among them, or an unknown metric; DataError for files of other faces
        or without labels.
    """
    if baseline not in systems:
        raise UsageError(f"No system is called {baseline!r}: there are {', '.join(systems)}. Is --group-seeds missing?")
    if metric not in METRICS:
        raise UsageError(f"No metric is called {metric!r}. Use one of: {', '.join(METRICS)}.")
    order = [baseline, *(name for name in systems if name != baseline)]
    first = systems[baseline][0]
    if not first.labelled:
        raise DataError(
            "The baseline's predictions hold no targets. Write them with `lineament evaluate --predictions FILE`."
        )
    aligned = [[match(first, one).b for one in systems[name]] for name in order]
    names = tuple(
        name for name in first.attributes if all(name in one.attributes for trainings in aligned for one in trainings)
    )
    base = first.choose(names)
    labels = [[_labels(one.choose(names)) for one in trainings] for trainings in aligned]
    found = two_level(labels, base.targets, base.known, base.identity, metric=metric, draws=draws, seed=seed)
    rows = []
    for name, drawn in zip(order, found, strict=True):
        mean, each = two_level_difference(drawn, found[0], level)
        plain = name == baseline
        rows.append(
            SeedRow(
                name,
                drawn.seeds,
                100 * float(mean_of_known(drawn.estimate)),
                100 * drawn.spread,
                *(
                    (float("nan"),) * 3
                    if plain
                    else (100 * float(mean.estimate), 100 * float(mean.low), 100 * float(mean.high))
                ),
                100 * drawn.estimate,
                100 * np.asarray(each.estimate),
                tuple([False] * len(names) if plain else each.excludes_zero.tolist()),
            )
        )
    return SeedTable(names, tuple(rows), metric, len(base), draws, level)


def _labels(found: Predictions) -> Any:
    """Return the answers (N,A): raw sigmoid at 0.5; a face that was not found is wrong everywhere, as in every
    score."""
    answers = found.raw >= 0.5
    return np.where(found.detected[:, None], answers, found.targets == 0)


# ---- writing


def to_csv(table: SeedTable) -> str:
    """Return one line per system and attribute, `mean` first: full numbers, for programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["system", "seeds", "attribute", table.metric, "spread", "difference", "low", "high", "beyond_noise"]
    )
    for row in table.rows:
        whole = [_cell(value) for value in (row.mean, row.spread, row.difference, row.low, row.high)]
        writer.writerow([row.name, row.seeds, "mean", *whole, int(row.better_or_worse)])
        plain = row is table.rows[0]
        for name, value, difference, star in zip(
            table.attributes, row.per_attribute, row.differences, row.starred, strict=True
        ):
            writer.writerow(
                [row.name, row.seeds, name, _cell(value), "", "" if plain else _cell(difference), "", "", int(star)]
            )
    return out.getvalue()


def to_markdown(table: SeedTable) -> str:
    """Return two tables, means and attributes, for a page."""
    lines = ["| system | seeds | mean | spread | to baseline | interval |", "|---|---:|---:|---:|---:|---|"]
    lines += [f"| {row.name} | {row.seeds} | {' | '.join(_texts(row))} |" for row in table.rows]
    lines += ["", f"| attribute | {' | '.join(row.name for row in table.rows)} |", "|---|" + "---:|" * len(table.rows)]
    lines += [
        f"| {name} | {' | '.join(_at(row, column) for row in table.rows)} |"
        for column, name in enumerate(table.attributes)
    ]
    return "\n".join([*lines, "", *table.notes]) + "\n"


def to_latex(table: SeedTable) -> str:
    """Return two `tabular`s (booktabs) with the notes as comments."""
    head = [f"% {note}" for note in table.notes]
    lines = [
        *head,
        r"\begin{tabular}{lrrrrl}",
        r"\toprule",
        r"system & seeds & mean & spread & to baseline & interval \\",
        r"\midrule",
    ]
    lines += [
        f"{_tex(row.name)} & {row.seeds} & {' & '.join(_tex(text) for text in _texts(row))} \\\\" for row in table.rows
    ]
    lines += [r"\bottomrule", r"\end{tabular}", "", rf"\begin{{tabular}}{{l{'r' * len(table.rows)}}}", r"\toprule"]
    lines += [f"attribute & {' & '.join(_tex(row.name) for row in table.rows)} \\\\", r"\midrule"]
    for column, name in enumerate(table.attributes):
        lines.append(f"{_tex(name)} & {' & '.join(_tex(_at(row, column)) for row in table.rows)} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _texts(row: SeedRow) -> list[str]:
    spread = "-" if np.isnan(row.spread) else f"{row.spread:.2f}"
    if np.isnan(row.difference):
        return [f"{row.mean:.2f}", spread, "baseline", "-"]
    return [
        f"{row.mean:.2f}",
        spread,
        f"{row.difference:+.2f}{'*' if row.better_or_worse else ''}",
        f"{row.low:+.2f} .. {row.high:+.2f}",
    ]


def _at(row: SeedRow, column: int) -> str:
    value = row.per_attribute[column]
    return "-" if np.isnan(value) else f"{value:.2f}{'*' if row.starred[column] else ''}"


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def _tex(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("*", r"$^{*}$")
