"""Audits as people read them: for whom it is worst, in the terminal and in HTML.

audit document -> per attribute: gap, worst cohort, the next to it, the best, widest gap first -> the cohorts of every
gap
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from lineament.errors import UsageError
from lineament.report.tables import AGREEMENT, marked, percent

RATES: Mapping[str, str] = {
    "tpr": "true yes found (TPR)", "fpr": "false alarms (FPR)", "accuracy": "right answers (accuracy)",
    "answer_rate": "answered yes",
}  # fmt: skip
_SHORT: Mapping[str, str] = {"tpr": "TPR", "fpr": "FPR", "accuracy": "accuracy", "answer_rate": "answered yes"}
OUTSIDE = "+: the gap is outside the noise."


def leading_rate(document: Mapping[str, Any], wanted: str | None = None) -> str:
    """Return the rate to lead with: the one asked for, else TPR where there are labels and the share of yes where there
    are none.

    Raises: UsageError for a rate that does not exist, or that needs labels where there are none.
    """
    if wanted is None:
        return "tpr" if document["labelled"] else "answer_rate"
    if wanted not in RATES:
        raise UsageError(f"Unknown --rate {wanted!r}. Use one of: {', '.join(RATES)}.")
    if wanted != "answer_rate" and not document["labelled"]:
        raise UsageError(
            f"--rate {wanted} needs labels, and there are none. Leave it out, or give predictions with target_ columns."
        )
    return wanted


def shown_rates(document: Mapping[str, Any]) -> list[str]:
    """Return the rates that there is something to say about."""
    return [rate for rate in RATES if document["labelled"] or rate == "answer_rate"]


def lead_heads(rate: str) -> tuple[str, str, str]:
    """Return what the ends of a rate are called; an answer rate has no worse and better."""
    return ("lowest", "next", "highest") if rate == "answer_rate" else ("worst", "next to it", "best")


def short_rate(rate: str) -> str:
    """Return a rate's name as column headings have it."""
    return _SHORT[rate]


def _cell(row: Mapping[str, Any] | None, newline: str = "\n") -> str:
    """Return "Male=no{newline}81.2 [78.0, 84.1] of 412"."""
    if row is None:
        return ""
    low, high = row["interval"]
    return f"{row['cohort']}{newline}{percent(row['rate'], 1)} [{percent(low, 1)}, {percent(high, 1)}] of {row['size']}"


def _gap(row: Mapping[str, Any], rate: str) -> str:
    return percent(row[f"{rate}_gap"], 1) + ("\u00a0+" if row.get(f"{rate}_gap_low") else "")


def _between(row: Mapping[str, Any], rate: str, newline: str = "\n") -> str:
    """Return the gap and whom it is between, the higher rate first."""
    names = row.get(f"{rate}_between") or row.get(f"{rate}_gap_between")
    return _gap(row, rate) + (f"{newline}{names[0]} over {names[1]}" if names else "")


def lead_rows(document: Mapping[str, Any], rate: str, newline: str = "\n") -> list[tuple[str, ...]]:
    """Return (attribute, gap, worst, next, best) per attribute, widest gap first."""
    rows = []
    for name in document["by_gap"][rate]:
        row = document["gaps"][name]
        ends = row.get(f"{rate}_cohorts") or {"worst": None, "next": None, "best": None}
        rows.append((marked(name), _gap(row, rate), *(_cell(ends[key], newline) for key in ("worst", "next", "best"))))
    return rows


def gap_rows(document: Mapping[str, Any], rate: str, newline: str = "\n") -> list[tuple[str, ...]]:
    """Return (attribute, the gap of each rate with its two cohorts) per attribute, in the order of the leading rate."""
    rates = shown_rates(document)
    return [
        (marked(name), *(_between(document["gaps"][name], one, newline) for one in rates))
        for name in document["by_gap"][rate]
    ]


def audit_table(document: Mapping[str, Any], rate: str | None = None) -> Group:
    """Return two tables: who is worst, widest gap first; and the cohorts of each gap."""
    lead = leading_rate(document, rate)
    first = Table(
        title=f"For whom: {RATES[lead]} in {len(document['cohorts'])} cohorts, percent, widest gap first",
        caption=f"Rate [interval that holds for all cohorts at once] of how many. {OUTSIDE}", show_lines=False,
        padding=(0, 1),
    )  # fmt: skip
    for heading in ("attribute", "gap", *lead_heads(lead)):
        first.add_column(heading, justify="right" if heading == "gap" else "left")
    for cells in lead_rows(document, lead):
        first.add_row(*cells, end_section=False)
    second = Table(
        title="The cohorts of each gap, points; the higher rate is named first", caption=f"{OUTSIDE} {AGREEMENT}"
    )
    for heading in ("attribute", *(f"{short_rate(one)} gap" for one in shown_rates(document))):
        second.add_column(heading)
    for cells in gap_rows(document, lead):
        second.add_row(*cells)
    return Group(first, second)


def audit_lines(document: Mapping[str, Any]) -> list[str]:
    """Return who was counted, who was not, who is too few to judge, and what calibration rests on."""
    cohorts = document["cohorts"]
    sizes = "; ".join(
        f"{name}: {row['images']} ({percent(row['undetected'], 1)} % "
        f"[{', '.join(percent(v, 1) for v in row['undetected_interval'])}] without a face)"
        for name, row in cohorts.items()
    )
    small = [name for name, row in cohorts.items() if row["images"] < document["least_images"]]
    lines = [
        f"{document['images']} faces in cohorts, joined by {document['joined_by']}. {document['without_cohort']} faces "
        "have no cohort, "
        f"{document['without_prediction']} rows of the table have no prediction.",
        sizes,
    ]
    if small:
        lines.append(f"Too small to judge (fewer than {document['least_images']} images): {', '.join(small)}.")
    if not document["labelled"]:
        lines.append(
            "There are no labels, so nothing here says who is answered wrongly. Calibration per cohort is by class "
            "rates only: the mean "
            "probability minus the share of yes (mean_prob_minus_answer_rate in the JSON). " + _furthest(document)
        )
    return lines


def _furthest(document: Mapping[str, Any]) -> str:
    """Return the cohort and attribute whose mean probability is furthest from its share of yes, as a sentence."""
    all_rows = [
        (abs(row["mean_prob_minus_answer_rate"]), name, attribute, row)
        for name, cohort in document["cohorts"].items()
        for attribute, row in cohort["attributes"].items()
        if row["mean_prob_minus_answer_rate"] is not None and row["answer_rate_judged"]
    ]
    if not all_rows:
        return ""
    _, name, attribute, row = max(all_rows, key=lambda one: one[0])
    return (
        f"Furthest apart: {attribute} in {name}, mean probability {percent(row['mean_prob'], 1)}, yes "
        f"{percent(row['answer_rate'], 1)}."
    )


def audit_sentence(document: Mapping[str, Any]) -> str:
    """Return the one sentence a reader takes away: the widest gap that is outside the noise, between whom, or that
    there is none."""
    rate = leading_rate(document)
    for name in document["by_gap"][rate]:
        row = document["gaps"][name]
        if row.get(f"{rate}_gap_low"):
            worst, best = (row[f"{rate}_cohorts"][key] for key in ("worst", "best"))
            if rate == "answer_rate":
                return (
                    f"{name} is answered yes {percent(worst['rate'], 1)} % of the time for {worst['cohort']} and "
                    f"{percent(best['rate'], 1)} % "
                    f"for {best['cohort']}; without labels nobody knows which is right."
                )
            return (
                f"Worst for {worst['cohort']}: of {worst['size']} faces with a true yes for {name}, "
                f"{percent(worst['rate'], 1)} % "
                f"[{percent(worst['interval'][0], 1)}, {percent(worst['interval'][1], 1)}] are found; "
                f"best for {best['cohort']}: {percent(best['rate'], 1)} % of {best['size']}."
            )
    return f"Between the {len(document['cohorts'])} cohorts no gap is outside the noise."
