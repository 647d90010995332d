"""What `lineament calibrate` does with 50 labels of one's own: log loss of people left out, beside not fitting.

    python benchmarks/calibrate_few.py PREDICTIONS [--model default] [--labels 50] [--samples 1000] [--out
        docs/benchmarks]

PREDICTIONS is a labelled prediction file of the model (`lineament evaluate ... --predictions FILE`). Each sample draws
an attribute and a set of people, in half of the samples people whose annotators say yes earlier or later (the odds of
yes moved by a factor drawn from a log-normal with standard deviation 0.8: prior shift, by drawing rows of one class
more often), fits the layer on `--labels` of them with `calibrator_1d("auto")` and judges it on 2,000 others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import sheet

from lineament import load
from lineament.evaluation import predictions
from lineament.evaluation.calibrate import PRIOR_SD, calibrator_1d
from lineament.evaluation.cross_split import log_loss_1d
from lineament.evaluation.predictions import Predictions
from lineament.metrics.calibration import logit

JUDGED, SPREAD = 2000, 0.8


def one(found: Predictions, base: dict[str, Any], labels: int, moved: bool, rng: np.random.Generator) -> float:
    """Return log loss with the fit minus without it, in nats, of one drawn sample."""
    column = int(rng.integers(len(found.attributes)))
    raw, targets = found.raw[:, column], found.targets[:, column]
    odds = np.exp(rng.normal(0, SPREAD)) if moved else 1.0
    weight = np.where(targets == 1, odds, 1.0) * found.known[:, column]
    rows = rng.choice(len(raw), labels + JUDGED, p=weight / weight.sum())
    fit, judge = rows[:labels], rows[labels:]
    entry = base.get(found.attributes[column])
    fitted = calibrator_1d("auto", raw[fit], targets[fit], entry)
    return log_loss_1d(fitted, logit(raw[judge]), targets[judge]) - log_loss_1d(
        entry, logit(raw[judge]), targets[judge]
    )


def measure(found: Predictions, base: dict[str, Any], labels: int, samples: int, seed: int = 0) -> dict[str, Any]:
    """Return mean difference, its 95 % interval, and the share of samples that are worse by more than 0.01 nats; on the
    same and on moved people."""
    rng = np.random.default_rng(seed)
    document: dict[str, Any] = {"labels": labels, "samples": samples, "prior_sd": list(PRIOR_SD)}
    for name, chance in (("same people", 0.0), ("half of them moved", 0.5)):
        difference = np.array([one(found, base, labels, rng.random() < chance, rng) for _ in range(samples)])
        error = 1.96 * difference.std() / np.sqrt(samples)
        worse = float(np.mean(difference > 0.01))
        mean = float(difference.mean())
        document[name] = {"mean": mean, "interval": [mean - float(error), mean + float(error)], "worse": worse}
    return document


def page(document: dict[str, Any]) -> list[str]:
    """Return the page's lines."""
    lines = sheet.about_lines("Calibrating on a few labels of one's own", document)
    lines += [
        f"`lineament calibrate` shrinks towards the shipped layer. {document['samples']:,} samples of "
        f"{document['labels']} labels of one attribute",
        f"each, judged on {JUDGED:,} other rows; log loss in nats, fitted minus not fitted (below 0: the fit "
        "helps).", "",
        "| people | mean difference | 95 % interval | worse by more than 0.01 |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    for name in ("same people", "half of them moved"):
        row = document[name]
        lines.append(
            f"| {name} | {row['mean']:+.4f} | {row['interval'][0]:+.4f} .. {row['interval'][1]:+.4f} | "
            f"{100 * row['worse']:.1f} % |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    given = parser.parse_args()
    model = load(given.model, threads=1)
    found = predictions.load(given.predictions).found()
    about = {"command": "python benchmarks/calibrate_few.py PREDICTIONS", "environment": sheet.environment(model)}
    document = about | measure(found, dict(model.card.decision.calibration), given.labels, given.samples)
    sheet.write(given.out, "calibrate-few", document, page(document))


if __name__ == "__main__":
    main()
