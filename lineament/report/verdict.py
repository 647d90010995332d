"""The report's first screen: a verdict in plain sentences. How right, how sure, for whom worst, what changed since.

scorecard, audit, comparison -> (question, answer) x 4
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from lineament.report.audit_tables import audit_sentence
from lineament.report.tables import between, percent

WHY_NO_LABELS = "The file holds no labels (no target_ columns), so nobody can say how often the answers are right."


def verdict(
    card: Mapping[str, Any], audit: Mapping[str, Any] | None, comparison: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Return (question, answer) in the order in which a reader asks. audit, comparison: None where they were not asked
    for."""
    return [
        ("How right", how_right(card)),
        ("How sure", how_sure(card)),
        ("For whom worst", "Not asked: name cohorts with --by." if audit is None else audit_sentence(audit)),
        ("What changed since", what_changed(comparison)),
    ]


def as_html(answers: list[tuple[str, str]]) -> str:
    """Return the verdict as a definition list."""
    cells = [
        (escape(question), escape(answer.replace(" %", "\u00a0%").replace("_", " "))) for question, answer in answers
    ]
    return (
        '<dl class="verdict">'
        + "".join(f"<dt>{question}</dt><dd>{answer}</dd>" for question, answer in cells)
        + "</dl>"
    )


def how_right(card: Mapping[str, Any]) -> str:
    """Return how often answers are right, beside always giving the more common answer, and where they are worst."""
    if card["mean_accuracy"] is None:
        return WHY_NO_LABELS
    shown = card.get("fitted") or card
    pair = (
        card["fitted"].get("mean_accuracy_interval")
        if "fitted" in card
        else card.get("intervals", {}).get("mean_accuracy")
    )
    gains = [
        (row["balanced_accuracy"], name)
        for name, row in card["attributes"].items()
        if row["balanced_accuracy"] is not None
    ]
    worst = ""
    if gains:
        least, name = min(gains)
        worst = f" Weakest is {name}, with a balanced accuracy of {percent(least, 1)} %, where 50 % is chance."
    missed = (
        f" In {card['undetected']} of {card['images']} photos no face was found; they count as wrong."
        if card["undetected"]
        else ""
    )
    return (
        f"Of all answers {percent(shown['mean_accuracy'], 1)} % {between(pair, 1)} are right; always giving the more "
        "common answer would make "
        f"{percent(card['majority_accuracy'], 1)} %.{worst}{missed}"
    )


def how_sure(card: Mapping[str, Any]) -> str:
    """Return whether probabilities mean what they say, and what "cannot tell" buys."""
    if card["mean_accuracy"] is None:
        return (
            "Without labels probabilities cannot be checked either. How often yes is said, and how near the threshold, "
            "is shown below."
        )
    parts = []
    if calibrated := card.get("calibrated"):
        pair = between(calibrated.get("ece_interval"), 1)
        near = calibrated["ece"] <= 2 * calibrated["ece_floor"]
        verdict = "about as close as a file of this size can show" if near else "further off than chance explains"
        parts.append(
            f"A stated probability is off by {percent(calibrated['ece'], 1)} points {pair} on average: {verdict} "
            f"({percent(calibrated['ece_floor'], 1)} would be perfect)."
        )
    else:
        parts.append(
            "The file holds no calibrated probabilities, only raw sigmoids: do not read them as probabilities."
        )
    if selective := card.get("selective"):
        told, right = (between(selective.get(f"{key}_interval"), 1) for key in ("coverage", "accuracy"))
        parts.append(
            f"Allowed to say \u201ccannot tell\u201d, the model answers {percent(selective['coverage'], 1)} % {told} "
            f"of the questions and is right in {percent(selective['accuracy'], 1)} % {right} of them."
        )
    return " ".join(parts)


def what_changed(comparison: Mapping[str, Any] | None) -> str:
    """Return what is different from an earlier prediction file; how to ask where none was given."""
    if comparison is None:
        return "Not asked: give an earlier prediction file of the same photos with --since."
    flips = f"{percent(comparison['flips']['share'], 1)} % of all answers differ from those of {comparison['a']}."
    if not comparison["labelled"]:
        return f"{flips} Without labels nobody can say which are better."
    mean = comparison["mean"]["accuracy"]
    words = {"B is better": "better", "A is better": "worse"}.get(
        mean["verdict"], "neither better nor worse: the difference is inside the noise"
    )
    moved = [name for name, row in comparison["attributes"].items() if row["verdict"] in ("A is better", "B is better")]
    single = (
        f" Outside the noise for {len(moved)} of {len(comparison['attributes'])} attributes: {', '.join(moved[:4])}."
        if moved
        else ""
    )
    pair = between([mean["low"], mean["high"]], 2)
    return f"{flips} On average the answers are {words} ({percent(mean['difference'], 2)} points {pair}).{single}"
