"""`lineament evaluate`: score a model or a prediction file on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import options

if TYPE_CHECKING:
    from lineament.predictions import Predictions


def command(
    data: Annotated[Path, typer.Argument(help="Folder, zip, Parquet shards, table or prediction file.")],
    layout: Annotated[str, typer.Option("--layout", metavar="official|parquet|lfwa|table|predictions", help="How DATA is stored.")] = "official",
    split: Annotated[str, typer.Option("--split", metavar="train|val|test|all", help="Which part to score.")] = "all",
    align: Annotated[
        str | None,
        typer.Option(
            "--align", metavar="stored|detect", help="Stored: the image is the crop (default for official, parquet). Detect: find the face."
        ),
    ] = None,
    predictions: Annotated[Path | None, typer.Option("--predictions", metavar="FILE", help="Write the prediction file (.parquet or .csv).")] = None,
    json_file: options.JsonFile = None,
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Score every image that has both labels and a file; print the table and write the scorecard."""
    from lineament.cli.output import show, write_json
    from lineament.engine.scorecard import decision_in, scorecard
    from lineament.errors import UsageError
    from lineament.report.tables import scorecard_lines, scorecard_table

    if align not in (None, "stored", "detect"):
        raise UsageError(f"Unknown --align {align!r}. Use stored or detect.")
    found, about = (
        _from_file(data, split) if layout == "predictions" else _from_model(data, layout, split, align, model, runtime, precision, threads, quiet)
    )
    card = scorecard(found, decision=decision_in(found.meta), **about)
    if predictions is not None:
        from lineament.predictions import save

        save(found, predictions)
    if json_file is not None:
        write_json(card, json_file)
    show(scorecard_table(card), scorecard_lines(card), to_stderr=str(json_file) == "-", quiet=quiet)


def _from_file(path: Path, split: str) -> tuple[Predictions, dict[str, Any]]:
    from lineament.errors import DataError
    from lineament.predictions import load

    found = load(path)
    if split != "all":
        if found.split is None:
            raise DataError(f"{path} has no `split` column, so the split {split!r} is unknown. Use --split all.")
        found = found.take(found.split == split)
    if len(found) == 0:
        raise DataError(f"{path} holds no row{'' if split == 'all' else f' of the split {split}'}.")
    keys = ("missing", "unreadable", "protocol", "fitted_on")
    about = {key: found.meta[key] for key in keys if key in found.meta}
    return found, {"model": found.meta.get("model"), "data": f"predictions/{split}@{found.fingerprint()}", **about}


def _from_model(
    data: Path, layout: str, split: str, align: str | None, model: str, runtime: str, precision: str | None, threads: int | None, quiet: bool
) -> tuple[Predictions, dict[str, Any]]:
    from dataclasses import replace

    from lineament.cli.output import progress
    from lineament.engine.evaluate import open_source, predict
    from lineament.runtime.registry import load_network
    from lineament.runtime.threads import default_threads

    source = open_source(str(data), layout, split)
    network = load_network(model, runtime, precision, threads)
    how = align or ("detect" if layout in ("table", "lfwa") else "stored")
    find = None
    if how == "detect":
        from lineament.pipeline.detect import RetinaFace

        find = RetinaFace(threads=1).detect
    card = network.card
    with progress("Scoring", len(source.table), quiet) as advance:
        outcome = predict(source, network, card.attributes, card.decision, find=find, threads=threads or default_threads(), progress=advance)
    found = outcome.predictions
    about = {
        "model": network.id,
        "data": f"{layout}/{split}@{found.fingerprint()}",
        "missing": source.table.missing + len(outcome.unreadable),
        "unreadable": list(outcome.unreadable),
        "protocol": {"layout": layout, "split": split, "align": how, "resized_crops": outcome.resized, "runtime": network.runtime,
                     "precision": network.precision},
        "fitted_on": card.document.get("fitted_on"),
    }  # fmt: skip
    return replace(found, meta={**about, "decision": card.decision.to_dict()}), about
