"""The pages of `scripts/systems.py`: its document as Markdown tables and one chart. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from systems_text import ABLATIONS, CONVERGENCE, SYSTEMS

from lineament.schema import MGMTN_GROUPS

METRICS = ("mean_accuracy", "balanced_accuracy", "macro_f1", "mean_ap")
BASELINE, FEWER = "baseline", "parts-"
"""The plain network; and how names of runs at reduced scale begin."""


def percent(value: float | None) -> str:
    return "no data" if value is None else f"{100 * value:.2f}"


def _millions(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.2f} M"


def _plain(value: float | None, digits: int = 1) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [" | ".join(heads), " | ".join(["---"] + ["---:"] * (len(heads) - 1)), *(" | ".join(row) for row in rows)]
    return "".join(f"| {line} |\n" for line in lines)


def _moved(row: Mapping[str, Any] | None) -> str:
    """Return a difference with its interval and verdict; "-" where there is none."""
    if row is None or row["difference"] is None:
        return "-"
    return f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] {row['verdict'] or 'one training'}"


def _start_of_row(row: Mapping[str, Any]) -> list[str]:
    """Return what both tables begin with: name, seeds, scores and their spread."""
    spread = "-" if row["spread"] is None else f"{row['spread']:.2f}"
    accuracy, *others = (percent(row[metric]) for metric in METRICS)
    return [row["name"].removeprefix(FEWER), ", ".join(map(str, row["seeds"])), accuracy, spread, *others]


_HEADS = ("system", "seeds", "mean accuracy", "spread", "balanced", "macro-F1", "mAP")


def honest_table(document: Mapping[str, Any]) -> str:
    """Return the comparison at equal images, steps and starts, and which attributes moved beyond what all of them
    together may by chance."""
    found = document["table"]
    if found is None:
        return "No run of it has been trained yet: see [Not run](#not-run).\n"
    rows = [
        [
            *_start_of_row(row),
            _moved(row),
            _moved(row["balanced"]),
            _millions(row["parameters"]),
            _millions(row["macs"]),
            _plain(row["ms_per_face"]),
            _plain(row["training_images_per_s"]),
        ]
        for row in found["rows"]
    ]
    rows.append(["majority answer", "-", percent(found["rows"][0]["majority_accuracy"]), *["-"] * 10])
    heads = (
        *_HEADS,
        "to the baseline",
        "balanced, to the baseline",
        "parameters",
        "MACs",
        "ms per face",
        "training images/s",
    )
    return "".join([table(heads, rows), _draws(found), *map(_beyond_noise, found["rows"])])


def _draws(found: Mapping[str, Any]) -> str:
    return f"\n{found['images']} official validation images, {found['draws']} draws of people and trainings.\n"


def _beyond_noise(row: Mapping[str, Any]) -> str:
    if not row["starred"]:
        return ""
    moved = sorted(row["starred"].items(), key=lambda pair: pair[1])
    alone = " (of people alone: one training)" if row["verdict"] is None else ""
    named = ", ".join(f"{name} {value:+.2f}" for name, value in moved)
    return f"\nBeyond noise in `{row['name'].removeprefix(FEWER)}`{alone}: {named}.\n"


def whole_of(name: str, names: Iterable[str]) -> str | None:
    """Return the run of the same paper with every part on; None for that itself and for the baseline."""
    return min((other for other in names if name.startswith(other + "-")), key=len, default=None)


def parts_table(document: Mapping[str, Any]) -> str:
    """Return one row per config of the reduced scale: to its baseline, and to the whole system."""
    found = document["parts"]
    if found is None:
        return "None was run yet.\n"
    rows = [[*_start_of_row(row), _moved(row), _moved(row["balanced"]), _moved(row["whole"])] for row in found["rows"]]
    return table((*_HEADS, "to the reduced baseline", "balanced, to it", "to the whole system"), rows) + _draws(found)


def carries_over(document: Mapping[str, Any]) -> str:
    """Say which systems stand on the other side of their baseline at reduced scale."""
    full, fewer = (
        {row["name"].removeprefix(FEWER): row["difference"] for row in (found or {"rows": []})["rows"]}
        for found in (document["table"], document["parts"])
    )
    both = [name for name in full if fewer.get(name) is not None and full[name] is not None]
    turned = [f"`{name}` ({full[name]:+.2f}, here {fewer[name]:+.2f})" for name in both if full[name] * fewer[name] < 0]
    if not turned:
        return ""
    return f"**Does not carry over**: to its baseline at full scale {', '.join(turned)} has the other sign.\n\n"


def shipped_table(document: Mapping[str, Any]) -> str:
    """Return the networks on the way to `default`, without a comparison."""
    heads = ("network", "seed", "mean accuracy", "balanced", "macro-F1", "mAP", "begins with, epochs since")
    rows = []
    for row in document["shipped"]:
        began = f"{row['start'] or 'face trunk'}, {row['epochs']}{' with teachers' if row['teacher'] else ''}"
        rows.append([row["name"], str(row["seed"]), *(percent(row[metric]) for metric in METRICS), began])
    return table(heads, rows) if rows else "None is kept.\n"


def convergence_table(document: Mapping[str, Any]) -> str:
    if not document["convergence"]:
        return "No run has kept its losses per attribute yet.\n"
    heads = ("run", "windows", "spread (epochs)", "standard deviation", *MGMTN_GROUPS)
    rows = []
    for row in document["convergence"]:
        cells = ["-" if row["epochs"].get(group) is None else f"{row['epochs'][group]:.2f}" for group in MGMTN_GROUPS]
        name = f"{row['name'].removeprefix(FEWER)} s{row['seed']}{' (reduced)' * row['name'].startswith(FEWER)}"
        spread = [f"{row[key]:.2f}" for key in ("spread", "standard_deviation")]
        rows.append([name, str(len(row["windows"])), *spread, *cells])
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
    """Return the runs whose group losses are drawn: FAR-AMTN with and without its dynamic weights at reduced scale,
    else as it is in the table."""
    rows: dict[str, dict[str, Any]] = {}
    for row in document["convergence"]:
        rows.setdefault(row["name"], row)
    names = [FEWER + "far-amtn", FEWER + "far-amtn-no-dws"]
    chosen = names if all(name in rows for name in names) else [BASELINE, "far-amtn"]
    return [rows[name] for name in chosen if name in rows]


def chart(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw each group's mean training loss by epoch, one panel per run. Needs matplotlib (extra `viz`)."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lineament"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4.5 * len(rows) + 1, 3.2), sharey=True, squeeze=False)
    for axis, row in zip(axes[0], rows, strict=True):
        for number, (group, losses) in enumerate(row["losses"].items()):
            axis.plot(row["windows"], losses, marker="os^Dvp*X"[number % 8], ms=4, label=group)
        axis.set(
            title=f"{row['name'].removeprefix(FEWER)}, seed {row['seed']}",
            xlabel="epoch",
            ylabel="mean training loss",
        )
    axes[0][-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def pages(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the name and the text of each page."""
    picture = "\n![Loss of each group by epoch](convergence.svg)\n" if charted(document) else ""
    missing = document["not_run"]
    why = [f"- {name}: {reason}" for name, reason in missing["not_planned"].items()]
    untried = _lacking(document, missing["parts"])
    return {
        "systems.md": SYSTEMS.format(
            table=honest_table(document), shipped=shipped_table(document),
            lacking="\n".join([*_lacking(document, missing["table"]), *why]),
        ),
        "ablations.md": ABLATIONS.format(
            carries=carries_over(document), parts=parts_table(document), adaptive=adaptive_table(document),
            masks=mask_table(document), lacking="\n".join(["\n## Not run\n", *untried, ""]) if untried else "",
        ),
        "convergence.md": CONVERGENCE.format(convergence=convergence_table(document) + picture),
    }  # fmt: skip


def _lacking(document: Mapping[str, Any], missing: Mapping[str, Sequence[int]]) -> list[str]:
    return [
        f"- {name}, seed {', '.join(map(str, seeds))}: `lineament/configs/{document['configs'][name]}`"
        for name, seeds in missing.items()
    ]
