"""`lineament report`: one prediction file (and others beside it) as one HTML page.

Predictions -> scorecard, curves, cohorts, examples, maps -> sections -> page
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lineament.decision.layer import Decision
from lineament.evaluation.audit import RATES, audit, join
from lineament.evaluation.compare import labels_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import decision_in, scorecard
from lineament.metrics.calibration import reliability_1d
from lineament.metrics.counts import mean_of_known
from lineament.metrics.selective import coverage_risk_1d
from lineament.report import figures
from lineament.report.audit_tables import audit_sentence
from lineament.report.overlays import Overlays
from lineament.report.pages import audit_tables, chart, facts, page, paragraphs, table
from lineament.report.tables import AGREEMENT, marked, percent, scorecard_lines
from lineament.types import Float64
from lineament.visual.contact_sheet import fitted

THUMBNAIL = (178, 218)
COVERAGES = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5])


@dataclass(frozen=True)
class Extras:
    """What a report may show beside the numbers: cohorts (table, columns), images for confusion examples, where the network looks, its card."""

    cohorts: str | None = None
    by: Sequence[str] = ()
    images: Path | None = None
    examples: int = 4
    looked: Mapping[str, Overlays] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None


def report_page(files: Sequence[tuple[str, Predictions]], extras: Extras | None = None) -> str:
    """Return the page. files: (name, predictions), the first reported in full, the others beside it in the summary."""
    more = extras or Extras()
    name, main = files[0]
    cards = [(label, scorecard(p, decision=decision_in(p.meta), **_about(label, p))) for label, p in files]
    card = cards[0][1]
    sections = [("summary", "Summary", _summary(cards)), ("attributes", "Per attribute", _attributes(card))]
    if main.labelled:
        sections += [("calibration", "Do the probabilities mean what they say?", _reliability(main, card))]
        sections += [("abstaining", "Answering less, erring less", _coverage(main))]
    sections.append(("consistency", "Answers that can be true together", _consistency(card)))
    if more.by:
        sections.append(("cohorts", "Cohorts", _cohorts(main, more)))
    if more.images is not None and main.labelled:
        sections.append(("examples", "Confident and wrong", _examples(main, more)))
    if more.looked:
        sections.append(("maps", "Where the network looks", _maps(more.looked)))
    sections.append(("protocol", "Protocol and card", _protocol(card, more.card)))
    return page(f"Report: {card.get('model') or name}", f"{card['data'] or name}; {card['images']} images.", sections)


def _about(label: str, predictions: Predictions) -> dict[str, Any]:
    meta = predictions.meta
    kept = {key: meta[key] for key in ("missing", "protocol", "fitted_on") if key in meta}
    return {"model": meta.get("model") or label, "data": meta.get("data") or f"{label}@{predictions.fingerprint()}", **kept}


def _summary(cards: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    card = cards[0][1]
    calibrated = card.get("calibrated")
    items = [
        ("Mean accuracy", percent(card["mean_accuracy"]), f"always the more common answer: {percent(card['majority_accuracy'])}"),
        ("Balanced accuracy", percent(card["balanced_accuracy"]), "50 is chance"),
        ("Macro F1", percent(card["macro_f1"]), "at 0.5"),
        ("Mean AP", percent(card["mean_ap"]), "threshold-free"),
    ]
    if calibrated:
        beside = f"floor {percent(calibrated['ece_floor'])}, raw {percent(calibrated['ece_raw'])}"
        items.append(("Calibration error", percent(calibrated["ece"]), beside))
    inner = facts(items) + paragraphs(scorecard_lines(card))
    if len(cards) > 1:
        keys = ("mean_accuracy", "majority_accuracy", "balanced_accuracy", "macro_f1", "mean_ap")
        rows = [(str(one["model"]), str(one["images"]), *(percent(one[key]) for key in keys)) for _, one in cards]
        inner += table("Every file given, percent", ("file", "images", "accuracy", "majority", "balanced", "F1", "AP"), rows)
        inner += paragraphs(["Differences between files need a paired test: lineament compare A B."])
    return inner


def _attributes(card: Mapping[str, Any]) -> str:
    heads = ("attribute", "accuracy", "majority", "TPR", "TNR", "balanced", "precision", "F1", "AP", "ECE", "floor", "positives")
    keys = ("accuracy", "majority", "tpr", "tnr", "balanced_accuracy", "precision", "f1", "ap")
    errors = card.get("calibrated", {}).get("attributes", {})
    rows = []
    for name, row in card["attributes"].items():
        error, floor = (percent(errors.get(name, {}).get(key)) for key in ("ece", "ece_floor"))
        rows.append((marked(name), *(percent(row[key]) for key in keys), error, floor, str(row["positives"])))
    means = (card["mean_accuracy"], card["majority_accuracy"], None, None, card["balanced_accuracy"], None, card["macro_f1"], card["mean_ap"])
    both = (percent(card.get("calibrated", {}).get(key)) for key in ("ece", "ece_floor"))
    last = ("mean", *(percent(value) for value in means), *both, "")
    note = f"Raw sigmoid at 0.5, percent; floor: what the calibration error of perfect probabilities would be. {AGREEMENT}"
    return table(note, heads, rows, last=last)


def _reliability(main: Predictions, card: Mapping[str, Any]) -> str:
    found = main.found()
    series = [found.raw] if found.probs is None else [found.raw, found.probs]
    curves = {
        name: [reliability_1d(probs[found.known[:, a], a], found.targets[found.known[:, a], a]) for probs in series]
        for a, name in enumerate(found.attributes)
    }
    svg = figures.reliability_grid(curves, ["raw sigmoid", "calibrated"])
    inner = chart(svg, "Fifteen bins of equal numbers of images; on the dotted line the probability is the share of true yes.")
    if rows := card.get("calibrated", {}).get("attributes"):
        cells = []
        for name, row in rows.items():
            brier = "-" if row["brier"] is None else f"{row['brier']:.4f}"
            cells.append((marked(name), percent(row["ece"]), percent(row["ece_floor"]), brier))
        caption = "Calibration error, percent; floor: what perfectly calibrated predictions of this size show"
        inner += table(caption, ("attribute", "ECE", "floor", "Brier"), cells)
    return inner


def _coverage(main: Predictions) -> str:
    found = main.found()
    thresholds = (decision_in(main.meta) or Decision()).threshold_vector(found.attributes)
    risk = np.stack([
        coverage_risk_1d(found.shipped[found.known[:, a], a], found.targets[found.known[:, a], a], min(max(float(t), 1e-6), 1 - 1e-6), COVERAGES)
        for a, t in enumerate(thresholds)
    ])  # fmt: skip
    mean = 100 * (1 - np.asarray(mean_of_known(risk, 0)))
    svg = figures.lines("coverage", 100 * COVERAGES, {"mean accuracy of the answers given": mean}, "share answered within each attribute, percent",
                        "accuracy, percent", "Mean accuracy against the share of faces answered")  # fmt: skip
    heads = ("attribute", *(f"{100 * c:.0f} %" for c in COVERAGES))
    rows = [(marked(name), *(percent(None if np.isnan(r) else 1 - r) for r in risk[a])) for a, name in enumerate(found.attributes)]
    last = ("mean", *(percent(value / 100) for value in mean))
    inner = chart(svg, "The least certain answers are left out first, within each attribute.")
    return inner + table("Accuracy at each coverage, percent", heads, rows, last=last)


def _consistency(card: Mapping[str, Any]) -> str:
    both = card["consistency"]
    rows = [
        (rule.replace("_", " "), percent(rate), percent(both["violations_consistent"][rule]), percent(both["violations_in_targets"].get(rule)))
        for rule, rate in both["violations"].items()
    ]
    text = f"Accuracy {percent(both['accuracy'], 3)} with independent thresholds, {percent(both['accuracy_consistent'], 3)} decoded consistently."
    return table("Faces that break a rule, percent", ("rule", "independent", "consistent", "in the labels"), rows) + paragraphs([text])


def _cohorts(main: Predictions, more: Extras) -> str:
    document = audit(join(main, more.cohorts, list(more.by)))
    inner = paragraphs([
        f"{document['without_cohort']} faces without a cohort are left out. Intervals hold for all cohorts at once; rates that rest on fewer than "
        f"{document['least_images']} images are not drawn.",
    ])  # fmt: skip
    for rate in RATES if main.labelled else ("answer_rate",):
        series = {name: _rate(cohort, rate) for name, cohort in document["cohorts"].items()}
        if all(np.isnan(parts[0]).all() for parts in series.values()):
            continue
        words = rate.replace("_", " ")
        svg = figures.intervals(
            f"cohort-{rate}", [marked(name) for name in main.attributes], series, f"{words}, percent", f"{words} of each cohort per attribute"
        )
        inner += f"<details><summary>{escape(words)} per cohort</summary>{chart(svg, 'Dots with 95 percent intervals.')}</details>"
    return paragraphs([audit_sentence(document)]) + audit_tables(document) + inner


def _rate(cohort: Mapping[str, Any], rate: str) -> tuple[Float64, Float64, Float64]:
    rows = cohort["attributes"].values()
    cells = [(row[rate], *row[f"{rate}_interval"]) if row[f"{rate}_judged"] else (None, None, None) for row in rows]
    values = 100 * np.array(cells, np.float64)
    return values[:, 0], values[:, 1], values[:, 2]


def _tile(image: Image.Image, caption: str) -> str:
    out = BytesIO()
    image.save(out, "JPEG", quality=80)
    data = b64encode(out.getvalue()).decode()
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def _examples(main: Predictions, more: Extras) -> str:
    folder = more.images or Path()
    wrong = (labels_of(main, "shipped") != main.targets.astype(bool)) & main.known & main.detected[:, None]
    blocks = []
    for a, name in enumerate(main.attributes):
        tiles = []
        for said, words in ((1, "said yes, label no"), (0, "said no, label yes")):
            sure = main.shipped[:, a] if said else 1 - main.shipped[:, a]
            rows = np.flatnonzero(wrong[:, a] & (main.targets[:, a] != said))
            for row in rows[np.argsort(-sure[rows], kind="stable")][: more.examples]:
                tiles.append(_tile(fitted(folder / main.files[row], THUMBNAIL), f"{main.files[row]}: {words}, prob {main.shipped[row, a]:.2f}"))
        blocks.append(f'<details><summary>{escape(marked(name))}</summary><div class="tiles">{"".join(tiles)}</div></details>')
    return paragraphs(["The most confident wrong answers. Some of the labels are wrong instead."]) + "".join(blocks)


def _maps(looked: Mapping[str, Overlays]) -> str:
    rows, tiles = [], []
    for name, one in looked.items():
        share = None if np.isnan(one.share) else one.share
        times = "-" if share is None else f"{share / max(one.chance, 1e-9):.1f}"
        rows.append((marked(name), str(one.examples), percent(share), percent(one.chance), times))
        if one.overlay is not None:
            tiles.append(_tile(Image.fromarray(one.overlay).resize((112, 137)), f"{name}: {percent(share, 0)} % inside"))
    heads = ("attribute", "examples", "inside its region", "area of the region", "times chance")
    text = "Energy of the map inside the region the attribute belongs to, on faces answered yes. Red: what speaks for yes."
    return f'<div class="tiles">{"".join(tiles)}</div>' + table(text, heads, rows)


def _protocol(card: Mapping[str, Any], model_card: Mapping[str, Any] | None) -> str:
    facts_of = {key: card.get(key) for key in ("model", "data", "images", "missing", "undetected", "protocol")}
    said = "Thresholds and calibration in the card were fitted on the data it names; figures on that same data are not held out."
    inner = paragraphs([said])
    inner += f"<pre>{escape(json.dumps(facts_of, indent=1, ensure_ascii=False))}</pre>"
    if model_card is not None:
        inner += f"<details><summary>Model card</summary><pre>{escape(json.dumps(model_card, indent=1, ensure_ascii=False))}</pre></details>"
    return inner


def looked_at(main: Predictions, images: Path, network: Any, crop_of: Callable[[Path], Any], examples: int = 48) -> dict[str, Overlays]:
    """Return where a network with maps looks, on evenly spaced images of the file; empty for a network without maps."""
    from lineament.report.overlays import overlays_of

    about = network.card.document.get("maps")
    if not about:
        return {}
    rows = np.unique(np.linspace(0, len(main) - 1, min(examples, len(main))).astype(int))
    crops = [crop_of(images / main.files[row]) for row in rows if (images / main.files[row]).is_file()]
    return overlays_of(crops, network.with_maps, about["of"], network.card.attributes)
