"""The views of labelled images that the decision layer is fitted on: stored crops, detected faces, detected at half
size with a cut frame.

    images of validation and of the train shards that the shipped network never saw -> three views ->
        runs/refit/*.parquet -> two splits

Scored once for a network: a file that names another network is made anew. Nothing of it is kept in git: it holds
CelebA's labels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lineament.data.celeba import Official
from lineament.data.hub_parquet import HubParquet
from lineament.data.labelled import Source, Subset
from lineament.detection.retinaface import RetinaFace
from lineament.evaluation import predictions
from lineament.evaluation.cross_split import Split
from lineament.evaluation.evaluate import predict
from lineament.evaluation.predictions import Predictions
from lineament.runtime.network import Network

VIEWS = ("stored", "detect", "half")
UNSEEN_SHARDS = (10, 11, 12, 13)
"""Shards of train-parquet that came after the shipped network was trained (on shards 0 to 9). The first two are scored
in every view."""
CUT = 0.15
"""Most of a side that a frame cuts off, drawn evenly from 0."""


class HalfSize:
    """A source whose pictures lose up to `CUT` at one side, drawn by a fixed seed, and are then scaled to half."""

    def __init__(self, source: Source, seed: int = 7) -> None:
        self.source, self.table, self.seed = source, source.table, seed

    def read_bytes(self, row: int) -> bytes:
        """Return row `row` as PNG."""
        with Image.open(io.BytesIO(self.source.read_bytes(row))) as picture:
            whole = picture.convert("RGB")
        rng = np.random.default_rng([self.seed, row])
        side, cut = int(rng.integers(4)), float(rng.uniform(0, CUT))
        width, height = whole.size
        box = [0, 0, width, height]
        box[(1, 3, 0, 2)[side]] = (
            int(cut * height),
            height - int(cut * height),
            int(cut * width),
            width - int(cut * width),
        )[side]
        part = whole.crop((box[0], box[1], box[2], box[3]))
        out = io.BytesIO()
        part.resize((part.width // 2, part.height // 2), Image.Resampling.BILINEAR).save(out, "PNG", compress_level=1)
        return out.getvalue()


def scored(
    name: str, view: str, source: Callable[[], Source], network: Network, sha256: str, folder: Path, threads: int
) -> Predictions:
    """Return predictions of one view, from `folder` where this network's are there already."""
    path = folder / f"{name}-{view}.parquet"
    if path.is_file() and (found := predictions.load(path)).meta.get("network_sha256") == sha256:
        return found
    images = source()
    print(f"scoring {len(images.table)} images of {name}, {view}", flush=True)
    find: Any = None if view == "stored" else RetinaFace(threads=1).detect
    outcome = predict(
        HalfSize(images) if view == "half" else images, network, network.card.attributes, find=find, threads=threads
    )
    found = replace(
        outcome.predictions, meta={"network_sha256": sha256, "model": network.card.name, "data": f"{name}/{view}"}
    )
    predictions.save(found, path)
    return found


def unseen(shards: Path, most: int = len(UNSEEN_SHARDS)) -> Subset:
    """Return the images of the first `most` shards that the shipped network never saw."""
    starts = np.cumsum([0, *(len(HubParquet(shard).table) for shard in sorted(shards.glob("*.parquet")))])
    rows = [np.arange(starts[shard], starts[shard + 1]) for shard in UNSEEN_SHARDS[:most]]
    return Subset(HubParquet(shards), np.concatenate(rows))


def splits(
    data: Path, network: Network, sha256: str, folder: Path, threads: int
) -> tuple[Split, Split, dict[str, Predictions]]:
    """Return train (images the network never saw) and validation, and validation's views by name."""
    shards = data / "celeba" / "train-parquet"
    train = [
        scored("train", v, lambda v=v: unseen(shards, 4 if v == "stored" else 2), network, sha256, folder, threads)
        for v in VIEWS
    ]
    val = {
        v: scored("val", v, lambda: Official(data / "celeba" / "official", "val"), network, sha256, folder, threads)
        for v in VIEWS
    }
    return Split.of("train", train), Split.of("val", list(val.values())), val
