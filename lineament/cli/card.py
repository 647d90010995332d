"""`lineament card`: a model's card as a person reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE] [OUT]", help="Shipped model name or ONNX file (default: default); where to write."
        ),
    ] = None,
    md: Annotated[bool, typer.Option("--md", help="Markdown; the default.")] = False,
    html: Annotated[bool, typer.Option("--html", help="A page that is complete in itself.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write to this file; - or nothing is stdout.")
    ] = None,
) -> None:
    """Show a model's card as a person reads it, generated from the file: details, use, factors, measures, data, ethics,
    caveats."""
    from lineament.errors import UsageError
    from lineament.report.model_card import card_page, to_markdown
    from lineament.runtime.onnx_file import read_card
    from lineament.runtime.registry import resolve_model

    if md and html:
        raise UsageError("Give --md or --html, not both.")
    given = list(names or [])
    if given and given[-1].lower().endswith(
        (".md", ".html", ".htm")
    ):  # `card --html card.html`: that is where to write
        written = Path(given.pop())
        if out is not None:
            raise UsageError("Where to write stands twice. Give --out, or the file at the end.")
        out = written
    if len(given) > 1:
        raise UsageError(f"One model at a time, not {', '.join(given)}.")
    path = resolve_model(given[0] if given else "default").path
    found = read_card(path)
    card = {**found.document, "file_sha256": found.file_sha256, "file_bytes": path.stat().st_size}
    text = card_page(card) if html else to_markdown(card)
    if out is None or str(out) == "-":
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
