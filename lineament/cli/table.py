"""`lineament table`: prediction files of several systems and seeds as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineament.cli import options


def command(
    predictions: Annotated[
        list[Path], typer.Argument(metavar="PREDICTIONS...", help="Prediction files, all of the same labelled faces.")
    ],
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="NAME", help="The system that the others are compared with.")
    ],
    group_seeds: Annotated[
        bool,
        typer.Option(
            "--group-seeds",
            help="Files that differ only in the ending -s0, -s1 ... (or _seed0) are trainings of one system.",
        ),
    ] = False,
    metric: Annotated[str, typer.Option("--metric", help="accuracy, balanced_accuracy, f1, tpr or tnr.")] = "accuracy",
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="One line per system and attribute; - is stdout.")
    ] = None,
    latex: Annotated[Path | None, typer.Option("--latex", metavar="FILE", help="Two tabulars (booktabs).")] = None,
    markdown: Annotated[Path | None, typer.Option("--md", metavar="FILE", help="Two Markdown tables.")] = None,
    draws: Annotated[int, typer.Option("--draws", min=10, help="Bootstrap draws.")] = 1000,
    quiet: options.Quiet = False,
) -> None:
    """Compare systems over their seeds: mean, spread, difference to a baseline with an interval from people and
    trainings, per attribute."""
    from lineament.evaluation import seed_table as tables
    from lineament.evaluation.predictions import Predictions, load

    systems: dict[str, list[Predictions]] = {}
    for path in predictions:
        systems.setdefault(tables.system_name(path, group_seeds=group_seeds), []).append(load(path))
    table = tables.seed_table(systems, baseline, metric=metric, draws=draws)
    written = [(csv_file, tables.to_csv), (latex, tables.to_latex), (markdown, tables.to_markdown)]
    for target, form in written:
        if target is not None and str(target) == "-":
            typer.echo(form(table), nl=False)
        elif target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(form(table), "utf-8")
    if all(target is None for target, _ in written):
        typer.echo(tables.to_markdown(table), nl=False)
    elif not quiet:
        for row in table.rows[1:]:
            verdict = "beyond the noise" if row.better_or_worse else "inside the noise"
            typer.echo(
                f"{row.name}: {row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}] to {baseline}, {verdict}",
                err=True,
            )
