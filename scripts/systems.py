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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from systems_page import BASELINE, METRICS, chart, charted, pages

from lineament.config import load_config
from lineament.evaluation.compare import compare
from lineament.evaluation.folds import folds_of
from lineament.evaluation.results import Record, read_records
from lineament.evaluation.scorecard import scorecard
from lineament.evaluation.seed_table import SeedRow, SeedTable, seed_table
from lineament.evaluation.thresholds import dmm_adaptive
from lineament.metrics.counts import count, mean_of_known
from lineament.model_files import SAME_AS
from lineament.runtime.registry import weights_folder
from lineament.schema import CELEBA_40, MGMTN_GROUPS

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault(
    "LINEAMENT_DATA", str(ROOT.parent / "shared" / "data")
)  # beside a checkout; configs name no folder
ABLATION_SEEDS = (0, 1, 2)
SYSTEM_SEEDS = {BASELINE: (0, 1), "branched": (0, 1)}
"""Seeds of the table where they are more than seed 0: the baseline's and the best system's."""
REPAIRED_SEEDS = {"table-transfa": (0,), "table-mgrr": (0,)}
"""Seeds of the comparison from repaired networks where they are not three: rows without a verdict."""
SHARE = 0.95
NEVER = {
    "DMM-CNN, 72 landmarks": "the paper's annotator is not public; 5 points of our detector stand in",
}
MASK_NETWORKS = ("regions-annotated", "regions")
MASK_TRUTH = ("parsing", "parsing_jittered", "landmarks", "landmarks_jittered")
"""The least intersection over union that was asked for; the other groups have no target."""


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
        "epochs": {group: None if epoch is None else round(epoch, 3) for group, epoch in epochs.items()},
        "spread": round(max(known) - min(known), 3),
        "standard_deviation": round(float(np.std(known)), 3),
        "windows": [round(float(end), 4) for end in ends],
        "losses": {group: [round(float(value), 5) for value in values] for group, values in losses.items()},
    }


def against(record: Record, base: Record, draws: int) -> dict[str, Any]:
    """Return the paired comparison with the baseline at 0.5: means with intervals, and attributes won and lost."""
    found = compare(base.predictions, record.predictions, labels="raw", draws=draws)
    rows = found["attributes"].values()
    return {
        "baseline": f"{base.name}-s{base.seed}",
        "mean": found["mean"],
        "paired_by": found["paired_by"],
        "draws": draws,
        "wins": sum((row["difference"] or 0) > 0 for row in rows),
        "losses": sum((row["difference"] or 0) < 0 for row in rows),
        "wins_beyond_noise": [name for name, row in found["attributes"].items() if row["verdict"] == "B is better"],
        "losses_beyond_noise": [name for name, row in found["attributes"].items() if row["verdict"] == "A is better"],
        "attributes": {name: row["difference"] for name, row in found["attributes"].items()},
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


def row_of(record: Record, base: Record | None, draws: int) -> dict[str, Any]:
    """Return everything a table says about one run."""
    card, speed = scorecard(record.predictions), record.speed or {}
    return {
        "name": record.name,
        "seed": record.seed,
        "start": start_of(record),
        "epochs": record.config["optimiser"]["epochs"],
        "teacher": bool(record.config["loss"].get("distill")),
        "images": card["images"],
        **{metric: card[metric] for metric in METRICS},
        "majority_accuracy": card["majority_accuracy"],
        "parameters": record.card.get("parameters"),
        "macs": record.card.get("macs"),
        "ms_per_face": speed.get("ms_per_face"),
        "processor": speed.get("processor"),
        "training_images_per_s": record.images_per_s(),
        "against_baseline": None if base is None or base is record else against(record, base, draws),
        "convergence": convergence(record),
        "attributes": {name: row["accuracy"] for name, row in card["attributes"].items()},
    }


def start_of(record: Record) -> str | None:
    """Return the network whose trunk a run began with; None for the face-pretrained one."""
    start: str | None = record.config["model"].get("start")
    return start


def plain(record: Record) -> bool:
    """Say whether a run is a plain baseline: no part of any paper, no teacher."""
    return record.config["model"]["name"] == "baseline" and not record.config["loss"].get("distill")


def partner(record: Record, records: Iterable[Record]) -> Record | None:
    """Return the plain baseline to compare with, scored on the same labels: of the same start if there is one, else the
    best known by name; of the same seed if there is one, else the lowest."""
    fit = [one for one in records if plain(one) and one.about["labels"] == record.about["labels"]]
    return min(
        fit,
        key=lambda one: (start_of(one) != start_of(record), one.name != BASELINE, one.seed != record.seed, one.seed),
        default=None,
    )


def expected(configs: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, str | None]]:
    """Return name -> config of the systems and of the ablations, and system -> what it starts from."""
    loaded = {path: load_config(path) for path in sorted(configs.glob("*.yaml")) if not path.stem.startswith("regions")}
    systems, starts = (
        {one.name: path for path, one in loaded.items()},
        {one.name: one.model.start for one in loaded.values()},
    )
    return systems, {load_config(path).name: path for path in sorted((configs / "ablations").glob("*.yaml"))}, starts


def repaired(configs: Path) -> dict[str, Path]:
    """Return name -> config of the comparison from repaired networks."""
    return {load_config(path).name: path for path in sorted((configs / "table").glob("*.yaml"))}


def lacking(wanted: Mapping[str, Sequence[int]], have: set[tuple[str, int]]) -> dict[str, list[int]]:
    """Return name -> seeds that are wanted and not there, without names that lack none."""
    seeds = {name: [seed for seed in asked if (name, seed) not in have] for name, asked in wanted.items()}
    return {name: missing for name, missing in seeds.items() if missing}


def build(results: Path, configs: Path, draws: int = 1000) -> dict[str, Any]:
    """Return the whole document."""
    records = read_records(results)
    systems, ablations, starts = expected(configs)
    again = repaired(configs)
    in_table = [record for record in records if record.name not in {**ablations, **again}]
    equal = [record for record in records if record.name in again]
    reduced = [record for record in records if record.name in ablations]
    have = {(record.name, record.seed) for record in records}
    return {
        "schema_version": 1,
        "table": honest_table(equal, draws),
        "systems": [row_of(record, partner(record, in_table), draws) for record in in_table],
        "ablations": [row_of(record, partner(record, reduced), draws) for record in reduced],
        "adaptive_thresholds": [adaptive(record) for record in in_table if record.config["model"]["name"] == "dmm-cnn"],
        "not_run": {
            "systems": lacking({name: SYSTEM_SEEDS.get(name, (0,)) for name in systems}, have),
            "ablations": lacking(dict.fromkeys(ablations, ABLATION_SEEDS), have),
            "repaired": lacking({name: REPAIRED_SEEDS.get(name, (0, 1, 2)) for name in again}, have),
            "not_planned": NEVER,
        },
        "starts": starts,
        "weights": weights_of(results / "systems"),
        "masks": mask_scores(results),
        "configs": {
            name: path.relative_to(configs.parent.parent).as_posix()
            for name, path in {**systems, **ablations, **again}.items()
        },
    }


def honest_table(records: Sequence[Record], draws: int) -> dict[str, Any] | None:
    """Return the rows of the comparison at equal images, steps and starts, over all seeds there are; None before its
    baseline has one.

    A verdict needs more than one training on both sides: an interval of people alone leaves the training's chance out.
    """
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.name, []).append(record)
    base = f"table-{BASELINE}"
    if base not in runs:
        return None
    found = seed_table({name: [one.predictions for one in runs[name]] for name in sorted(runs)}, base, draws=draws)
    return {
        "rows": [_table_row(row, found, runs[row.name]) for row in found.rows],
        "images": found.images,
        "draws": found.draws,
    }


def _table_row(row: SeedRow, found: SeedTable, runs: Sequence[Record]) -> dict[str, Any]:
    base = found.rows[0]
    judged = min(row.seeds, base.seeds) > 1 and row is not base
    against = (
        dict.fromkeys(("difference", "low", "high"))
        if row is base
        else {"difference": row.difference, "low": row.low, "high": row.high}
    )
    moved = zip(found.attributes, row.differences, row.starred, strict=True)
    return {
        "name": row.name,
        "seeds": [one.seed for one in runs],
        "mean_accuracy": row.mean,
        "spread": None if np.isnan(row.spread) else row.spread,
        "mean_ap": float(np.mean([scorecard(one.predictions)["mean_ap"] for one in runs])),
        **against,
        "verdict": ("better" if row.low > 0 else "worse" if row.high < 0 else "inside the noise") if judged else None,
        "parameters": runs[0].card.get("parameters"),
        "macs": runs[0].card.get("macs"),
        "training_images_per_s": runs[0].images_per_s(),
        "starred": {name: round(float(value), 4) for name, value, star in moved if star},
    }


def weights_of(systems: Path) -> dict[str, str]:
    """Return the name under which weights are loaded -> the run that trained them; names kept under another (`SAME_AS`)
    too."""
    cards = {
        path.parent.name: path
        for path in sorted(systems.glob("*/model.card.json"))
        if path.with_name("model.onnx").is_file()
    }
    cards |= {name: cards.get(same, weights_folder() / f"{same}.card.json") for name, same in SAME_AS.items()}
    return {
        name: json.loads(path.read_text("utf-8"))["training"]["config"]["name"]
        for name, path in cards.items()
        if path.is_file()
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
    parser.add_argument("--configs", type=Path, default=ROOT / "lineament" / "configs" / "cpu")
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
