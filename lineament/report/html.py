"""`lineament report`: one prediction file (and others beside it) as one HTML page.

Predictions -> scorecard, audit, comparison -> verdict in sentences -> charts -> tables -> page
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from lineament.decision.layer import Decision
from lineament.evaluation.audit import audit, join
from lineament.evaluation.compare import compare, labels_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import decision_in, scorecard
from lineament.metrics.bootstrap import Interval
from lineament.metrics.calibration import reliability_1d
from lineament.metrics.cohorts import wilson
from lineament.metrics.counts import mean_of_known
from lineament.metrics.selective import coverage_risk_1d
from lineament.report import figures, model_card, pictures
from lineament.report.audit_tables import RATES, audit_lines, audit_sentence, leading_rate
from lineament.report.overlays import Overlays
from lineament.report.pages import audit_tables, chart, difference_tables, facts, page, paragraphs, table
from lineament.report.tables import AGREEMENT, between, marked, percent, scorecard_lines
from lineament.report.verdict import as_html, verdict
from lineament.types import Bool, Float64

CALIBRATION = "Do the probabilities mean what they say?"
MISSING = (
    "What needs labels is left out: accuracy, calibration, coverage, for whom it is wrong. Give a file with target_ "
    "columns to see it; "
    "`lineament evaluate` writes one from labelled photos."
)
COVERAGES = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5])


@dataclass(frozen=True)
class Extras:
    """What a report may show beside the numbers: cohorts (table, columns), images for confusion examples, where the
    network looks, its card.

    since: (name, predictions) of an earlier model on the same photos, to say what changed.
    """

    cohorts: str | None = None
    by: Sequence[str] = ()
    images: Path | None = None
    examples: int = 4
    looked: Mapping[str, Overlays] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None
    since: tuple[str, Predictions] | None = None


def report_page(files: Sequence[tuple[str, Predictions]], extras: Extras | None = None) -> str:
    """Return the page: the verdict, then charts, then tables. files: (name, predictions), the first reported in full,
    the others beside it."""
    more = extras or Extras()
    name, main = files[0]
    cards = [(label, scorecard(p, decision=decision_in(p.meta), **_about(label, p))) for label, p in files]
    card = cards[0][1]
    cohorts = audit(join(main, more.cohorts, list(more.by))) if more.by else None
    change = None if more.since is None else _change(more.since, name, main)
    sections = [("summary", "In short", as_html(verdict(card, cohorts, change)) + _figures(main, cards))]
    sections += (
        _charts(main, card, cohorts) if main.labelled else [("answers", "What is answered", _answers_chart(main))]
    )
    sections += _tables(main, card, cohorts, change)
    if more.images is not None and main.labelled:
        sections.append(
            ("examples", "Confident and wrong", pictures.confident_errors(main, more.images, more.examples))
        )
    if more.looked:
        sections.append(("maps", "Where the network looks", pictures.maps(more.looked)))
    sections.append(("protocol", "Protocol", _protocol(card)))
    if more.card is not None:
        sections.append(("card", "Model card", _card(more.card)))
    return page(f"Report: {card.get('model') or name}", f"{card['data'] or name}; {card['images']} images.", sections)


def _change(since: tuple[str, Predictions], name: str, main: Predictions) -> dict[str, Any]:
    document = compare(since[1], main, common=True)
    return document | {"a": document["a"] or since[0], "b": document["b"] or name}


def _charts(
    main: Predictions, card: Mapping[str, Any], cohorts: Mapping[str, Any] | None
) -> list[tuple[str, str, str]]:
    sections = [
        ("right", "How right, attribute by attribute", _accuracy_chart(card)),
        ("calibration", CALIBRATION, _reliability_chart(main)),
    ]
    sections.append(("abstaining", "Answering less, erring less", _coverage_chart(main)))
    if cohorts is not None:
        sections.append(("cohorts", "Cohorts", _cohort_chart(cohorts)))
    return sections


def _tables(
    main: Predictions, card: Mapping[str, Any], cohorts: Mapping[str, Any] | None, change: Mapping[str, Any] | None
) -> list[tuple[str, str, str]]:
    sections = []
    if main.labelled:
        sections.append(("attributes", "Table: per attribute", _attributes(card)))
        sections.append(("coverage-table", "Table: accuracy at each coverage", _coverage_table(main)))
    else:
        sections.append(("attributes", "Table: what is answered", _answers_table(main) + paragraphs([MISSING])))
    if cohorts is not None:
        heading = "Table: for whom it is worst" if main.labelled else "Table: answers of cohorts"
        sections.append(("cohorts-table", heading, audit_tables(cohorts) + paragraphs(audit_lines(cohorts))))
    if change is not None:
        sections.append(("change", "Table: what changed since", difference_tables(change)))
    sections.append(("consistency", "Answers that can be true together", _consistency(card, main.labelled)))
    return sections


def _about(label: str, predictions: Predictions) -> dict[str, Any]:
    meta = predictions.meta
    kept = {key: meta[key] for key in ("missing", "protocol", "fitted_on") if key in meta}
    return {
        "model": meta.get("model") or label,
        "data": meta.get("data") or f"{label}@{predictions.fingerprint()}",
        **kept,
    }


def _figures(main: Predictions, cards: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    card = cards[0][1]
    items = _labelled_figures(card) if main.labelled else _unlabelled_figures(main)
    inner = (
        facts(items) + f"<details><summary>How this was counted</summary>{paragraphs(scorecard_lines(card))}</details>"
    )
    if len(cards) > 1:
        keys = ("mean_accuracy", "majority_accuracy", "balanced_accuracy", "macro_f1", "mean_ap")
        rows = [(str(one["model"]), str(one["images"]), *(percent(one[key]) for key in keys)) for _, one in cards]
        inner += table(
            "Every file given, percent", ("file", "images", "accuracy", "majority", "balanced", "F1", "AP"), rows
        )
        inner += paragraphs(["Differences between files need a paired test: lineament compare A B, or --since."])
    return inner


def _labelled_figures(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    sure, calibrated, selective = card["intervals"], card.get("calibrated"), card.get("selective")
    majority = percent(card["majority_accuracy"])
    items = [
        ("Mean accuracy, raw at 0.5", percent(card["mean_accuracy"]), (
            f"{between(sure['mean_accuracy'])}; majority {majority}"
        )),
        ("Balanced accuracy", percent(card["balanced_accuracy"]), (
            f"{between(sure['balanced_accuracy'])}; 50 is chance"
        )),
        ("Macro F1", percent(card["macro_f1"]), between(sure["macro_f1"])),
    ]  # fmt: skip
    if calibrated:
        beside = (
            f"{between(calibrated['ece_interval'])}; floor {percent(calibrated['ece_floor'])}, raw "
            f"{percent(calibrated['ece_raw'])}"
        )
        items.append(("Calibration error", percent(calibrated["ece"]), beside))
    if selective:
        beside = (
            f"{between(selective['coverage_interval'])}; right in {percent(selective['accuracy'])} "
            f"{between(selective['accuracy_interval'])}"
        )
        items.append(("Coverage with \u201ccannot tell\u201d", percent(selective["coverage"]), beside))
    items.append(("Mean AP", percent(card["mean_ap"]), "needs no threshold"))
    return items


def _unlabelled_figures(main: Predictions) -> list[tuple[str, str, str]]:
    said = labels_of(main, "shipped")[main.detected]
    faces = int(main.detected.sum())
    return [
        ("Faces", str(faces), f"{len(main) - faces} photos without one"),
        ("Answered yes", percent(float(said.mean()) if faces else None, 1), f"over {len(main.attributes)} attributes"),
        (
            "Between 0.4 and 0.6",
            percent(float(_unsure(main).mean()) if faces else None, 1),
            "answers that a little more or less would turn",
        ),
    ]


def _unsure(main: Predictions) -> Bool:
    probs = main.shipped[main.detected]
    return (probs > 0.4) & (probs < 0.6)


def _answer_rates(main: Predictions) -> tuple[Bool, Interval]:
    """Return the answers of the faces found (N,A) and the share of yes with its Wilson interval (A,); what was withheld
    is not counted."""
    found = main.found()
    given = np.ones(found.raw.shape, bool) if found.said is None else found.said >= 0
    said = labels_of(found, "shipped") & given
    return said, wilson(said.sum(0), given.sum(0))


def _answers_chart(main: Predictions) -> str:
    _, rate = _answer_rates(main)
    order = np.argsort(-np.nan_to_num(rate.estimate), kind="stable")
    mean = 100 * np.asarray(main.found().shipped.mean(0), np.float64)[order]
    series = {
        "answered yes": (100 * rate.estimate[order], 100 * rate.low[order], 100 * rate.high[order]),
        "mean probability": (mean, mean, mean),
    }  # fmt: skip
    names = [main.attributes[a] for a in order]
    svg = figures.intervals(
        "answers", names, series, "percent of faces", "Share of faces answered yes, and mean probability, per attribute"
    )
    note = (
        "Share answered yes with its 95 percent interval, beside the mean probability. Where the two part, answers and "
        "probabilities disagree."
    )
    return paragraphs([MISSING]) + chart(svg, note, tall=True)


def _answers_table(main: Predictions) -> str:
    said, rate = _answer_rates(main)
    found, unsure = main.found(), _unsure(main)
    rows = []
    for a, name in enumerate(main.attributes):
        pair = between([float(rate.low[a]), float(rate.high[a])], 1) if len(found) else ""
        withheld = "0.0" if found.said is None else percent(float(np.mean(found.said[:, a] < 0)), 1)
        cells = (
            str(int(said[:, a].sum())),
            percent(_known(rate.estimate[a]), 1),
            pair,
            percent(_known(found.shipped[:, a].mean()), 1),
        )
        rows.append((marked(name), *cells, percent(_known(unsure[:, a].mean()), 1), withheld))
    heads = ("attribute", "yes", "yes, %", "95 % interval", "mean probability, %", "0.4 to 0.6, %", "cannot tell, %")
    return table(f"Of {len(found)} faces. {AGREEMENT}", heads, rows)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _accuracy_chart(card: Mapping[str, Any]) -> str:
    rows = {name: row for name, row in card["attributes"].items() if row["accuracy"] is not None}
    order = sorted(rows, key=lambda name: rows[name]["accuracy"])
    right = wilson(
        [rows[name]["accuracy"] * rows[name]["images"] for name in order], [rows[name]["images"] for name in order]
    )
    majority = 100 * np.array([rows[name]["majority"] for name in order])
    series = {
        "the model": (100 * right.estimate, 100 * right.low, 100 * right.high), (
            "always the more common answer"
        ): (majority, majority, majority),
    }  # fmt: skip
    svg = figures.intervals(
        "right",
        order,
        series,
        "accuracy, percent",
        "Accuracy per attribute beside the more common answer, lowest first",
    )
    return chart(
        svg,
        "Accuracy with 95 percent intervals, lowest first. The distance to the more common answer is what the model "
        "adds.",
        tall=True,
    )


def _attributes(card: Mapping[str, Any]) -> str:
    heads = (
        "attribute",
        "accuracy",
        "majority",
        "TPR",
        "TNR",
        "balanced",
        "precision",
        "F1",
        "AP",
        "ECE",
        "floor",
        "positives",
    )
    keys = ("accuracy", "majority", "tpr", "tnr", "balanced_accuracy", "precision", "f1", "ap")
    errors = card.get("calibrated", {}).get("attributes", {})
    rows = []
    for name, row in card["attributes"].items():
        error, floor = (percent(errors.get(name, {}).get(key)) for key in ("ece", "ece_floor"))
        rows.append((marked(name), *(percent(row[key]) for key in keys), error, floor, str(row["positives"])))
    means = (
        card["mean_accuracy"],
        card["majority_accuracy"],
        None,
        None,
        card["balanced_accuracy"],
        None,
        card["macro_f1"],
        card["mean_ap"],
    )
    both = (percent(card.get("calibrated", {}).get(key)) for key in ("ece", "ece_floor"))
    last = ("mean", *(percent(value) for value in means), *both, "")
    note = (
        f"Raw sigmoid at 0.5, percent; floor: what the calibration error of perfect probabilities would be. {AGREEMENT}"
    )
    return table(note, heads, rows, last=last)


def _reliability_chart(main: Predictions) -> str:
    found = main.found()
    series = [found.raw] if found.probs is None else [found.raw, found.probs]
    curves = {
        name: [reliability_1d(probs[found.known[:, a], a], found.targets[found.known[:, a], a]) for probs in series]
        for a, name in enumerate(found.attributes)
    }
    svg = figures.reliability_grid(curves, ["raw sigmoid", "calibrated"])
    return chart(
        svg,
        "Fifteen bins of equal numbers of images; on the dotted line the probability is the share of true yes.",
        wide=True,
    )


def _risk(main: Predictions) -> Float64:
    """Return the error rate (A, coverages) of the surest share of answers."""
    found = main.found()
    thresholds = (decision_in(main.meta) or Decision()).threshold_vector(found.attributes)
    return np.stack([
        coverage_risk_1d(found.shipped[found.known[:, a], a], found.targets[found.known[:, a], a],
        min(max(float(t), 1e-6), 1 - 1e-6), COVERAGES)
        for a, t in enumerate(thresholds)
    ])  # fmt: skip


def _coverage_chart(main: Predictions) -> str:
    mean = 100 * (1 - np.asarray(mean_of_known(_risk(main), 0)))
    svg = figures.lines("coverage", 100 * COVERAGES, {"mean accuracy of the answers given": mean},
    "share answered within each attribute, percent",
                        "accuracy, percent", "Mean accuracy against the share of faces answered")  # fmt: skip
    return chart(svg, "The least certain answers are left out first, within each attribute.")


def _coverage_table(main: Predictions) -> str:
    risk = _risk(main)
    heads = ("attribute", *(f"{100 * c:.0f} %" for c in COVERAGES))
    rows = [
        (marked(name), *(percent(None if np.isnan(r) else 1 - r) for r in risk[a]))
        for a, name in enumerate(main.attributes)
    ]
    mean = 1 - np.asarray(mean_of_known(risk, 0))
    return table("Accuracy at each coverage, percent", heads, rows, last=("mean", *(percent(value) for value in mean)))


def _consistency(card: Mapping[str, Any], labelled: bool) -> str:
    both = card["consistency"]
    heads = ("rule", "independent", "consistent", *(("in the labels",) if labelled else ()))
    rows = []
    for rule, rate in both["violations"].items():
        cells = [rule.replace("_", " "), percent(rate), percent(both["violations_consistent"][rule])]
        rows.append((*cells, percent(both["violations_in_targets"].get(rule))) if labelled else tuple(cells))
    inner = table("Faces that break a rule, percent", heads, rows)
    if not labelled:
        return inner
    text = (
        f"Accuracy {percent(both['accuracy'], 3)} with independent thresholds, "
        f"{percent(both['accuracy_consistent'], 3)} decoded consistently."
    )
    return inner + paragraphs([text])


def _cohort_chart(document: Mapping[str, Any], most: int = 12) -> str:
    rate = leading_rate(document)
    names = [name for name in document["by_gap"][rate] if document["gaps"][name][f"{rate}_gap"] is not None][:most]
    text = paragraphs([audit_sentence(document)])
    if not names:
        return text
    series = {name: _rate(cohort, rate, names) for name, cohort in document["cohorts"].items()}
    svg = figures.intervals(
        f"cohort-{rate}", names, series, f"{RATES[rate]}, percent", f"{RATES[rate]} of each cohort, widest gaps first"
    )
    note = (
        f"The {len(names)} widest gaps; dots with intervals that hold for all cohorts at once. Rates that rest on "
        "fewer than "
    )
    return text + chart(svg, f"{note}{document['least_images']} images are not drawn.", tall=True)


def _rate(cohort: Mapping[str, Any], rate: str, names: Sequence[str]) -> tuple[Float64, Float64, Float64]:
    rows = [cohort["attributes"][name] for name in names]
    cells = [(row[rate], *row[f"{rate}_interval"]) if row[f"{rate}_judged"] else (None, None, None) for row in rows]
    values = 100 * np.array(cells, np.float64)
    return values[:, 0], values[:, 1], values[:, 2]


def _protocol(card: Mapping[str, Any]) -> str:
    facts_of = {key: card.get(key) for key in ("model", "data", "images", "missing", "undetected", "protocol")}
    said = (
        "Thresholds and calibration in the card were fitted on the data it names; figures on that same data are not "
        "held out."
    )
    return paragraphs([said]) + f'<pre tabindex="0">{escape(json.dumps(facts_of, indent=1, ensure_ascii=False))}</pre>'


def _card(card: Mapping[str, Any]) -> str:
    """Return the model's card as a person reads it, and under it those of attributes that `teach` made, as they are."""
    inner = model_card.to_html(card) if "name" in card else ""
    if own := card.get("own"):
        inner += (
            "<h3>Attributes of your own</h3><pre "
            f'tabindex="0">{escape(json.dumps(own, indent=1, ensure_ascii=False))}</pre>'
        )
    return inner
