"""`lineament report`: one self-contained HTML page about prediction files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineament.cli import options


def command(
    predictions: Annotated[list[Path], typer.Argument(metavar="PREDICTIONS...", help="Prediction files; the first is reported in full.")],
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="The page to write; - is stdout.")],
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Folder of the images: shows confident errors.")] = None,
    examples: Annotated[int, typer.Option("--examples", min=1, help="Thumbnails per attribute and kind of error.")] = 4,
    by: Annotated[str | None, typer.Option("--by", metavar="COL[,COL]", help="Cohort columns; labelled attributes without --cohorts.")] = None,
    cohorts: Annotated[Path | None, typer.Option("--cohorts", metavar="FILE", help="Table of cohorts, joined on `file`.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME|FILE", help="Show this model's card and, with --images of aligned crops, where it looks.")
    ] = None,
    with_: options.With = None,
    quiet: options.Quiet = False,
) -> None:
    """Write one HTML page: summary, attributes, reliability, coverage and risk, consistency, cohorts, examples, maps, protocol and card."""
    from lineament.evaluation.predictions import load
    from lineament.report.html import Extras, looked_at, report_page

    files = [(path.name, load(path)) for path in predictions]
    card, looked = None, {}
    if with_:
        from lineament.teach.follow_up import check_answered_by

        own = check_answered_by(files[0][1].meta, files[0][1].attributes, with_)
        card = {"own": {one.name: {"id": one.id, **one.card} for one in own}}
    if model is not None:
        from lineament.evaluation.evaluate import stored_crop
        from lineament.images import load_image
        from lineament.runtime.registry import load_network

        network = load_network(model)
        card = dict(network.card.document) | (card or {})
        if images is not None:
            looked = looked_at(files[0][1], images, network, lambda path: stored_crop(load_image(path).pixels)[0])
    columns = [name.strip() for name in (by or "").split(",") if name.strip()]
    text = report_page(files, Extras(str(cohorts) if cohorts else None, columns, images, examples, looked, card))
    if str(html) == "-":
        typer.echo(text, nl=False)
        return
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(text, encoding="utf-8")
    if not quiet:
        typer.echo(f"Wrote {html} ({len(text) // 1024} KB, complete in itself).", err=True)
