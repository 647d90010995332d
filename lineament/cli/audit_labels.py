"""`lineament audit-labels`: the labels of a data set that are most likely wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lineament.cli import options


def command(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS", help="Labelled predictions of a model that was not trained on these labels."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for suspects.csv, summary.json and sheet.png.")
    ],
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Folder or Parquet shards of the images, for the sheet."),
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many to list.")] = 100,
    method: Annotated[
        str, typer.Option("--method", metavar="confident|cleanlab", help="Ours, or cleanlab's (extra [audit]).")
    ] = "confident",
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="FILE.npy",
            help="Cached features, one row per prediction: train folds on them for out-of-fold answers.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Folds for --features, split by identity.")] = 5,
    quiet: options.Quiet = False,
) -> None:
    """List the labels that out-of-fold probabilities contradict most, worst first, with a contact sheet to look at."""
    from dataclasses import replace

    import numpy as np

    from lineament.cli.output import progress, write_json
    from lineament.data import columns
    from lineament.errors import UsageError
    from lineament.evaluation.label_noise import out_of_fold, summary, suspects
    from lineament.evaluation.predictions import load
    from lineament.schema import LOW_AGREEMENT

    if method not in ("confident", "cleanlab"):
        raise UsageError(f"Unknown method {method!r}. Use confident or cleanlab.")
    found = load(predictions)
    if features is not None:
        with progress("Training folds", folds, quiet) as advance:
            raw = out_of_fold(np.load(features, allow_pickle=False), found, folds=folds, progress=advance)
        found = replace(found, raw=raw, probs=None, detected=np.ones(len(found), bool))
    worst = suspects(found, most, method=method)
    table: dict[str, list[Any]] = {
        "rank": list(range(1, len(worst) + 1)),
        "file": [found.files[one.row] for one in worst],
        "face": [found.keys[one.row][1] for one in worst],
        "attribute": [found.attributes[one.column] for one in worst],
        "label": ["yes" if one.given else "no" for one in worst],
        "prob": [round(one.prob, 4) for one in worst],
        "low_agreement": ["yes" if found.attributes[one.column] in LOW_AGREEMENT else "no" for one in worst],
    }
    columns.write(out / "suspects.csv", table)
    write_json(summary(found, method=method), out / "summary.json")
    if images is not None:
        _sheet(table, images, out / "sheet.png")
    if not quiet:
        typer.echo(
            f"{len(worst)} most suspicious labels in {out}. Look before changing any: a model can be wrong with "
            "confidence.",
            err=True,
        )


def _sheet(table: dict[str, list[Any]], images: Path, where: Path) -> None:
    from lineament.visual.contact_sheet import Tile, contact_sheet

    pictures: dict[str, Path | bytes] = {str(file): images / str(file) for file in table["file"]}
    if images.is_file() or any(images.glob("*.parquet")):
        from lineament.data.hub_parquet import HubParquet

        shards = HubParquet(images)
        rows = {file: row for row, file in enumerate(shards.table.files)}
        pictures = {
            file: shards.read_bytes(rows[file])
            for file in sorted(pictures, key=lambda name: rows.get(name, -1))
            if file in rows
        }
    cells = zip(table["file"], table["attribute"], table["label"], table["prob"], strict=True)
    tiles = [
        Tile(pictures.get(str(file), b""), f"{name}\nlabel {label}, prob {prob:.2f}")
        for file, name, label, prob in cells
    ]
    facts = ["Look before changing any: a model can be wrong with confidence."]
    contact_sheet(
        tiles, title=f"The {len(tiles)} most suspicious labels", facts=facts, size=(112, 137), columns=10
    ).save(where)
