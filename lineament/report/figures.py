"""Charts as inline SVG that follow the page's colours, light or dark: matplotlib draws, the page's CSS paints.

Text stays text (readable aloud, selectable), colours become CSS variables, ids are unique per figure, and the same
numbers give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from textwrap import wrap
from typing import Any

import numpy as np

from lineament.errors import MissingExtraError
from lineament.offline import keep_matplotlib_out_of_home
from lineament.types import Float64

INK, SERIES = "#010101", ("#020201", "#020202", "#020203", "#020204")
_PAINT = {INK: "var(--ink)", "#030303": "var(--line)"} | {colour: f"var(--c{n})" for n, colour in enumerate(SERIES, 1)}
_GRID = "#030303"


def _pyplot() -> Any:
    keep_matplotlib_out_of_home()
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "viz") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "lineament", "font.size": 9, "font.family": "sans-serif",
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": _GRID,
        "axes.axisbelow": True, "axes.titlesize": 8, "axes.titlepad": 3, "legend.frameon": False,
    })  # fmt: skip
    import matplotlib.pyplot as plt

    return plt


def _svg(plt: Any, figure: Any, name: str, description: str) -> str:
    """Return the figure as an <svg> element with a description for screen readers; closes the figure."""
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in _PAINT.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{escape(description)}">',
        svg,
        count=1,
    )
    return svg


def reliability_grid(
    curves: Mapping[str, Sequence[tuple[Float64, Float64]]], labels: Sequence[str], columns: int = 6
) -> str:
    """Return small reliability curves, one per attribute. curves: name -> per series (mean prob (B,), share of true yes
    (B,))."""
    plt = _pyplot()
    rows = max(1, -(-len(curves) // columns))
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.45 * columns, 1.62 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axis in axes.ravel():
        axis.set_visible(False)
    for axis, (name, series) in zip(axes.ravel(), curves.items(), strict=False):
        axis.set_visible(True)
        axis.plot([0, 1], [0, 1], color=INK, lw=0.6, ls=":")
        for (said, true), colour, label in zip(series, SERIES, labels, strict=False):
            axis.plot(said, true, color=colour, lw=1.2, marker="o", ms=2, label=label)
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], title=_two_lines(name))
    figure.legend(*axes.ravel()[0].get_legend_handles_labels(), loc="lower center", ncols=len(labels))
    figure.tight_layout(rect=(0, 0.45 / (1.62 * rows), 1, 1), pad=0.4)
    return _svg(
        plt,
        figure,
        "reliability",
        "Reliability curves per attribute: mean probability said, across; share of true yes, up. The numbers are in "
        "the table.",
    )


def _two_lines(name: str, width: int = 16) -> str:
    """Return an attribute's name broken between words, never within one."""
    return "\n".join(wrap(name.replace("_", " "), width, break_long_words=False, break_on_hyphens=False))


def lines(name: str, x: Float64, series: Mapping[str, Float64], x_label: str, y_label: str, description: str) -> str:
    """Return a line chart; each series is (len(x),)."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 3.2))
    for (label, values), colour, style in zip(series.items(), SERIES * 4, ("-", "--", "-.", ":") * 4, strict=False):
        axis.plot(x, values, color=colour, ls=style, marker="o", ms=3, label=label)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.legend()
    figure.tight_layout()
    return _svg(plt, figure, name, description)


def intervals(
    name: str,
    rows: Sequence[str],
    series: Mapping[str, tuple[Float64, Float64, Float64]],
    x_label: str,
    description: str,
    zero: bool = False,
) -> str:
    """Return dots with intervals, one row per name and series: (estimate, low, high), each (rows,), NaN where there is
    no data."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(7.2, 0.7 + 0.2 * len(rows) * max(1, len(series) / 2)))
    places = np.arange(len(rows))[::-1]
    for number, ((label, (middle, low, high)), colour) in enumerate(zip(series.items(), SERIES * 4, strict=False)):
        shift = 0.7 * ((len(series) - 1) / 2 - number) / max(len(series), 1)
        known = ~np.isnan(middle)
        reach = np.maximum(np.stack([middle - low, high - middle])[:, known], 0)
        axis.errorbar(
            middle[known],
            places[known] + shift,
            xerr=reach,
            fmt="os^Dvp"[number % 6],
            color=colour,
            ms=3,
            lw=1,
            label=label,
        )
    axis.set(
        yticks=places,
        yticklabels=[name.replace("_", " ") for name in rows],
        xlabel=x_label,
        ylim=(-0.8, len(rows) - 0.2),
    )
    if zero:
        axis.axvline(0, color=INK, lw=0.8)
    if len(series) > 1:
        axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.06 if len(rows) > 15 else -0.2), ncols=2)
    figure.tight_layout()
    return _svg(plt, figure, name, description)
