"""Everything that depends on the default weights, again: `make refit`.

    default.onnx + official validation images
      and train images that the network never saw, in three views
      -> predictions (runs/refit/*.parquet, not kept in git: they hold CelebA's labels)
      -> accuracy against face size and blur -> decision layer with held-out evidence -> card inside default.onnx and
      default.card.json
      -> int8 file where it costs little, accuracy of every precision in the card
      -> golden answers for `lineament doctor` -> docs/benchmarks/{decision,face-size}.{json,md}, rules.md and audit.md
      -> docs/benchmarks/refit.json (hashes)
    fast.onnx -> its own views, limits and decision layer -> its card, docs/benchmarks/fast.json

    python scripts/refit.py [--data ../shared/data] [--goal half] [--threads N]
    python scripts/refit.py --only fast        # the small network alone; its stamp is renewed, everything else stays

Running it twice changes nothing: the network's answers do not depend on the card, and nothing written holds a time.
`tests/scripts/test_refit_fresh.py` fails where a stored hash is stale.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import audit_page
import check_rules
import face_size
import numpy as np
import precisions
import sheet
from decision_page import decision_page
from refit_views import splits

from lineament import load
from lineament.data.celeba import Official
from lineament.data.hub_parquet import HubParquet
from lineament.decision.layer import Decision
from lineament.evaluation import predictions
from lineament.evaluation.calibrate import HALF, KEEP, Fitted, Plan, calibrate, cross_fit
from lineament.evaluation.cross_split import Split, across, fit_sizes
from lineament.evaluation.folds import folds_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import number, scorecard
from lineament.export.card_update import with_decision, write_card_beside
from lineament.files import sha256_of
from lineament.metrics.calibration import ece_1d, logit, per_attribute
from lineament.metrics.counts import count, mean_of_known, ratio
from lineament.report.model_card import to_markdown
from lineament.runtime.card import Card
from lineament.runtime.network import Network
from lineament.runtime.onnx_file import read_card, with_card
from lineament.runtime.registry import load_network
from lineament.runtime.threads import default_threads

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "lineament" / "weights"
BENCHMARKS = ROOT / "docs" / "benchmarks"
STAMP = BENCHMARKS / "refit.json"
FILES = ("lineament/weights/default.onnx", "lineament/weights/default.card.json", "lineament/weights/golden.json",
         "docs/benchmarks/decision.json", "docs/benchmarks/decision.md", "docs/benchmarks/face-size.json",
         "docs/benchmarks/face-size.md",
         "docs/benchmarks/rules.md", "docs/benchmarks/audit.md")  # fmt: skip
IF_SHIPPED = ("lineament/weights/default.int8.onnx", "lineament/weights/default.int8.card.json",
              "lineament/weights/fast.onnx", "lineament/weights/fast.card.json",
              "docs/benchmarks/fast.json")  # fmt: skip


def network_sha256(path: Path) -> str:
    """Return the SHA-256 of an ONNX file with an empty card: of the network alone, whatever its decision layer."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.onnx"
        with_card(path, Card({}), bare)
        return sha256_of(bare)


def text_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, line ends as in the repository, so that a checkout on Windows agrees."""
    data = path.read_bytes()
    return hashlib.sha256(data if path.suffix == ".onnx" else data.replace(b"\r\n", b"\n")).hexdigest()


def stamp(model: Path) -> dict[str, Any]:
    """Return what the stored hashes must be."""
    shipped = [name for name in IF_SHIPPED if (ROOT / name).is_file()]
    return {
        "network_sha256": network_sha256(model),
        "files": {name: text_sha256(ROOT / name) for name in (*FILES, *shipped)},
    }


def write_stamp() -> None:
    """Write the hashes of what is there now: the last step of every refit."""
    STAMP.write_text(json.dumps(stamp(WEIGHTS / "default.onnx"), indent=1) + "\n", encoding="utf-8")


def carried_over(train: Split, val: Split, folds: int) -> dict[str, Any]:
    """Return the calibration that carries over, and the same fitted without the people of each fold of validation, for
    `Plan`."""
    fold = folds_of(val.rows, folds)
    without = [fit_sizes(train, val.where(fold != part)) for part in range(folds)]
    return {"layer": fit_sizes(train, val), "layers_of_fold": without}


def by_view(views: dict[str, Predictions], layers: Sequence[Decision]) -> dict[str, Any]:
    """Return, per view of validation, accuracy and calibration error, raw and cross-fitted, and the share of faces
    found."""
    document = {}
    for view, whole in views.items():
        found = whole.found()
        probs, fold = np.zeros(found.raw.shape), folds_of(found, len(layers))
        for part, layer in enumerate(layers):
            inside = fold == part
            sizes = None if found.eye_distance is None else found.eye_distance[inside]
            probs[inside] = layer.probs(logit(found.raw[inside]), found.attributes, eye_distance=sizes)
        errors = {
            key: per_attribute(ece_1d, p, found.targets, found.known)
            for key, p in (("ece", probs), ("ece_raw", found.raw))
        }
        right = {
            key: count(p >= 0.5, found.targets, found.known).accuracy
            for key, p in (("accuracy", probs), ("accuracy_raw", found.raw))
        }
        document[view] = {key: number(mean_of_known(values)) for key, values in {**errors, **right}.items()} | {
            "faces": len(found), "images": len(whole), "eye_distance": number(float(np.median(found.eye_distance))),
        }  # fmt: skip
    return document


def measured_before(model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was measured of this very network: face sizes and precisions. Exits where the files are another
    network's."""
    document = json.loads((BENCHMARKS / "decision.json").read_text(encoding="utf-8"))
    if document["network_sha256"] != network_sha256(model):
        raise SystemExit("--only-decision: decision.json is of another network. Leave the option out.")
    return json.loads((BENCHMARKS / "face-size.json").read_text(encoding="utf-8")), document["precisions"]


@dataclass(frozen=True)
class Views:
    """A network's answers in every view: those the layer is fitted on, those of validation by name, and of stored crops
    alone with their origin."""

    train: Split
    val: Split
    by_name: dict[str, Predictions]
    stored: Predictions


def score(data: Path, network: Network, model: Path, folder: Path, threads: int) -> Views:
    """Return a network's answers on unseen train images and validation, from `folder` where they are there."""
    train, val, views = splits(data, network, network_sha256(model), folder, threads)
    return Views(
        train,
        val,
        views,
        replace(views["stored"], meta={"model": network.id.partition("@")[0], "data": "official/val"}),
    )


def fit(
    model: Path, data: Path, views: Views, sizes: dict[str, Any], goal: str
) -> tuple[Fitted, dict[str, Any], dict[str, Any]]:
    """Fit a network's decision layer within its limits of size and blur and write it into its card.

    Returns: what was fitted; the settings it was fitted with (limits, layers by fold); the document of where, how right
        and how sure.
    """
    found, missing = views.stored, Official(data / "celeba" / "official", "val").table.missing
    limits = {
        "min_eye_distance": sizes["min_eye_distance"],
        "min_sharpness": sizes["min_sharpness"],
        "limits_of_fold": sizes["limits_of_fold"],
    }
    settings = limits | carried_over(views.train, views.val, face_size.FOLDS)
    fitted = calibrate(found, Plan(goal=goal, folds=face_size.FOLDS, **settings))
    where = f"official/val@{found.fingerprint()} and {len(views.train.rows):,} views of unseen train images"
    card, seen = scorecard(found, missing=missing), by_view(views.by_name, settings["layers_of_fold"])
    embed(model, fitted, where, card, seen)
    document = {"network_sha256": network_sha256(model), "fitted_on": where, "scorecard": headline(card),
                "across": across(views.train, views.val), "views": seen}  # fmt: skip
    return fitted, settings, document


def refit(data: Path, goal: str, threads: int, faces: int, *, only_decision: bool = False) -> None:
    """Fit and write everything that belongs to `default`. Prints what it does; returns nothing."""
    model = WEIGHTS / "default.onnx"
    network = load_network(str(model), threads=threads)
    source = Official(data / "celeba" / "official", "val")
    print(f"{network.id}: the views of validation and of unseen train images", flush=True)
    views = score(data, network, model, ROOT / "runs" / "refit", threads)
    found = views.stored
    predictions.save(found, ROOT / "runs" / "refit" / "val.parquet")
    before = measured_before(model) if only_decision else None
    print("accuracy against face size and blur", flush=True)
    sizes = face_size.run(data, load(str(model), threads=threads), faces) if before is None else before[0]
    print("decision layer", flush=True)
    fitted, settings, document = fit(model, data, views, sizes, goal)
    print("precisions", flush=True)
    int8 = WEIGHTS / "default.int8.onnx"
    base = float(document["scorecard"]["mean_accuracy"])
    measured = precisions.measure(model, source, data, threads, int8, base=base) if before is None else before[1]
    precisions.embed(model, int8, measured)
    rates = {name: rate for name, rate in class_rates(data).items() if name in found.attributes}
    document |= {"precisions": measured, **fitted.evidence, "goals": goals(found, settings, rates)}
    (BENCHMARKS / "decision.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = decision_page(document, network.card.name) + "\n" + precisions.section(measured, len(source.table))
    (BENCHMARKS / "decision.md").write_text(text, encoding="utf-8")
    check_rules.PAGE.write_text(check_rules.measure(data), encoding="utf-8")
    golden(model)
    if before is None:
        about = {"command": "make refit", "environment": sheet.environment(load(str(model), threads=threads))} | sizes
        sheet.write(BENCHMARKS, "face-size", about, face_size.page(about))
    print("cohort audits", flush=True)
    shipped = load_network(str(model), threads=threads)
    layer = shipped.card.decision
    shipped_probs = layer.probs(logit(found.raw), found.attributes, eye_distance=found.eye_distance)
    calibrated = replace(found, probs=shipped_probs, meta={"decision": layer.to_dict()})
    audit_page.PAGE.write_text(
        audit_page.page(shipped, audit_page.on_fairface(shipped, data, threads), calibrated, data), encoding="utf-8"
    )
    written = json.loads(model.with_suffix(".card.json").read_text(encoding="utf-8"))
    (ROOT / "docs" / "model-card.md").write_text(to_markdown(written), encoding="utf-8")
    write_stamp()
    print((BENCHMARKS / "decision.md").read_text(encoding="utf-8").split("## Per attribute")[0])


def refit_fast(data: Path, goal: str, threads: int, faces: int) -> None:
    """Fit the decision layer of `fast` as that of `default`: the same views, people, folds and rule, its own limits of
    size and blur."""
    model = WEIGHTS / "fast.onnx"
    network = load_network(str(model), threads=threads)
    print(f"{network.id}: the views of validation and of unseen train images", flush=True)
    views = score(data, network, model, ROOT / "runs" / "refit" / "fast", threads)
    sizes = face_size.run(data, load(str(model), threads=threads), faces)
    _, _, document = fit(model, data, views, sizes, goal)
    document |= {"command": "python scripts/refit.py --only fast", "min_eye_distance": sizes["min_eye_distance"]}
    (BENCHMARKS / "fast.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_stamp()
    print(json.dumps(document["views"], indent=1))


def headline(card: dict[str, Any]) -> dict[str, Any]:
    """Return the means of a scorecard, without the rows."""
    keys = ("images", "missing", "mean_accuracy", "majority_accuracy", "balanced_accuracy", "macro_f1", "mean_ap",
            "mean_accuracy_high_agreement", "mean_accuracy_low_agreement")  # fmt: skip
    return {key: card[key] for key in keys}


def class_rates(data: Path) -> dict[str, float]:
    """Return the share of yes per attribute in the train images of the shared folder; empty where they are not
    there."""
    shards = data / "celeba" / "train-parquet"
    if not shards.is_dir():
        return {}
    table = HubParquet(shards).table
    share = ratio((table.targets * table.known).sum(0), table.known.sum(0))
    return {name: rate for name, rate in zip(table.attributes, share.tolist(), strict=True) if not np.isnan(rate)}


def goals(found: Predictions, limits: dict[str, Any], rates: dict[str, float]) -> dict[str, Any]:
    """Return what held-out labels are worth at the raw sigmoid's 0.5 (`keep`) and at 0.5 of the calibrated probability
    (`half`).

    `accuracy_train_rates`: the same TPR and TNR at the class rates of the train split, a stand-in for other data (label
    shift).
    """
    named = [found.attributes.index(name) for name in rates]
    share = np.array(list(rates.values()))
    rows, labels = {}, {}
    for goal in (KEEP, HALF):
        labels[goal] = cross_fit(found, Plan(goal=goal, folds=face_size.FOLDS, **limits)).labels
        counted = count(labels[goal], found.targets, found.known)
        shifted = counted.recall[named] * share + counted.specificity[named] * (1 - share)
        means = {
            "accuracy": counted.accuracy,
            "balanced_accuracy": counted.balanced_accuracy,
            "macro_f1": counted.f1,
            "accuracy_train_rates": shifted,
        }
        rows[goal] = {key: number(mean_of_known(values)) for key, values in means.items()}
    return {**rows, "labels_that_differ": number(np.mean(labels[KEEP] != labels[HALF]))}


def embed(model: Path, fitted: Fitted, where: str, scored: dict[str, Any], views: dict[str, Any]) -> None:
    """Write the decision layer and the measured accuracy, also of labels as given in each view, into the card, inside
    the ONNX file and beside it."""
    card = with_decision(read_card(model), fitted, where)
    given = {view: row["accuracy"] for view, row in views.items()}
    measured = {**dict(card.document.get("metrics") or {}), "official_val": headline(scored)}
    with_card(model, Card({**card.document, "metrics": measured, "views": given}), model)
    write_card_beside(model, read_card(model))


def golden(model: Path) -> None:
    """Write the answers on the bundled portrait that `lineament doctor` compares with."""
    import lineament
    from lineament.doctor import GOLDEN_FILE, make_golden

    document = make_golden(lineament.load(str(model)))
    (WEIGHTS / GOLDEN_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data")
    )
    parser.add_argument("--goal", default="half", help="see lineament calibrate --goal")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument(
        "--faces", type=int, default=1200, help="for size and blur: how many validation images, drawn with a fixed seed"
    )
    parser.add_argument(
        "--only-decision",
        action="store_true",
        help="the network is the same: keep what was measured of sizes and precisions",
    )
    parser.add_argument("--only", choices=("default", "fast"), help="one of the two networks")
    arguments = parser.parse_args()
    settings = (arguments.data, arguments.goal, arguments.threads, arguments.faces)
    if arguments.only != "default" and (WEIGHTS / "fast.onnx").is_file():
        refit_fast(*settings)
    if arguments.only != "fast":
        refit(*settings, only_decision=arguments.only_decision)


if __name__ == "__main__":
    main()
