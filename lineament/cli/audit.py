"""`lineament audit`: error and answer rates between cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineament.cli import options


def command(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Prediction file, or records of `analyze`.")
    ],
    by: Annotated[
        str, typer.Option("--by", metavar="COL[,COL]", help="Columns that make the cohorts; several are crossed.")
    ],
    cohorts: Annotated[
        Path | None,
        typer.Option(
            "--cohorts", metavar="FILE", help="Table joined on `file`; without it, --by names labelled attributes."
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", metavar="'GAP > X'", help="Exit with 3 if a gap breaks this, e.g. 'tpr_gap > 0.1'. Repeatable."
        ),
    ] = None,
    labels: Annotated[
        str, typer.Option("--labels", metavar="shipped|raw", help="The card's thresholds, or the raw sigmoid at 0.5.")
    ] = "shipped",
    least: Annotated[
        int, typer.Option("--least", min=1, help="Fewest images of a class for a rate to be judged.")
    ] = 20,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="NAME",
            help="Rate to lead with: tpr, fpr, accuracy, answer_rate. Default: tpr, or answer_rate.",
        ),
    ] = None,
    with_: options.With = None,
    json_file: options.JsonFile = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Say for whom it is worst: answer rates, error rates and detector misses of cohorts, with intervals corrected for
    their number.

    Records that `analyze` wrote are audited as they are: they hold answers and no labels, so answer rates are compared.
    """
    from lineament.cli.output import show, write_json
    from lineament.evaluation.audit import audit, failures, join
    from lineament.evaluation.records import load_any
    from lineament.report.audit_tables import audit_lines, audit_table, leading_rate
    from lineament.schema import parse_names

    columns = list(parse_names(by))
    found = load_any(predictions)
    if with_:
        from lineament.teach.follow_up import check_answered_by

        check_answered_by(found.meta, found.attributes, with_)
    document = audit(join(found, cohorts, columns), labels=labels, draws=draws, least=least)
    document |= {"by": columns, "rate": leading_rate(document, rate)}
    broken = failures(document, fail_if or [])
    document["failures"] = broken
    if json_file is not None:
        write_json(document, json_file)
    if html is not None:
        from lineament.report.pages import audit_page

        html.write_text(audit_page(document), encoding="utf-8")
    show(audit_table(document, rate), audit_lines(document), to_stderr=str(json_file) == "-", quiet=quiet)
    for sentence in broken:
        typer.echo(sentence, err=True)
    if broken:
        raise typer.Exit(3)
