"""`lineament report`: one self-contained page about prediction files or records, HTML or PDF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import options

if TYPE_CHECKING:
    from lineament.evaluation.predictions import Predictions

DEFAULT_COHORTS = ("Male", "Young")


def command(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS...", help="Prediction files, or records of `analyze`; the first is reported in full."
        ),
    ],
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="The page to write; - is stdout.")] = None,
    pdf: Annotated[
        Path | None, typer.Option("--pdf", metavar="FILE", help="The same as PDF, printed by a headless Chromium.")
    ] = None,
    paper: Annotated[str, typer.Option("--paper", metavar="a4|letter", help="Paper of the PDF.")] = "a4",
    since: Annotated[
        Path | None,
        typer.Option("--since", metavar="FILE", help="Earlier predictions for the same photos: what changed."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of the images: shows confident errors.")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=1, help="Thumbnails per attribute and kind of error.")] = 4,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="COL[,COL]",
            help="Cohort columns; labelled attributes without --cohorts (default: Male,Young).",
        ),
    ] = None,
    cohorts: Annotated[
        Path | None, typer.Option("--cohorts", metavar="FILE", help="Table of cohorts, joined on `file`.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE",
            help="Show this model's card and, with --images of aligned crops, where it looks.",
        ),
    ] = None,
    with_: options.With = None,
    quiet: options.Quiet = False,
) -> None:
    """Write one page: a verdict in plain sentences, then charts, then tables, examples, maps, protocol and card.

    Without labels it shows what can be shown, and says why the rest is missing.
    """
    from lineament.errors import UsageError
    from lineament.evaluation.records import load_any
    from lineament.report.html import Extras, report_page
    from lineament.report.pdf import PAPERS, find_browser, write_pdf

    if html is None and pdf is None:
        raise UsageError("Name what to write: --html FILE, --pdf FILE, or both.")
    if paper not in PAPERS:
        raise UsageError(f"Unknown --paper {paper!r}. Use one of: {', '.join(PAPERS)}.")
    if pdf is not None:
        find_browser()  # before the work, not after it
    files = [(path.name, load_any(path)) for path in predictions]
    card, looked = (None, {}) if model is None else _of_model(model, files[0][1], images)
    if with_:
        card = (card or {}) | {"own": _own(files[0][1], with_)}
    before = None if since is None else (since.name, load_any(since))
    text = report_page(
        files,
        Extras(
            str(cohorts) if cohorts else None,
            _columns(by, cohorts, files[0][1]),
            images,
            examples,
            looked,
            card,
            before,
        ),
    )
    if pdf is not None:
        write_pdf(text, pdf, paper=paper)
        _say(f"Wrote {pdf} ({pdf.stat().st_size // 1024} KB).", quiet)
    if html is None:
        return
    if str(html) == "-":
        typer.echo(text.encode("utf-8", "surrogateescape"), nl=False)
        return
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(text, encoding="utf-8")
    _say(f"Wrote {html} ({len(text) // 1024} KB, complete in itself).", quiet)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        typer.echo(text, err=True)


def _columns(by: str | None, cohorts: Path | None, main: Predictions) -> list[str]:
    """Return the cohort columns asked for; where nothing was asked for, CelebA's own two groups if they are
    labelled."""
    from lineament.schema import parse_names

    if by is not None or cohorts is not None:
        return list(parse_names(by or ""))
    labelled = {name for place, name in enumerate(main.attributes) if main.known[:, place].any()}
    return [name for name in DEFAULT_COHORTS if name in labelled]


def _of_model(model: str, main: Predictions, images: Path | None) -> tuple[dict[str, Any], Any]:
    """Return the model's card and, with images of aligned crops, where it looks."""
    from lineament.evaluation.evaluate import stored_crop
    from lineament.images import load_image
    from lineament.report.pictures import looked_at
    from lineament.runtime.registry import load_network

    network = load_network(model)
    looked = (
        {} if images is None else looked_at(main, images, network, lambda path: stored_crop(load_image(path).pixels)[0])
    )
    return dict(network.card.document), looked


def _own(main: Predictions, files: list[Path]) -> dict[str, Any]:
    """Return what `teach` says of each attribute of one's own that the predictions hold."""
    from lineament.teach.follow_up import check_answered_by

    return {one.name: {"id": one.id, **one.card} for one in check_answered_by(main.meta, main.attributes, files)}
