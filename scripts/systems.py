"""Rebuild docs/benchmarks/systems.md, ablations.md, convergence.md and systems.json from what is committed in results/:
no image and no torch needed, only the label lists of the official release ($LINEAMENT_DATA/celeba/official), which are
not ours to commit.

    python scripts/systems.py                # write them
    python scripts/systems.py --check        # exit 1 if one is stale

Every row is computed from a run's committed predictions, log and card. What configs promise and results/ does not hold
yet is listed as "not run".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from systems_page import BASELINE, FEWER, METRICS, chart, charted, pages, whole_of

from lineament.config import load_config
from lineament.evaluation.folds import folds_of
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.results import Record, read_records
from lineament.evaluation.scorecard import scorecard
from lineament.evaluation.seed_table import SeedRow, SeedTable, seed_table
from lineament.evaluation.thresholds import dmm_adaptive
from lineament.metrics.counts import count, mean_of_known
from lineament.schema import CELEBA_40, MGMTN_GROUPS

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault(
    "LINEAMENT_DATA", str(ROOT.parent / "shared" / "data")
)  # beside a checkout; configs name no folder
SEEDS = (0, 1, 2)
ONE_SEED = ("transfa", "mgrr")
"""Rows of the table without a verdict."""
SHARE = 0.95
NEVER = {
    "DMM-CNN, 72 landmarks": "the paper's annotator is not public; the 468 points of the face mesh stand in",
}
MASK_NETWORKS = ("regions-annotated", "regions")
MASK_TRUTH = ("parsing", "parsing_jittered", "landmarks", "landmarks_jittered")


def group_losses(record: Record) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """Return the epochs (E,) at which windows ended and each group's mean training loss in them (E,).

    Names outside CelebA's 40 join Object, as in training.
    """
    names, epochs, losses = record.attribute_losses()
    columns = {group: [i for i, name in enumerate(names) if name in members] for group, members in MGMTN_GROUPS.items()}
    columns["Object"] += [i for i, name in enumerate(names) if name not in CELEBA_40]
    return epochs, {group: np.nanmean(losses[:, at], axis=1) for group, at in columns.items() if at and len(losses)}


def epoch_of_gain(losses: Sequence[float], epochs: Sequence[float] | None = None, share: float = SHARE) -> float | None:
    """Return the epoch (between windows by straight lines) at which `share` of the final gain over the first window is
    reached.

    Args: epochs at which the windows ended, by default 1, 2, 3 ... None where the loss never fell, or there are fewer
        than two windows.
    """
    values = np.asarray(losses, np.float64)
    if len(values) < 2 or values[-1] >= values[0]:
        return None
    gain = (values[0] - values) / (values[0] - values[-1])
    at = int(np.argmax(gain >= share))
    place = at - 1 + (share - gain[at - 1]) / (gain[at] - gain[at - 1])
    return float(np.interp(place, np.arange(len(values)), np.arange(1, len(values) + 1) if epochs is None else epochs))


def convergence(record: Record) -> dict[str, Any] | None:
    """Return each group's epoch of 95 % of its gain, and their spread; None without a kept loss."""
    ends, losses = group_losses(record)
    epochs = {group: epoch_of_gain(values, ends) for group, values in losses.items()}
    known = [epoch for epoch in epochs.values() if epoch is not None]
    if not known:
        return None
    return {
        "name": record.name,
        "seed": record.seed,
        "epochs": {group: None if epoch is None else round(epoch, 3) for group, epoch in epochs.items()},
        "spread": round(max(known) - min(known), 3),
        "standard_deviation": round(float(np.std(known)), 3),
        "windows": [round(float(end), 4) for end in ends],
        "losses": {group: [round(float(value), 5) for value in values] for group, values in losses.items()},
    }


def adaptive(record: Record) -> dict[str, Any]:
    """Return a run's mean and balanced accuracy at 0.5 and at DMM-CNN's adaptive thresholds, each half scored with
    those of the other's people."""
    found, half = record.predictions, folds_of(record.predictions, 2)
    others = ([part[half != k] for part in (found.raw, found.targets, found.known)] for k in (0, 1))
    thresholds = np.stack([dmm_adaptive(*other) for other in others])
    scores: dict[str, Any] = {
        "name": record.name,
        "seed": record.seed,
        "least": float(thresholds.min()),
        "most": float(thresholds.max()),
    }
    for word, yes in (("fixed", found.raw >= 0.5), ("adaptive", found.raw >= thresholds[half])):
        counted = count(yes, found.targets, found.known)
        scores[word] = {
            "mean_accuracy": float(mean_of_known(counted.accuracy)),
            "balanced_accuracy": float(mean_of_known(counted.balanced_accuracy)),
        }
    return scores


def shipped_row(record: Record) -> dict[str, Any]:
    """Return what is said of a network on the way to `default`: scores and where it began, no comparison."""
    card = scorecard(record.predictions)
    return {
        "name": record.name,
        "seed": record.seed,
        "start": record.config["model"].get("start"),
        "epochs": record.config["optimiser"]["epochs"],
        "teacher": bool(record.config["loss"].get("distill")),
        **{metric: card[metric] for metric in METRICS},
    }


def named(folder: Path) -> dict[str, Path]:
    """Return name -> file of the training configs in a folder, without region networks."""
    return {load_config(path).name: path for path in sorted(folder.glob("*.yaml")) if "regions" not in path.stem}


def lacking(wanted: Mapping[str, Sequence[int]], have: set[tuple[str, int]]) -> dict[str, list[int]]:
    """Return name -> seeds that are wanted and not there, without names that lack none."""
    seeds = {name: [seed for seed in asked if (name, seed) not in have] for name, asked in wanted.items()}
    return {name: missing for name, missing in seeds.items() if missing}


def build(results: Path, configs: Path, draws: int = 1000) -> dict[str, Any]:
    """Return the whole document."""
    records = read_records(results)
    whole, parts, shipped = (named(configs / folder) for folder in ("table", "parts", "shipped"))
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.name, []).append(record)
    have = {(record.name, record.seed) for record in records}
    compared = [record for record in records if record.name in {**whole, **parts}]
    return {
        "schema_version": 2,
        "table": comparison({name: runs[name] for name in whole if name in runs}, BASELINE, draws),
        "parts": with_wholes({name: runs[name] for name in parts if name in runs}, draws),
        "shipped": [shipped_row(record) for record in records if record.name in shipped],
        "adaptive_thresholds": [adaptive(record) for record in records if record.name == "dmm-cnn"],
        "convergence": [found for record in compared if (found := convergence(record)) is not None],
        "not_run": {
            "table": lacking({name: (0,) if name in ONE_SEED else SEEDS for name in whole}, have),
            "parts": lacking(dict.fromkeys(parts, SEEDS), have),
            "not_planned": NEVER,
        },
        "masks": mask_scores(results),
        "configs": {name: f"{path.parent.name}/{path.name}" for name, path in {**whole, **parts}.items()},
    }


def comparison(runs: Mapping[str, Sequence[Record]], base: str, draws: int) -> dict[str, Any] | None:
    """Return a table's rows over all seeds there are; None before its baseline has one.

    A verdict needs more than one training on both sides: an interval of people alone leaves the training's chance out.
    """
    if base not in runs:
        return None
    trainings = {name: _predictions(runs[name]) for name in sorted(runs)}
    found = seed_table(trainings, base, draws=draws)
    balanced = seed_table(trainings, base, metric="balanced_accuracy", draws=draws)
    return {
        "rows": [
            _row(row, found, runs[row.name]) | {"balanced": _against(other, balanced)}
            for row, other in zip(found.rows, balanced.rows, strict=True)
        ],
        "images": found.images,
        "draws": found.draws,
    }


def with_wholes(runs: Mapping[str, Sequence[Record]], draws: int) -> dict[str, Any] | None:
    """Return the parts' table, each row with its difference to the whole system that it is a part of."""
    found = comparison(runs, FEWER + BASELINE, draws)
    if found is None:
        return None
    for row in found["rows"]:
        whole = whole_of(row["name"], runs)
        if whole is None:
            row["whole"] = None
            continue
        pair = seed_table({name: _predictions(runs[name]) for name in (whole, row["name"])}, whole, draws=draws)
        row["whole"] = {"name": whole} | _against(pair.rows[1], pair)
    return found


def _predictions(runs: Sequence[Record]) -> list[Predictions]:
    return [one.predictions for one in runs]


def _against(row: SeedRow, found: SeedTable) -> dict[str, Any]:
    """Return a row's difference to its baseline with its interval, and the verdict where both were trained more than
    once."""
    base = found.rows[0]
    if row is base:
        return dict.fromkeys(("difference", "low", "high", "verdict"))
    judged = min(row.seeds, base.seeds) > 1
    verdict = "better" if row.low > 0 else "worse" if row.high < 0 else "inside the noise"
    return {"difference": row.difference, "low": row.low, "high": row.high, "verdict": verdict if judged else None}


def _row(row: SeedRow, found: SeedTable, runs: Sequence[Record]) -> dict[str, Any]:
    moved = zip(found.attributes, row.differences, row.starred, strict=True)
    cards = [scorecard(one.predictions) for one in runs]
    return {
        "name": row.name,
        "seeds": [one.seed for one in runs],
        "spread": None if np.isnan(row.spread) else row.spread,
        **{metric: float(np.mean([card[metric] for card in cards])) for metric in METRICS},
        "majority_accuracy": cards[0]["majority_accuracy"],
        **_against(row, found),
        "parameters": runs[0].card.get("parameters"),
        "macs": runs[0].card.get("macs"),
        "ms_per_face": next((one.speed["ms_per_face"] for one in runs if one.speed), None),
        "training_images_per_s": runs[0].images_per_s(),
        "starred": {name: round(float(value), 4) for name, value, star in moved if star},
    }


def mask_scores(results: Path) -> list[dict[str, Any]]:
    """Return, per kind of truth and group, the IoU of each scored region network and of the mean masks."""
    files = {name: results / name / "scores.json" for name in MASK_NETWORKS}
    scored = {name: json.loads(path.read_text("utf-8")) for name, path in files.items() if path.is_file()}
    rows = []
    for kind in MASK_TRUTH:
        groups = {group: row for scores in scored.values() for group, row in scores.get(kind, {}).items()}
        for group, row in groups.items():
            networks = {name: scores[kind][group]["iou"] for name, scores in scored.items() if kind in scores}
            means = (scores[f"mean_{kind}"][group]["iou"] for scores in scored.values() if f"mean_{kind}" in scores)
            rows.append(
                {"truth": kind, "group": group, "images": row["images"], "iou": networks, "mean": next(means, None)}
            )
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--configs", type=Path, default=ROOT / "lineament" / "configs")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the pages and of systems.json"
    )
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    document = build(given.results, given.configs, given.draws)
    files = {"systems.json": json.dumps(document, indent=1) + "\n", **pages(document)}
    stale = [
        name
        for name, text in files.items()
        if not (given.out / name).is_file() or (given.out / name).read_text("utf-8") != text
    ]
    if given.check:
        if stale:
            print(f"stale: {', '.join(stale)}. Run python scripts/systems.py", file=sys.stderr)
        return int(bool(stale))
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (given.out / name).write_text(text, "utf-8")
    if charted(document):
        chart(charted(document), given.out / "convergence.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
