"""Cohort audits of the default weights: FairFace (answer rates and detector misses; it has no attribute labels) and
CelebA's labelled groups.

    python scripts/audit_page.py [--data ../shared/data] [--model default]

Writes docs/benchmarks/audit.md. `make refit` runs it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lineament.data.table import LabelTable
from lineament.detection.retinaface import RetinaFace
from lineament.evaluation import predictions
from lineament.evaluation.audit import audit, join
from lineament.evaluation.evaluate import predict
from lineament.evaluation.predictions import Predictions
from lineament.report.tables import marked
from lineament.report.tables import percent as pc
from lineament.runtime.network import Network
from lineament.runtime.threads import default_threads
from lineament.schema import in_profile

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "audit.md"
SHOWN = 12


def on_fairface(network: Network, data: Path, threads: int) -> Predictions:
    """Return predictions on FairFace's photos, the face found and aligned by the detector."""
    source = LabelTable(data / "fairface" / "labels.csv", data / "fairface" / "images", labels=False)
    find = RetinaFace(threads=1).detect
    return predict(
        source, network, network.card.attributes, network.card.decision, find=find, threads=threads
    ).predictions


def cohort_lines(document: dict[str, Any]) -> list[str]:
    """Return the table of cohorts: images, detector misses, and the mean share of yes over the default profile."""
    lines = ["| cohort | faces | no face found |", "|---|---:|---:|"]
    return [
        *lines,
        *(f"| {name} | {row['images']} | {pc(row['undetected'])} |" for name, row in document["cohorts"].items()),
        "",
    ]


def gap_lines(document: dict[str, Any], rates: Sequence[str]) -> list[str]:
    """Return the largest gaps of the default profile's attributes, widest first by the first rate."""
    shown = {name: document["gaps"][name] for name in in_profile("default") if name in document["gaps"]}
    order = sorted(shown, key=lambda name: -(shown[name][f"{rates[0]}_gap"] or 0))[:SHOWN]
    heads = [f"{rate.replace('_', ' ')} gap" for rate in rates]
    lines = [
        f"| attribute | {' | '.join(heads)} | between ({rates[0].replace('_', ' ')}) |",
        f"|---|{'---:|' * len(rates)}---|",
    ]
    for name in order:
        cells = [pc(shown[name][f"{rate}_gap"]) + ("+" if shown[name].get(f"{rate}_gap_low") else "") for rate in rates]
        lines.append(
            f"| {marked(name)} | {' | '.join(cells)} | {' / '.join(shown[name][f'{rates[0]}_gap_between'] or [])} |"
        )
    return [*lines, ""]


def page(network: Network, fairface: Predictions, celeba: Predictions, data: Path) -> str:
    """Return docs/benchmarks/audit.md. fairface: `on_fairface`; celeba: labelled predictions on official validation."""
    table = data / "fairface" / "labels.csv"
    lines = [
        f"# Cohort audits of `{network.card.name}`",
        "",
        "Written by `scripts/audit_page.py`, part of `make refit`. Percent and points; `+`: outside the noise, "
        "intervals corrected for the number of",
        f"cohorts. The {SHOWN} widest gaps of the default profile. Rates that rest on fewer than 20 images are not "
        "judged.",
        "\\*: two annotators agree on fewer than 95 % of images (membership reconstructed).",
        "",
        "## FairFace: answers and misses, no accuracy",
        "",
        f"{len(fairface)} validation photos, 100 per race group; labels are age, gender and race only, so this says "
        "how often yes is said,",
        "not how often rightly: a gap may be the faces or the model.",
        "",
    ]
    for by in (["race"], ["gender"], ["race", "gender"]):
        document = audit(join(fairface, table, by))
        lines += [f"### By {' and '.join(by)}", "", *cohort_lines(document), *gap_lines(document, ["answer_rate"])]
    lines += [
        "## CelebA's own labelled groups, official validation",
        "",
        "`Male` and `Young` are labels too: binary, and noisy.",
        "",
    ]
    for by in (["Male"], ["Young"], ["Male", "Young"]):
        if not set(by) <= set(celeba.attributes):
            continue
        document = audit(join(celeba, None, by))
        lines += [
            f"### By {' and '.join(by)}",
            "",
            *cohort_lines(document),
            *gap_lines(document, ["tpr", "fpr", "accuracy", "answer_rate"]),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data")
    )
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    from lineament.runtime.registry import load_network

    network = load_network(arguments.model, threads=arguments.threads)
    celeba = predictions.load(ROOT / "runs" / "refit" / "val.parquet")
    PAGE.write_text(
        page(network, on_fairface(network, arguments.data, arguments.threads), celeba, arguments.data), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
