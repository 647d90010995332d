"""Time and memory of evaluating and bootstrapping a large prediction file: 200,000 images x 40 attributes, 1,000 draws.

    python benchmarks/metrics_scale.py [--images 200000] [--draws 1000]

The predictions are drawn from a known process; what is timed is reading the Parquet file, the scorecard, and a paired bootstrap of two systems.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lineament import predictions
from lineament.decision import sigmoid
from lineament.engine.scorecard import scorecard
from lineament.metrics.bootstrap import draw_counts
from lineament.predictions import Predictions
from lineament.schema import CELEBA_40


def simulated(images: int, seed: int = 0) -> Predictions:
    """Return predictions of 20 photos per person, accuracy about 90 %."""
    rng = np.random.default_rng(seed)
    rate = np.linspace(0.02, 0.8, 40)
    targets = (rng.random((images, 40)) < rate).astype(np.int8)
    raw = sigmoid(rng.normal(0, 2, targets.shape) + (2 * targets - 1) * 2 + np.log(rate / (1 - rate)))
    names = tuple(f"{i:06d}.jpg" for i in range(images))
    every = np.ones(targets.shape, bool)
    return Predictions(names, CELEBA_40, raw, None, targets, every, np.ones(images, bool), identity=rng.integers(0, images // 20, images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.parquet"
        predictions.save(simulated(arguments.images), path)
        start = time.perf_counter()
        found = predictions.load(path)
        loaded = time.perf_counter()
        card = scorecard(found)
        scored = time.perf_counter()
        draw_counts([found.raw >= 0.5, found.raw >= 0.52], found.targets, found.known, found.identity, draws=arguments.draws)
        by_person = time.perf_counter()
        draw_counts([found.raw >= 0.5, found.raw >= 0.52], found.targets, found.known, None, draws=arguments.draws)
        by_image = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform != "darwin" else 1e9)
    print(f"{arguments.images} images x 40 attributes, {arguments.draws} draws; mean accuracy {card['mean_accuracy']:.4f}")
    print(f"read {loaded - start:.1f} s, scorecard {scored - loaded:.1f} s, bootstrap by person {by_person - scored:.1f} s, "
          f"by image {by_image - by_person:.1f} s; peak memory {peak:.2f} GB")  # fmt: skip


if __name__ == "__main__":
    main()
