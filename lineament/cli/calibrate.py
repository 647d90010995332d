"""`lineament calibrate`: fit calibration, thresholds and abstention from a prediction file into a model's card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineament.cli import options

if TYPE_CHECKING:
    from lineament.evaluation.predictions import Predictions
    from lineament.teach.own_attribute import OwnAttribute


def command(
    predictions: Annotated[
        Path,
        typer.Option(
            "--predictions", metavar="FILE", help="The model's labelled predictions on data it was not trained on."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The ONNX file to write, with the decision layer in its card.")
    ],
    model: options.Model = "default",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="auto|platt|temperature|isotonic|none",
            help="auto: shrunk towards the card's own layer, so that few labels do no harm.",
        ),
    ] = "auto",
    goal: Annotated[
        str,
        typer.Option(
            "--goal",
            metavar="half|keep|accuracy|balanced_accuracy|f1|precision>=P|dmm",
            help=(
                "half: 0.5 of the calibrated probability. keep: labels as the raw sigmoid at 0.5. Others: fitted, "
                "where held-out accuracy gains."
            ),
        ),
    ] = "half",
    force: Annotated[
        bool, typer.Option("--force", help="Take fitted thresholds even where held-out accuracy does not gain.")
    ] = False,
    bands: Annotated[
        str, typer.Option("--bands", metavar="coverage|conformal|none", help="What --abstain leaves unanswered.")
    ] = "coverage",
    share: Annotated[
        float,
        typer.Option("--share", help="Share answered per attribute (coverage), or share missed at most (conformal)."),
    ] = 0.9,
    min_eye_distance: Annotated[
        float | None,
        typer.Option(
            "--min-eye-distance", min=0.0, help="Pixels between the eyes under which --abstain gives no answer."
        ),
    ] = None,
    min_sharpness: Annotated[
        float | None,
        typer.Option("--min-sharpness", min=0.0, max=1.0, help="Sharpness under which --abstain gives no answer."),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(
            "--limits", metavar="FILE", help="Both, per attribute: the JSON that benchmarks/face_size.py measured."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", min=2, help="Folds of the held-out evidence, split by identity.")
    ] = 5,
    json_file: options.JsonFile = None,
    with_: options.With = None,
    quiet: options.Quiet = False,
) -> None:
    """Fit the decision layer of a model and show, on people it was not fitted on, what it is worth.

    With --with, own attributes are fitted too, each into a file of the same name beside --out.
    """
    from lineament.cli.output import show, write_json
    from lineament.errors import UsageError
    from lineament.evaluation.calibrate import Plan, calibrate
    from lineament.evaluation.least_quality import read_limits
    from lineament.evaluation.predictions import load
    from lineament.export.card_update import embed
    from lineament.report.tables import decision_lines, decision_table
    from lineament.runtime.onnx_file import read_card
    from lineament.runtime.registry import resolve_model

    if limits is not None and (min_eye_distance is not None or min_sharpness is not None):
        raise UsageError(
            "--limits holds both limits already. Leave --min-eye-distance and --min-sharpness out, or --limits."
        )
    path = resolve_model(model).path
    found, card = load(predictions), read_card(path)
    said = str(found.meta.get("model") or card.name).partition("@")[0]
    own = _own(found, with_ or [], out)
    found = found.choose([name for name in found.attributes if name not in own])
    if said != card.name:
        raise UsageError(
            f"{predictions} holds predictions of {said}, not of {card.name}. Run `lineament evaluate --model {model}` "
            "for them."
        )
    if odd := sorted(set(found.attributes) ^ set(card.attributes)):
        raise UsageError(
            f"{predictions} and {card.name} differ in {', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}. "
            f"Run `lineament evaluate --model {model}` for the model's own names; give own attributes with --with."
        )
    found = found.choose(card.attributes)  # whatever order the file's columns have
    sizes = {} if min_eye_distance is None else {"*": min_eye_distance}
    sharp = {} if min_sharpness is None else {"*": min_sharpness}
    measured = {"min_eye_distance": sizes, "min_sharpness": sharp} if limits is None else read_limits(limits)
    fitted = calibrate(found, Plan(method, goal, force, bands, share, folds, base=card.decision, **measured))
    where = str(found.meta.get("data") or f"{predictions.name}@{found.fingerprint()}")
    embed(path, fitted, where, out)
    for beside, one in own.values():
        one.save(beside)
    document = {"fitted_on": where, "decision": fitted.decision.to_dict(), **fitted.evidence}
    if json_file is not None:
        write_json(document, json_file)
    show(decision_table(document), decision_lines(document), to_stderr=str(json_file) == "-", quiet=quiet)


def _own(found: Predictions, files: list[Path], out: Path) -> dict[str, tuple[Path, OwnAttribute]]:
    """Return own attributes fitted again, by name, and where each is to be written. Raises: UsageError where that is
    the file given."""
    if not files:
        return {}
    from lineament.errors import UsageError
    from lineament.teach.follow_up import check_answered_by, recalibrated

    fitted = {}
    for path, own in zip(files, check_answered_by(found.meta, found.attributes, files), strict=True):
        beside, at = out.parent / path.name, found.attributes.index(own.name)
        if beside.resolve() == path.resolve():
            raise UsageError(f"{path} would be overwritten by its new calibration. Write --out into another folder.")
        fitted[own.name] = (beside, recalibrated(own, found.raw[:, at], found.targets[:, at], found.known[:, at]))
    return fitted
