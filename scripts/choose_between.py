"""How far to go from the old default's weights to a run's: accuracy along the line between them, on train images that
neither was trained on.

    weights (1 - a) * old + a * new for each a -> the same unseen images in one view -> accuracy, log-loss, AUC per a

    python scripts/choose_between.py runs/branched-ordinary-s0 --old default --view half --images 1000

Prints one line per share; `scripts/ship.py --between` ships the one chosen. Validation has no part in the choice.
Source: WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from refit_views import VIEWS, HalfSize, unseen
from ship import between

from lineament.data.labelled import LabelledFiles, Source, Subset
from lineament.detection.retinaface import RetinaFace
from lineament.evaluation.cross_split import log_loss_1d
from lineament.evaluation.evaluate import predict
from lineament.export.onnx_export import export
from lineament.metrics.calibration import logit
from lineament.metrics.counts import count, mean_of_known
from lineament.metrics.ranking import roc_auc
from lineament.models.checkpoint import find_weights
from lineament.runtime.registry import load_network
from lineament.types import Bool, Float64

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Side:
    """Several networks asked about the same crop: their logits (N,M*A) side by side, so that each photo is decoded and
    aligned once."""

    def __init__(self, networks: list[Any]) -> None:
        self.networks = networks

    def __call__(self, crops: Any) -> Any:
        return SimpleNamespace(logits=np.concatenate([network(crops).logits for network in self.networks], 1))


def drawn(shards: Path, images: int, seed: int) -> Source:
    """Return `images` of those that the shipped network never saw, drawn by a seed."""
    source = unseen(shards)
    return Subset(source, np.sort(np.random.default_rng(seed).choice(len(source.table), images, replace=False)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--old", default="default")
    parser.add_argument("--view", choices=VIEWS, default="stored")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA", "../shared/data")))
    given = parser.parse_args()
    networks = []
    for share in SHARES:
        folder = given.run / "between" / str(share)
        made = between(find_weights(given.old), given.run / "model.safetensors", share, folder / "model.safetensors")
        export(made, folder / "model.onnx", name="between")
        networks.append(load_network(str(folder / "model.onnx"), threads=1))
    source, names = (
        drawn(given.data / "celeba" / "train-parquet", given.images, given.seed),
        networks[0].card.attributes,
    )
    find: Any = None if given.view == "stored" else RetinaFace(threads=1).detect
    columns = tuple(f"{name} at {share}" for share in SHARES for name in names)
    said = predict(HalfSize(source) if given.view == "half" else source, Side(networks), columns, find=find).predictions
    row_of = {file: row for row, file in enumerate(source.table.files)}
    truth = source.table.take(np.array([row_of[file] for file in said.files], np.intp))
    for place, share in enumerate(SHARES):
        probs = said.raw[:, place * len(names) : (place + 1) * len(names)]
        print(f"{given.view} {share}: {in_words(probs, said.detected, names, truth)}", flush=True)


def in_words(raw: Float64, found: Bool, names: Sequence[str], truth: LabelledFiles) -> str:
    """Return accuracy, log-loss and AUC, means over attributes, of one network's probabilities for faces that were
    found."""
    at = [truth.attributes.index(name) for name in names]
    probs, targets, known = raw[found], truth.targets[found][:, at], truth.known[found][:, at]
    losses = [log_loss_1d(None, logit(probs[known[:, j], j]), targets[known[:, j], j]) for j in range(len(names))]
    accuracy, auc = (
        mean_of_known(values)
        for values in (count(probs >= 0.5, targets, known).accuracy, roc_auc(probs, targets, known))
    )
    return f"accuracy {100 * accuracy:.3f}, log-loss {np.mean(losses):.4f}, AUC {100 * auc:.3f}, {found.sum()} faces"


if __name__ == "__main__":
    main()
