"""`lineament compare`: two prediction files with a paired bootstrap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineament.cli import options


def command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Prediction file of the model in use.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Prediction file of the model that may replace it.")],
    labels: Annotated[
        str, typer.Option("--labels", metavar="shipped|raw", help="The card's thresholds, or the raw sigmoid at 0.5.")
    ] = "shipped",
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the images both files hold, where they differ.")
    ] = False,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of the images, for the sheet.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="Write the largest flips as a contact sheet (PNG).")
    ] = None,
    json_file: options.JsonFile = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Say who is better where labels exist, and which answers flip either way."""
    from lineament.cli.output import show, write_json
    from lineament.errors import UsageError
    from lineament.evaluation.compare import compare
    from lineament.evaluation.predictions import load
    from lineament.report.comparison_tables import comparison_lines, comparison_table

    if sheet is not None and images is None:
        raise UsageError("--sheet needs --images, the folder the file names are relative to.")
    before, after = load(a), load(b)
    document = compare(before, after, labels=labels, common=common, draws=draws, seed=seed)
    document |= {"a": document["a"] or a.name, "b": document["b"] or b.name}
    if json_file is not None:
        write_json(document, json_file)
    if html is not None:
        from lineament.report.pages import comparison_page

        html.write_text(comparison_page(document), encoding="utf-8")
    if sheet is not None and images is not None:
        from lineament.visual.contact_sheet import Tile, contact_sheet

        tiles = [
            Tile(images / row["file"], f"{row['attribute']}\nA {row['a']:.2f}  B {row['b']:.2f}  label {row['target']}")
            for row in document["flips"]["largest"][:100]
        ]
        facts = [f"{document['images']} faces, {document['labels']} labels; largest change of probability first."]
        title = f"Flips from {document['a']} to {document['b']}"
        contact_sheet(tiles, title=title, facts=facts, size=(112, 137), columns=10).save(sheet)
    show(comparison_table(document), comparison_lines(document), to_stderr=str(json_file) == "-", quiet=quiet)
