"""The pages of `scripts/systems.py`: its document as Markdown tables and one chart. No number is computed here but
means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from systems_text import ABLATIONS, CONVERGENCE, REPAIRED, SYSTEMS

from lineament.schema import MGMTN_GROUPS

METRICS = ("mean_accuracy", "balanced_accuracy", "macro_f1", "mean_ap")
BASELINE, REDUCED = "baseline", "ablation-baseline"


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
    word = {"A is better": "worse", "B is better": "better", "inside the noise": "inside the noise"}.get(
        mean["verdict"], "no data"
    )
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


def honest_table(document: Mapping[str, Any]) -> str:
    """Return the comparison at equal images, steps and starts, and which attributes moved beyond what all of them
    together may by chance."""
    found = document["table"]
    if found is None:
        return "No run of it has been trained yet: see [Not run](#not-run).\n"
    heads = (
        "system",
        "seeds",
        "mean accuracy",
        "spread",
        "to the baseline",
        "verdict",
        "mAP",
        "parameters",
        "MACs",
        "training images/s",
    )
    rows = []
    for row in found["rows"]:
        plain = row["difference"] is None
        moved = "-" if plain else f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        verdict = "-" if plain else row["verdict"] or "none: one training"
        cost = (_millions(row["parameters"]), _millions(row["macs"]), _plain(row["training_images_per_s"]))
        spread = "-" if row["spread"] is None else f"{row['spread']:.2f}"
        rows.append(
            (
                row["name"].removeprefix("table-"),
                ", ".join(map(str, row["seeds"])),
                f"{row['mean_accuracy']:.2f}",
                spread,
                moved,
                verdict,
                percent(row["mean_ap"]),
                *cost,
            )
        )
    lines = [
        table(heads, rows),
        f"\n{found['images']} official validation images, {found['draws']} draws of people and trainings.\n",
    ]
    for row in found["rows"]:
        if row["starred"]:
            named = ", ".join(
                f"{name} {value:+.2f}" for name, value in sorted(row["starred"].items(), key=lambda pair: pair[1])
            )
            alone = " (of people alone: one training)" if row["verdict"] is None else ""
            lines.append(f"\nBeyond noise in `{row['name'].removeprefix('table-')}`{alone}: {named}.\n")
    return "".join(lines)


def systems_table(document: Mapping[str, Any], *, fresh: bool) -> str:
    """Return the runs that began with the face-pretrained trunk (`fresh`) or those that began with a trained run, and
    what is missing of them."""
    heads = ("system", "seed", "mean accuracy", "balanced", "macro-F1", "mAP", "against the baseline",
    "attributes won/lost",
             "parameters", "MACs", "ms per face", "training images/s", "begins with, epochs since")  # fmt: skip
    rows = []
    for row in document["systems"]:
        if (row["start"] is None) != fresh:
            continue
        scores = [percent(row[metric]) for metric in METRICS]
        found = row["against_baseline"]
        cost = [
            _millions(row["parameters"]),
            _millions(row["macs"]),
            _plain(row["ms_per_face"]),
            _plain(row["training_images_per_s"]),
        ]
        began = f"{row['start'] or 'face trunk'}, {row['epochs']}{' with a teacher' if row['teacher'] else ''}"
        rows.append([row["name"], str(row["seed"]), *scores, _difference(found), _won(found), *cost, began])
    for name, seeds in document["not_run"]["systems"].items():
        start = document["starts"][name]
        rows.extend(
            [name, str(seed), *["not run"] * 4, *["-"] * 6, start or "face trunk"]
            for seed in seeds
            if (start is None) == fresh
        )
    if document["systems"]:
        rows.append(["majority answer", "-", percent(document["systems"][0]["majority_accuracy"]), *["-"] * 10])
    return table(heads, rows)


def _weights(weights: Mapping[str, str]) -> str:
    """Say which run each name given to `--model` loads."""
    own = [f"`{name}`" for name, run in weights.items() if name == run]
    other = [f"`{name}` loads `{run}`" for name, run in weights.items() if name != run]
    said = [f"{', '.join(own)} load the runs of their names"] * bool(own) + other
    return f"With `--model` in a checkout, {'; '.join(said)}." if said else "No weights are kept yet."


def by_seed(rows: Iterable[Mapping[str, Any]], name: str) -> dict[int, float]:
    """Return seed -> mean accuracy of one config."""
    return {row["seed"]: row["mean_accuracy"] for row in rows if row["name"] == name}


def whole_of(name: str, names: Iterable[str]) -> str | None:
    """Return the config of the same paper with every part on; None for that itself and for the baseline."""
    return min((other for other in names if name.startswith(other + "-")), key=len, default=None)


def paired(own: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """Return the differences own minus other, in points, of the seeds that both have."""
    return [100 * (own[seed] - other[seed]) for seed in sorted(own.keys() & other.keys())]


def _range(away: Sequence[float]) -> str:
    if not away:
        return "-"
    return f"{float(np.mean(away)):+.2f}" + (f" [{min(away):+.2f}, {max(away):+.2f}]" if len(away) > 1 else "")


def ablation_table(document: Mapping[str, Any]) -> str:
    """Return one row per config: mean over seeds and their spread, and differences, seed by seed, from the reduced
    baseline and the whole system."""
    rows, runs = [], document["ablations"]
    names = list(dict.fromkeys(row["name"] for row in runs))
    for name in names:
        own, whole = by_seed(runs, name), whole_of(name, names)
        scores = list(own.values())
        spread = f"{100 * (max(scores) - min(scores)):.2f}" if len(scores) > 1 else "one seed"
        others = [
            percent(float(np.mean([row[metric] for row in runs if row["name"] == name]))) for metric in METRICS[1:]
        ]
        base = [] if name == REDUCED else paired(own, by_seed(runs, REDUCED))
        part = [] if whole is None else paired(own, by_seed(runs, whole))
        rows.append([
            name.removeprefix("ablation-"), str(len(own)), percent(float(np.mean(scores))), spread, *others,
            _range(base), _range(part),
        ])  # fmt: skip
    heads = (
        "ablation",
        "seeds",
        "mean accuracy",
        "spread",
        "balanced",
        "macro-F1",
        "mAP",
        "against the reduced baseline",
        "against the whole system",
    )
    return table(heads, rows) if rows else "None was run yet.\n"


def ablation_words(document: Mapping[str, Any]) -> str:
    """Return what every seed agrees on: systems against the baseline, and each change against its whole system."""
    runs, said = document["ablations"], []
    names = list(dict.fromkeys(row["name"] for row in runs))
    for name in names:
        whole = whole_of(name, names)
        against = REDUCED if whole is None else whole
        away = [] if name == REDUCED else paired(by_seed(runs, name), by_seed(runs, against))
        if len(away) > 1:
            word = "worse" if max(away) < 0 else "better" if min(away) > 0 else "undecided"
            short = {one: one.removeprefix("ablation-") for one in (name, against)}
            said.append(f"- {short[name]} against {short[against]}: {word} ({_range(away)}, {len(away)} seeds)")
    return (
        "Where every seed agrees on the sign it is called better or worse, else undecided:\n\n" + "\n".join(said) + "\n"
        if said
        else ""
    )


def convergence_table(document: Mapping[str, Any]) -> str:
    runs = [row for row in (*document["systems"], *document["ablations"]) if row["convergence"]]
    if not runs:
        return "No run has kept its losses per attribute yet.\n"
    heads = ("run", "windows", "spread (epochs)", "standard deviation", *MGMTN_GROUPS)
    rows = []
    for row in runs:
        epochs = row["convergence"]["epochs"]
        cells = ["-" if epochs.get(group) is None else f"{epochs[group]:.2f}" for group in MGMTN_GROUPS]
        name = (
            f"{row['name'].removeprefix('ablation-')} "
            f"s{row['seed']}{' (reduced)' if row in document['ablations'] else ''}"
        )
        windows = str(len(row["convergence"]["windows"]))
        rows.append(
            [
                name,
                windows,
                f"{row['convergence']['spread']:.2f}",
                f"{row['convergence']['standard_deviation']:.2f}",
                *cells,
            ]
        )
    return table(heads, rows)


def mask_table(document: Mapping[str, Any]) -> str:
    """Return one row per kind of truth and group: the region networks, and the mean masks that they must beat."""
    if not document["masks"]:
        return "No region network was scored yet.\n"
    names = list(dict.fromkeys(name for row in document["masks"] for name in row["iou"]))
    truths = {"parsing": "CelebAMask-HQ labels", "landmarks": "polygons of 68 points"}
    rows = []
    for row in document["masks"]:
        kind, _, moved = row["truth"].partition("_")
        found = [f"{row['iou'][name]:.3f}" if name in row["iou"] else "-" for name in names]
        mean = "-" if row["mean"] is None else f"{row['mean']:.3f}"
        face = "turned, scaled, shifted" if moved else "as aligned"
        rows.append([row["group"], truths[kind], face, str(row["images"]), *found, mean])
    return table(("group", "truth", "face", "images", *(f"`{name}`" for name in names), "mean masks"), rows)


def adaptive_table(document: Mapping[str, Any]) -> str:
    """Return one row per DMM-CNN run: at 0.5 and at its adaptive thresholds."""
    rows = []
    for row in document["adaptive_thresholds"]:
        scores = [
            percent(row[kind][metric])
            for metric in ("mean_accuracy", "balanced_accuracy")
            for kind in ("fixed", "adaptive")
        ]
        rows.append([row["name"], str(row["seed"]), *scores, f"{row['least']:.2f} to {row['most']:.2f}"])
    heads = ("system", "seed", "accuracy at 0.5", "adaptive", "balanced at 0.5", "adaptive", "thresholds")
    return table(heads, rows) if rows else "No run of DMM-CNN yet.\n"


def charted(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs whose group losses are drawn: FAR-AMTN with and without its dynamic weights, one seed each, both
    at one scale."""
    rows = [row for row in document["ablations"] if row["convergence"]]
    found = [next((row for row in rows if row["name"] == f"ablation-far-amtn{kind}"), None) for kind in ("", "-no-dws")]
    return [row for row in found if row is not None]


def chart(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw each group's mean training loss by epoch, one panel per run. Needs matplotlib (extra `viz`)."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lineament"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4.5 * len(rows) + 1, 3.2), sharey=True, squeeze=False)
    for axis, row in zip(axes[0], rows, strict=True):
        for number, (group, losses) in enumerate(row["convergence"]["losses"].items()):
            axis.plot(row["convergence"]["windows"], losses, marker="os^Dvp*X"[number % 8], ms=4, label=group)
        axis.set(
            title=f"{row['name'].removeprefix('ablation-')}, seed {row['seed']}",
            xlabel="epoch",
            ylabel="mean training loss",
        )
    axes[0][-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def pages(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the name and the text of each page."""
    images = sorted({row["images"] for row in document["systems"]})
    scored = (
        f"{', '.join(map(str, images))} official validation images of CelebA"
        if images
        else "CelebA's official validation images"
    )
    picture = "\n![Loss of each group by epoch](convergence.svg)\n" if charted(document) else ""
    missing, why = document["not_run"], document["not_run"]["not_planned"].items()
    lacking = [
        *_lacking(document, {**missing["systems"], **missing["repaired"]}),
        *(f"- {name}: {reason}" for name, reason in why),
    ]
    untried = _lacking(document, missing["ablations"])
    repaired = REPAIRED if missing["repaired"] else ""  # said as long as it is true
    page = SYSTEMS.replace("{table}", honest_table(document))
    return {
        "systems.md": page.format(
            repaired=repaired, scored=scored, fresh=systems_table(document, fresh=True),
            continued=systems_table(document, fresh=False), plainly=_plainly(document),
            weights=_weights(document["weights"]), lacking="\n".join(lacking),
        ),
        "ablations.md": ABLATIONS.format(
            repaired=f"\n{repaired}" if repaired else "", ablations=ablation_table(document),
            words=ablation_words(document), adaptive=adaptive_table(document), masks=mask_table(document),
            lacking="\n".join(["\n## Not run\n", *untried, ""]) if untried else "",
        ),
        "convergence.md": CONVERGENCE.format(convergence=convergence_table(document) + picture),
    }  # fmt: skip


def _lacking(document: Mapping[str, Any], missing: Mapping[str, Sequence[int]]) -> list[str]:
    return [
        f"- {name}, seed {', '.join(map(str, seeds))}: `{document['configs'][name]}`" for name, seeds in missing.items()
    ]


def _plainly(document: Mapping[str, Any]) -> str:
    """Name the runs that do not beat their baseline."""
    judged = [row for row in document["systems"] if row["against_baseline"] and row["name"] != BASELINE]
    beaten = [row for row in judged if row["against_baseline"]["mean"]["accuracy"]["verdict"] != "B is better"]
    names = ", ".join(f"{row['name']} (seed {row['seed']})" for row in beaten)
    return f"**These do not beat the baseline**: {names}." if names else "Nothing to state yet."
