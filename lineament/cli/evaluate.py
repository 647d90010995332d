"""`lineament evaluate`: score a model or a prediction file on labelled data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import options

if TYPE_CHECKING:
    from lineament.data.labelled import Source
    from lineament.evaluation.predictions import Predictions
    from lineament.runtime.network import Network


def command(
    data: Annotated[Path, typer.Argument(help="Folder, zip, Parquet shards, table or prediction file.")],
    layout: Annotated[
        str, typer.Option("--layout", metavar="official|parquet|lfwa|table|predictions", help="How DATA is stored.")
    ] = "official",
    split: Annotated[
        str, typer.Option("--split", metavar="train|val|test|all|reserved", help="Which part to score.")
    ] = "all",
    align: Annotated[
        str | None,
        typer.Option(
            "--align",
            metavar="stored|detect",
            help="Stored: the image is the crop (default for official, parquet). Detect: find the face.",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of the images, where it is not beside DATA.")
    ] = None,
    small_faces: options.SmallFaces = "auto",
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE", help="Write the prediction file (.parquet or .csv).")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take a table without attribute columns, for its predictions.")
    ] = False,
    rates: options.Rates = None,
    json_file: options.JsonFile = None,
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    with_: options.With = None,
    quiet: options.Quiet = False,
) -> None:
    """Score every image that has both labels and a file; print the table and write the scorecard."""
    from lineament.cli.output import show, write_json
    from lineament.detection.retinaface import check_small_faces
    from lineament.errors import UsageError
    from lineament.evaluation.scorecard import decision_in, scorecard
    from lineament.report.tables import scorecard_lines, scorecard_table

    if align not in (None, "stored", "detect"):
        raise UsageError(f"Unknown --align {align!r}. Use stored or detect.")
    check_small_faces(small_faces)
    if unlabelled and predictions is None:
        raise UsageError("--unlabelled needs --predictions FILE: without labels there is nothing to score.")
    if images is not None and not images.exists():
        raise UsageError(f"--images {images}: there is no such folder.")
    if layout == "predictions":
        found, about = _from_file(data, split)
        found = found if rates is None else _moved(found, rates)
    else:
        from lineament.evaluation.evaluate import open_source
        from lineament.runtime.registry import load_network
        from lineament.teach.network import with_own

        network = with_own(load_network(model, runtime, precision, threads), with_ or ())
        if rates is not None:
            from lineament.decision.rates import read_rates

            network.card = network.card.under_rates(read_rates(rates, network.card.attributes))
        beside = None if images is None else str(images)
        source = open_source(
            str(data), layout, split, attributes=network.card.attributes, labels=not unlabelled, images=beside
        )
        how = align or ("detect" if layout in ("table", "lfwa") else "stored")
        found, about = _from_model(source, network, how, threads, quiet, small_faces)
        about |= {"data": f"{layout}/{split}@{found.fingerprint()}"}
        about["protocol"] |= {"layout": layout, "split": split}
        found = replace(found, meta={**about, **found.meta})
    card = scorecard(found, decision=decision_in(found.meta), **about)
    if predictions is not None:
        from lineament.evaluation.predictions import save

        save(found, predictions)
    if json_file is not None:
        write_json(card, json_file)
    show(scorecard_table(card), scorecard_lines(card), to_stderr=str(json_file) == "-", quiet=quiet)


def _from_file(path: Path, split: str) -> tuple[Predictions, dict[str, Any]]:
    import numpy as np

    from lineament.data.labelled import split_named
    from lineament.errors import DataError
    from lineament.evaluation.predictions import load

    found = load(path)
    if split != "all":
        if found.split is None:
            raise DataError(f"{path} has no `split` column, so the split {split!r} is unknown. Use --split all.")
        there = sorted(set(found.split.tolist()))
        found = found.take(np.array([split in (part, split_named(part)) for part in found.split], bool))
        if len(found) == 0:
            raise DataError(f"{path} holds no row of the split {split!r}. Its splits: {', '.join(there)}.")
    if len(found) == 0:
        raise DataError(f"{path} holds no row.")
    keys = ("missing", "unreadable", "protocol", "fitted_on")
    about = {key: found.meta[key] for key in keys if key in found.meta}
    return found, {"model": found.meta.get("model"), "data": f"predictions/{split}@{found.fingerprint()}", **about}


def _moved(found: Predictions, rates: Path) -> Predictions:
    """Return predictions whose probabilities were moved to other class rates. Raises: UsageError where the file holds
    no decision layer."""
    from lineament.decision.rates import read_rates, under_rates
    from lineament.errors import UsageError
    from lineament.evaluation.scorecard import decision_in
    from lineament.metrics.calibration import logit

    decision = decision_in(found.meta)
    if decision is None:
        raise UsageError(
            "The prediction file holds no decision layer, so --rates has nothing to move from. Write it with "
            "`lineament evaluate`."
        )
    layer = under_rates(decision, read_rates(rates, found.attributes))
    return replace(
        found,
        probs=layer.probs(logit(found.raw), found.attributes, eye_distance=found.eye_distance),
        meta={**found.meta, "decision": layer.to_dict()},
    )


def _from_model(
    source: Source, network: Network, how: str, threads: int | None, quiet: bool, small_faces: str
) -> tuple[Predictions, dict[str, Any]]:
    from lineament.cli.output import progress
    from lineament.evaluation.evaluate import predict
    from lineament.runtime.threads import default_threads

    find = None
    if how == "detect":
        from lineament.detection.retinaface import RetinaFace

        find = RetinaFace(threads=1, small_faces=small_faces).detect
    card = network.card
    with progress("Scoring", len(source.table), quiet) as advance:
        outcome = predict(
            source,
            network,
            card.attributes,
            card.decision,
            find=find,
            threads=threads or default_threads(),
            progress=advance,
        )
    searched = {"small_faces": small_faces} if how == "detect" else {}
    about = {
        "model": network.id,
        "missing": source.table.missing + len(outcome.unreadable),
        "unreadable": list(outcome.unreadable),
        "protocol": {
            "align": how,
            **searched,
            "resized_crops": outcome.resized,
            "runtime": network.runtime,
            "precision": network.precision,
        },
        "fitted_on": card.document.get("fitted_on"),
    }
    return replace(outcome.predictions, meta={"decision": card.decision.to_dict()}), about
