"""Self-contained HTML pages: one file, no network, light and dark, usable by keyboard and screen reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lineament.report import figures
from lineament.report.audit_tables import (
    audit_lines,
    audit_sentence,
    gap_rows,
    lead_heads,
    lead_rows,
    leading_rate,
    short_rate,
    shown_rates,
)
from lineament.report.comparison_tables import by_change, comparison_lines
from lineament.report.style import SORT
from lineament.report.tables import AGREEMENT, marked, percent
from lineament.visual.stylesheet import BRAND, base_css


class Html(str):
    """A table cell that is HTML already; every other cell is text and is escaped."""


def _escaped(cell: str) -> str:
    return str(cell) if isinstance(cell, Html) else escape(cell)


def page(title: str, lead: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Return a whole page. sections: (id, heading, inner HTML); `title` and `lead` are plain text."""
    links = "".join(f'<li><a href="#{key}">{escape(heading)}</a></li>' for key, heading, _ in sections)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{escape(heading)}</h2>{inner}</section>'
        for key, heading, inner in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style>{base_css()}</style></head><body class="doc">'
        f'<a class="skip" href="#main">Skip to the content</a><header>{BRAND}<h1>{escape(title)}</h1><p '
        f'class="quiet">{escape(lead)}</p>'
        '<nav aria-label="Sections"><details '
        f'class="contents"><summary>Contents</summary><ul>{links}</ul></details></nav></header>'
        f'<main id="main">{body}</main>'
        '<footer><p class="quiet">Made by Lineament. This file is complete: it loads '
        f"nothing.</p></footer><script>{SORT}</script></body></html>\n"
    )


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: int = 1,
    last: Sequence[str] | None = None,
) -> str:
    """Return a sortable table. The first cell of a row is its header; the first `words` columns are text; `last` is a
    closing row (means)."""
    kind = ['<th scope="col" class="word">' if column < words else '<th scope="col">' for column in range(len(heads))]
    head = "".join(
        f'{cell}<button type="button">{escape(name)}</button></th>' for cell, name in zip(kind, heads, strict=True)
    )

    def line(cells: Sequence[str]) -> str:
        kinds = ['class="word"' if column < words else "" for column in range(len(cells))]
        return f'<th scope="row">{_escaped(cells[0])}</th>' + "".join(
            f"<td {kind}>{_escaped(cell)}</td>" for cell, kind in zip(cells[1:], kinds[1:], strict=True)
        )

    body = "".join(f"<tr>{line(row)}</tr>" for row in rows)
    foot = f'<tfoot><tr class="mean">{line(last)}</tr></tfoot>' if last else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table '
        f'class="sortable"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table></div>"
    )


def facts(items: Sequence[tuple[str, str, str]]) -> str:
    """Return headline figures: (name, value, what it stands beside)."""
    cells = "".join(
        f"<div><dt>{escape(n)}</dt><dd>{escape(v)}<small>{escape(beside)}</small></dd></div>" for n, v, beside in items
    )
    return f'<dl class="facts">{cells}</dl>'


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a small table that is not sorted: (heads), then text rows whose first cell is the row's header."""
    head = "".join(f'<th scope="col" class="word">{escape(name)}</th>' if name else "<td></td>" for name in heads)
    body = "".join(
        f'<tr><th scope="row" class="word">{escape(row[0])}</th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    around = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(heads[0])}">'
    return f"{around}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def terms_list(terms: Sequence[tuple[str, str]]) -> str:
    """Return (term, text) pairs as a list."""
    return (
        "<ul>" + "".join(f"<li><strong>{escape(term)}</strong>: {escape(text)}</li>" for term, text in terms) + "</ul>"
    )


def chart(svg: str, caption: str, *, wide: bool = False, tall: bool = False) -> str:
    """Return a figure with its caption; `svg` comes from `report.figures`. wide, tall: on a phone it scrolls sideways,
    its caption does not."""
    inner = (
        f'<div class="wide-chart" tabindex="0" role="region" aria-label="Chart: {escape(caption)}">{svg}</div>'
        if wide or tall
        else svg
    )
    kind = ' class="tall"' if tall else ""
    return f"<figure{kind}>{inner}<figcaption>{escape(caption)}</figcaption></figure>"


def paragraphs(sentences: Sequence[str]) -> str:
    """Return sentences as paragraphs."""
    return "".join(f"<p>{escape(text)}</p>" for text in sentences)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def comparison_page(document: Mapping[str, Any]) -> str:
    """Return the page of `evaluation.compare.compare`'s result."""
    flips = document["flips"]
    sections = [("summary", "In short", paragraphs(comparison_lines(document)))]
    if document["labelled"]:
        sections.append(("attributes", "Who is better", difference_tables(document)))
    else:
        sections.append(("flips", "Which answers flip", difference_tables(document)))
    largest = [
        (
            r["file"],
            marked(r["attribute"]),
            f"{r['a']:.3f}",
            f"{r['b']:.3f}",
            {None: "-", 0: "no", 1: "yes"}[r["target"]],
        )
        for r in flips["largest"][:100]
    ]
    sections.append(
        (
            "largest",
            "Largest flips",
            table("Probability under A and B", ("file", "attribute", "A", "B", "label"), largest, words=2),
        )
    )
    return page(
        f"{document['a']} against {document['b']}",
        f"{document['images']} faces, {document['labels']} labels.",
        sections,
    )


def difference_tables(document: Mapping[str, Any]) -> str:
    """Return what changed from A to B: a chart and a table of differences where there are labels, and which answers
    flip; largest first."""
    flips = document["flips"]["attributes"]
    inner = ""
    if document["labelled"]:
        rows = {name: document["attributes"][name] for name in by_change(document)}
        parts = [100 * np.array([_or_nan(row[key]) for row in rows.values()]) for key in ("difference", "low", "high")]
        svg = figures.intervals(
            "differences", list(rows), {"B minus A": (parts[0], parts[1], parts[2])}, "accuracy, points",
            "Accuracy of B minus A per attribute, largest change first", zero=True,
        )  # fmt: skip
        means = {f"mean {metric.replace('_', ' ')}": row for metric, row in document["mean"].items()}
        cells = [(marked(name), *_difference_cells(row)) for name, row in {**rows, **means}.items()]
        note = (
            f"A: {document['a']}, B: {document['b']}. Intervals hold for all attributes at once, 95 percent; those "
            "that cross the line are "
        )
        inner += chart(svg, f"{note}inside the noise.", tall=True)
        inner += table(
            f"Percent, largest change first. {AGREEMENT}",
            ("attribute", "A", "B", "B minus A", "low", "high", "verdict"),
            cells,
        )
    order = sorted(flips, key=lambda name: -(flips[name]["yes_to_no"] + flips[name]["no_to_yes"]))
    counts = [(marked(name), str(flips[name]["yes_to_no"]), str(flips[name]["no_to_yes"])) for name in order]
    return inner + table("Faces whose answer differs, most first", ("attribute", "yes to no", "no to yes"), counts)


def _difference_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*(percent(row[key]) for key in ("a", "b", "difference", "low", "high")), row["verdict"] or "no data")


def audit_tables(document: Mapping[str, Any], rate: str | None = None) -> str:
    """Return an audit's two tables as HTML: who is worst, widest gap first; and the cohorts of each gap."""
    lead = leading_rate(document, rate)
    caption = (
        f"Percent: rate [interval that holds for all {len(document['cohorts'])} cohorts at once] of how many. + : the "
        "gap is outside the noise."
    )
    first = table(
        caption,
        ("attribute", "gap", *lead_heads(lead)),
        [_two_line_cells(row) for row in lead_rows(document, lead)],
        words=9,
    )
    heads = ("attribute", *(f"{short_rate(one)} gap" for one in shown_rates(document)))
    note = f"Points, and between whom; the cohort with the higher rate is named first. {AGREEMENT}"
    return (
        first
        + "<h3>The cohorts of each gap</h3>"
        + table(note, heads, [_two_line_cells(row) for row in gap_rows(document, lead)], words=9)
    )


def _two_line_cells(cells: Sequence[str]) -> list[str]:
    """Return cells in which what follows a newline stands small on a line of its own."""
    made = []
    for cell in cells:
        head, _, rest = cell.partition("\n")
        made.append(Html(f"{escape(head)}<small>{escape(rest)}</small>") if rest else cell)
    return made


def audit_page(document: Mapping[str, Any]) -> str:
    """Return the page of `evaluation.audit.audit`'s result."""
    sections = [
        ("verdict", "For whom it is worst", paragraphs([audit_sentence(document)])),
        ("cohorts", "Cohorts", audit_tables(document, document.get("rate"))),
        ("counted", "Who was counted", paragraphs(audit_lines(document))),
    ]
    by = ", ".join(document.get("by", ()))
    return page(
        f"Audit of {document['model'] or 'a prediction file'}",
        f"{document['images']} faces, cohorts by {by}.",
        sections,
    )
