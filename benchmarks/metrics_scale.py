"""Time and memory of evaluating and bootstrapping a large prediction file. Writes docs/benchmarks/metrics-scale.md and
.json.

    python benchmarks/metrics_scale.py [--images 200000] [--draws 1000] [--runs 3] [--out docs/benchmarks]

The predictions are drawn from a known process; what is timed is reading the Parquet file, the scorecard, and a paired
bootstrap of two systems, by person and by image. Each run is a fresh process, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sheet

from lineament.decision.layer import sigmoid
from lineament.evaluation import predictions
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import scorecard
from lineament.metrics.bootstrap import draw_counts
from lineament.runtime.threads import processor_name
from lineament.schema import CELEBA_40

STEPS = {
    "read": "read the Parquet file",
    "scorecard": "scorecard",
    "by_person": "bootstrap by person",
    "by_image": "bootstrap by image",
}
MOST_SECONDS, MOST_GB = 60, 2


def simulated(images: int, seed: int = 0) -> Predictions:
    """Return predictions of 20 photos per person, accuracy about 90 %."""
    rng = np.random.default_rng(seed)
    rate = np.linspace(0.02, 0.8, 40)
    targets = (rng.random((images, 40)) < rate).astype(np.int8)
    raw = sigmoid(rng.normal(0, 2, targets.shape) + (2 * targets - 1) * 2 + np.log(rate / (1 - rate)))
    names = tuple(f"{i:06d}.jpg" for i in range(images))
    every = np.ones(targets.shape, bool)
    return Predictions(
        names,
        CELEBA_40,
        raw,
        None,
        targets,
        every,
        np.ones(images, bool),
        identity=rng.integers(0, images // 20, images),
    )


def once(path: Path, draws: int) -> dict[str, float]:
    """Return the seconds of each step on a prediction file, their sum, and the peak memory of this process in GB."""
    marks = [time.perf_counter()]
    found = predictions.load(path)
    marks.append(time.perf_counter())
    card = scorecard(found)
    marks.append(time.perf_counter())
    systems = [found.raw >= 0.5, found.raw >= 0.52]
    for identity in (found.identity, None):
        draw_counts(systems, found.targets, found.known, identity, draws=draws)
        marks.append(time.perf_counter())
    seconds = dict(zip(STEPS, np.diff(marks).tolist(), strict=True))
    return {**seconds, "total": marks[-1] - marks[0], "peak_gb": peak_gb(), "accuracy": card["mean_accuracy"]}


def peak_gb() -> float:
    """Return this process's own high-water mark; on Linux not getrusage's, which begins at that of the process that
    started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)


def measure(images: int, draws: int, runs: int) -> list[dict[str, float]]:
    """Return `once` of fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.parquet"
        predictions.save(simulated(images), path)
        command = [sys.executable, __file__, "--once", str(path), "--draws", str(draws)]
        environment = os.environ | {"PYTHONPATH": str(sheet.ROOT)}
        done = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(runs)
        ]
        return [json.loads(one.stdout) for one in done]


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    about, runs = document["environment"], document["runs"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    rows = [(words, *_spread([run[key] for run in runs])) for key, words in {**STEPS, "total": "all of it"}.items()]
    peak = max(run["peak_gb"] for run in runs)
    total = float(np.median([run["total"] for run in runs]))
    met = "met" if total < MOST_SECONDS and peak < MOST_GB else "missed"
    return [
        "# Measuring a large prediction file", "", f"<!-- written by `{document['command']}`: do not edit -->", "",
        f"Command: `{document['command']}`. {about['processor']}, {about['cpus']} CPUs, {about['system']}; "
        f"{versions}.", "",
        f"{document['images']:,} images x 40 attributes, {document['draws']:,} draws of two systems, seconds over "
        f"{len(runs)} fresh processes.",
        f"Peak memory {peak:.2f} GB. The target, under {MOST_SECONDS} s and {MOST_GB} GB, is {met}.", "",
        *sheet.table(("step", "median s", "fastest", "slowest"), rows),
    ]  # fmt: skip


def _spread(seconds: Sequence[float]) -> tuple[str, str, str]:
    return f"{np.median(seconds):.1f}", f"{min(seconds):.1f}", f"{max(seconds):.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=sheet.ROOT / "docs" / "benchmarks")
    parser.add_argument("--once", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.once is not None:
        print(json.dumps(once(given.once, given.draws)))
        return
    machine = {"processor": processor_name(), "cpus": os.cpu_count(), "system": platform.platform()}
    versions = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("lineament", "numpy", "pyarrow")},
    }
    document = {
        "command": sheet.command("metrics_scale", arguments), "environment": {**machine, "versions": versions},
        "images": given.images, "draws": given.draws, "runs": measure(given.images, given.draws, given.runs),
    }  # fmt: skip
    sheet.write(given.out, "metrics-scale", document, page(document))


if __name__ == "__main__":
    main()
