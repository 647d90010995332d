"""Predictions made by a known process: logits drawn around the truth, so that calibration and differences have known
answers."""

from __future__ import annotations

import numpy as np

from lineament.decision.layer import sigmoid
from lineament.evaluation.predictions import Predictions
from lineament.schema import CELEBA_40


def simulated(
    rows=400, attributes=CELEBA_40[:6], *, seed=0, people=60, sharpness=2.0, distortion=1.0, calibrated=False
) -> Predictions:
    """Logits are exactly log-odds of the truth times `distortion`; identities repeat and share part of their noise."""
    rng = np.random.default_rng(seed)
    rate = np.linspace(0.15, 0.7, len(attributes))
    targets = (rng.random((rows, len(attributes))) < rate).astype(np.int8)
    logits = rng.normal(0, sharpness, targets.shape) + (2 * targets - 1) * sharpness**2 / 2 + np.log(rate / (1 - rate))
    raw = sigmoid(distortion * logits)
    return Predictions(
        tuple(f"{i:06d}.jpg" for i in range(rows)), tuple(attributes), raw, sigmoid(logits) if calibrated else None,
        targets, np.ones(targets.shape, bool), np.ones(rows, bool), identity=rng.integers(0, people, rows),
        split=np.array(["val"] * rows),
    )  # fmt: skip
