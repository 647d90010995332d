"""Comparisons as Rich tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from lineament.report.tables import AGREEMENT, marked, percent


def by_change(document: Mapping[str, Any]) -> list[str]:
    """Return attribute names by the size of their change, largest first; of equal ones in the model's order, those
    without data last."""
    rows = document["attributes"]
    return sorted(
        rows, key=lambda name: float("inf") if rows[name]["difference"] is None else -abs(rows[name]["difference"])
    )


def comparison_table(document: Mapping[str, Any]) -> Table:
    """Return A beside B: per attribute where labels exist, else how many answers flip."""
    flips = document["flips"]["attributes"]
    if not document["labelled"]:
        table = Table(
            "attribute", "yes to no", "no to yes", title="No labels: which answers flip from A to B", caption=AGREEMENT
        )
        for name, row in sorted(flips.items(), key=lambda pair: -sum(pair[1].values())):
            table.add_row(marked(name), str(row["yes_to_no"]), str(row["no_to_yes"]))
        return table
    table = Table(
        title=(
            f"B minus A, accuracy, percent; paired by {document['paired_by']}, largest first; intervals hold for all "
            "at once"
        ),
        caption=AGREEMENT,
    )
    for name in ("attribute", "A", "B", "difference", "95 % interval", "verdict", "flips"):
        table.add_column(name, justify="left" if name in ("attribute", "verdict") else "right")
    for name in by_change(document):
        row = document["attributes"][name]
        table.add_row(marked(name), *_difference(row), str(sum(flips[name].values())))
    table.add_section()
    for metric, row in document["mean"].items():
        table.add_row(f"mean {metric.replace('_', ' ')}", *_difference(row), "", style="bold")
    return table


def _difference(row: Mapping[str, Any]) -> tuple[str, ...]:
    between = "-" if row["low"] is None else f"{percent(row['low'])} .. {percent(row['high'])}"
    return percent(row["a"]), percent(row["b"]), percent(row["difference"]), between, row["verdict"] or "no data"


def comparison_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the one sentence a reader takes away, and what was left out."""
    lines = [
        f"A is {document['a'] or 'unnamed'}, B is {document['b'] or 'unnamed'}; {document['images']} faces; "
        f"{document['labels']} labels."
    ]
    if document["only_in_a"] or document["only_in_b"]:
        lines.append(f"Left out: {document['only_in_a']} faces only in A, {document['only_in_b']} only in B.")
    lines.append(f"{percent(document['flips']['share'])} percent of all answers flip.")
    if document["labelled"]:
        row = document["mean"]["accuracy"]
        lines.append(
            f"Mean accuracy: {row['verdict']} ({percent(row['difference'])} points, {percent(row['low'])} to "
            f"{percent(row['high'])}). "
            "Labels themselves are wrong by whole points; a real difference may still be about the annotators."
        )
    return lines
