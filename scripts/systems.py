"""Rebuild docs/benchmarks/systems.md and systems.json from what is committed in results/: no data set and no torch needed.

    python scripts/systems.py                # write both
    python scripts/systems.py --check        # exit 1 if they are stale

Every row is computed from a run's committed predictions, log and card. What configs/cpu/ promises and results/ does not hold yet is listed as
"not run".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lineament.config import load_config
from lineament.engine.compare import compare
from lineament.engine.results import Record, read_records
from lineament.engine.scorecard import scorecard
from lineament.schema import CELEBA_40, MGMTN_GROUPS

ROOT = Path(__file__).resolve().parent.parent
BASELINE, REDUCED = "baseline", "ablation-baseline"
ABLATION_SEEDS = (0, 1, 2)
SYSTEM_SEEDS = {BASELINE: (0, 1)}
"""Seeds of the table where they are more than seed 0; the best system is to have two as well."""
SHARE = 0.95
NEVER = {
    "MGMTN, key-point masks at inference": "a trained network predicts its own masks; key points would need the annotator at every face",
    "DMM-CNN, 72 landmarks": "the paper's annotator is not public; 5 points of our detector stand in",
}
_METRICS = ("mean_accuracy", "balanced_accuracy", "macro_f1", "mean_ap")


def group_losses(record: Record) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """Return the epochs (E,) at which windows ended and each group's mean training loss in them (E,).

    Names outside CelebA's 40 join Object, as in training.
    """
    names, epochs, losses = record.attribute_losses()
    columns = {group: [i for i, name in enumerate(names) if name in members] for group, members in MGMTN_GROUPS.items()}
    columns["Object"] += [i for i, name in enumerate(names) if name not in CELEBA_40]
    return epochs, {group: losses[:, at].mean(1) for group, at in columns.items() if at and len(losses)}


def epoch_of_gain(losses: Sequence[float], epochs: Sequence[float] | None = None, share: float = SHARE) -> float | None:
    """Return the epoch (between windows by straight lines) at which `share` of the final gain over the first window is reached.

    Args: epochs at which the windows ended, by default 1, 2, 3 ... None where the loss never fell, or there are fewer than two windows.
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


def row_of(record: Record, base: Record | None, draws: int) -> dict[str, Any]:
    """Return everything a table says about one run."""
    card, speed = scorecard(record.predictions), record.speed or {}
    return {
        "name": record.name,
        "seed": record.seed,
        "images": card["images"],
        **{metric: card[metric] for metric in _METRICS},
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


def partner(record: Record, records: Iterable[Record], name: str) -> Record | None:
    """Return the baseline run to compare with: scored on the same labels, the same seed if there is one, else the lowest."""
    fit = [one for one in records if one.name == name and one.about["labels"] == record.about["labels"]]
    return min(fit, key=lambda one: (one.seed != record.seed, one.seed), default=None)


def expected(configs: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return name -> config of the systems and of the ablations."""
    systems = {load_config(path).name: path for path in sorted(configs.glob("*.yaml")) if path.stem != "regions"}
    return systems, {load_config(path).name: path for path in sorted((configs / "ablations").glob("*.yaml"))}


def lacking(wanted: Mapping[str, Sequence[int]], have: set[tuple[str, int]]) -> dict[str, list[int]]:
    """Return name -> seeds that are wanted and not there, without names that lack none."""
    seeds = {name: [seed for seed in asked if (name, seed) not in have] for name, asked in wanted.items()}
    return {name: missing for name, missing in seeds.items() if missing}


def build(results: Path, configs: Path, draws: int = 1000) -> dict[str, Any]:
    """Return the whole document."""
    records = read_records(results)
    systems, ablations = expected(configs)
    in_table = [record for record in records if record.name not in ablations]
    reduced = [record for record in records if record.name in ablations]
    have = {(record.name, record.seed) for record in records}
    return {
        "schema_version": 1,
        "systems": [row_of(record, partner(record, in_table, BASELINE), draws) for record in in_table],
        "ablations": [row_of(record, partner(record, reduced, REDUCED), draws) for record in reduced],
        "not_run": {
            "systems": lacking({name: SYSTEM_SEEDS.get(name, (0,)) for name in systems}, have),
            "ablations": lacking(dict.fromkeys(ablations, ABLATION_SEEDS), have),
            "not_planned": NEVER,
        },
        "configs": {name: path.relative_to(configs.parent.parent).as_posix() for name, path in {**systems, **ablations}.items()},
    }


# ---- the page ---------------------------------------------------------------------------------------------------------------------------


def percent(value: float | None) -> str:
    return "no data" if value is None else f"{100 * value:.2f}"


def _millions(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.2f} M"


def _plain(value: float | None, digits: int = 1) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    mean = found["mean"]["accuracy"]
    word = {"A is better": "worse", "B is better": "better", "inside the noise": "inside the noise"}.get(mean["verdict"], "no data")
    return f"{100 * mean['difference']:+.2f} [{100 * mean['low']:+.2f}, {100 * mean['high']:+.2f}] {word}"


def _won(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    beyond = f"{len(found['wins_beyond_noise'])}/{len(found['losses_beyond_noise'])}"
    return f"{found['wins']}/{found['losses']} ({beyond})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [" | ".join(heads), " | ".join(["---"] + ["---:"] * (len(heads) - 1)), *(" | ".join(row) for row in rows)]
    return "".join(f"| {line} |\n" for line in lines)


def systems_table(document: Mapping[str, Any]) -> str:
    heads = ("system", "seed", "mean accuracy", "balanced", "macro-F1", "mAP", "against the baseline", "attributes won/lost",
             "parameters", "MACs", "ms per face", "training images/s")  # fmt: skip
    rows = []
    for row in document["systems"]:
        scores = [percent(row[metric]) for metric in _METRICS]
        found = row["against_baseline"]
        cost = [_millions(row["parameters"]), _millions(row["macs"]), _plain(row["ms_per_face"]), _plain(row["training_images_per_s"])]
        rows.append([row["name"], str(row["seed"]), *scores, _difference(found), _won(found), *cost])
    for name, seeds in document["not_run"]["systems"].items():
        rows.extend([name, str(seed), *["not run"] * 4, *["-"] * 6] for seed in seeds)
    if document["systems"]:
        rows.append(["majority answer", "-", percent(document["systems"][0]["majority_accuracy"]), *["-"] * 9])
    return table(heads, rows)


def ablation_table(document: Mapping[str, Any]) -> str:
    """Return one row per config: mean over seeds, their spread, and the difference from the baseline of the same scale."""
    rows = []
    for name in dict.fromkeys(row["name"] for row in document["ablations"]):
        runs = [row for row in document["ablations"] if row["name"] == name]
        scores = [row["mean_accuracy"] for row in runs]
        away = [row["against_baseline"]["mean"]["accuracy"]["difference"] for row in runs if row["against_baseline"]]
        spread = f"{100 * (max(scores) - min(scores)):.2f}" if len(scores) > 1 else "one seed"
        gain = f"{100 * float(np.mean(away)):+.2f}" if away else "-"
        others = [percent(float(np.mean([row[metric] for row in runs]))) for metric in _METRICS[1:]]
        rows.append([name.removeprefix("ablation-"), str(len(runs)), percent(float(np.mean(scores))), spread, *others, gain])
    heads = ("ablation", "seeds", "mean accuracy", "spread", "balanced", "macro-F1", "mAP", "against the reduced baseline")
    return table(heads, rows) if rows else "None was run yet.\n"


def convergence_table(document: Mapping[str, Any]) -> str:
    runs = [row for row in (*document["systems"], *document["ablations"]) if row["convergence"]]
    if not runs:
        return "No run has kept its losses per attribute yet.\n"
    heads = ("run", "spread (epochs)", "standard deviation", *MGMTN_GROUPS)
    rows = []
    for row in runs:
        epochs = row["convergence"]["epochs"]
        cells = ["-" if epochs.get(group) is None else f"{epochs[group]:.2f}" for group in MGMTN_GROUPS]
        name = f"{row['name'].removeprefix('ablation-')} s{row['seed']}{' (reduced)' if row in document['ablations'] else ''}"
        rows.append([name, f"{row['convergence']['spread']:.2f}", f"{row['convergence']['standard_deviation']:.2f}", *cells])
    return table(heads, rows)


def charted(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs whose group losses are drawn: FAR-AMTN with and without its dynamic weights, one seed each, both at one scale."""
    rows = [row for row in document["ablations"] if row["convergence"]]
    found = [next((row for row in rows if row["name"] == f"ablation-far-amtn{kind}"), None) for kind in ("", "-no-dws")]
    return [row for row in found if row is not None]


def chart(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw each group's mean training loss by epoch, one panel per run. Needs matplotlib (extra `viz`)."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lineament"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4.5 * len(rows), 3.2), sharey=True, squeeze=False)
    for axis, row in zip(axes[0], rows, strict=True):
        for number, (group, losses) in enumerate(row["convergence"]["losses"].items()):
            axis.plot(row["convergence"]["windows"], losses, marker="os^Dvp*X"[number % 8], ms=4, label=group)
        axis.set(title=f"{row['name'].removeprefix('ablation-')}, seed {row['seed']}", xlabel="epoch", ylabel="mean training loss")
    axes[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def page(document: Mapping[str, Any]) -> str:
    """Return systems.md."""
    configs = document["configs"]
    missing = {**document["not_run"]["systems"], **document["not_run"]["ablations"]}
    lines = [f"- {name}, seed {', '.join(map(str, seeds))}: `{configs[name]}`" for name, seeds in missing.items()]
    lines += [f"- {name}: {why}" for name, why in document["not_run"]["not_planned"].items()]
    beaten = [row for row in document["systems"] if row["against_baseline"] and row["name"] != BASELINE]
    plainly = [
        f"{row['name']} (seed {row['seed']}) does not beat the baseline."
        for row in beaten
        if row["against_baseline"]["mean"]["accuracy"]["verdict"] != "B is better"
    ]
    picture = "\n![Loss of each group by epoch](convergence.svg)\n" if charted(document) else ""
    images = sorted({row["images"] for row in document["systems"]})
    scored = f"{', '.join(map(str, images))} official validation images of CelebA" if images else "CelebA's official validation images"
    return PAGE.format(
        scored=scored, systems=systems_table(document), plainly=" ".join(plainly) or "Nothing to state yet.", ablations=ablation_table(document),
        convergence=convergence_table(document) + picture, lacking="\n".join(lines),
    )  # fmt: skip


PAGE = """# Systems under one protocol

Written by `python scripts/systems.py` from `results/`; not edited by hand. A run comes there by
`python scripts/ablate.py CONFIG... --seeds ...`, which trains, scores and collects, and goes on where it was killed.

Protocol: equal trunk, input, images, steps and augmentation (`configs/cpu/`); scored on {scored}, stored crops, threshold 0.5 on the raw sigmoid.
Differences are system minus baseline, in points of accuracy, with a 95 % interval from a paired bootstrap over identities; attributes
won/lost count every difference, in brackets those whose interval, valid for all attributes at once, excludes zero. Parameters and MACs are the
exported network's, preprocessing included. Published numbers stand in each config; they are of other trunks, four times the images and the
test split, so none of ours is a reproduction.

## One table

{systems}
{plainly}

## Ablations

Reduced scale: 8,192 images, 112 px wide, three epochs. Compare rows here with each other, not with the table above.

{ablations}
## When groups converge

The epoch at which a group's mean training loss has made 95 % of its final gain over the first window (a part of an epoch: `weighting.windows`),
between windows by straight lines.
FAR-AMTN's dynamic weights are meant to bring these together: compare `far-amtn` with `far-amtn-no-dws`.

{convergence}
## Not run

{lacking}
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--configs", type=Path, default=ROOT / "configs" / "cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of systems.md and systems.json")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    document = build(given.results, given.configs, given.draws)
    files = {"systems.json": json.dumps(document, indent=1) + "\n", "systems.md": page(document)}
    stale = [name for name, text in files.items() if not (given.out / name).is_file() or (given.out / name).read_text("utf-8") != text]
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
