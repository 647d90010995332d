"""Write how the features of the shipped networks spread over train images: lineament/weights/feature_spread.npz.

    python scripts/measure_feature_spread.py [--images 4000]

stored crops of people whom training sees, drawn by a seed -> features -> mean and standard deviation, by the hash of
the network's trained weights

`lineament teach` reads it (`lineament/teach/feature_spread.py`). Two numbers a feature, of thousands of people at once:
nothing of any one of them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

import lineament
from lineament.data.reserved import reserved
from lineament.evaluation.evaluate import open_source, stored_crop
from lineament.images import load_image
from lineament.runtime.network import Network
from lineament.teach.feature_spread import FILE
from lineament.teach.own_attribute import base_of

NETWORKS, SEED = ("default", "fast"), 20


def spread_over(network: Network, data: Path, images: int) -> np.ndarray:
    """Return mean and standard deviation (2,D) of a network's features over train images of people that are not
    reserved."""
    source = open_source(str(data / "celeba" / "train-parquet"), "parquet", "all")
    rows = np.flatnonzero(~reserved(source.table.identity, len(source.table)))
    rows = np.sort(np.random.default_rng(SEED).permutation(rows)[:images])
    features = []
    for row in rows:
        crops, _ = stored_crop(load_image(source.read_bytes(int(row))).pixels)
        features.append(network.with_features(crops).features[0])
    x = np.array(features, np.float64)
    return np.stack([x.mean(0), x.std(0)]).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or "../shared/data"))
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    networks = [lineament.load(name).network for name in NETWORKS]
    found = {base_of(one.card)["sha256"]: spread_over(one, given.data, given.images) for one in networks}
    np.savez_compressed(given.out, **found)
    print(given.out, {key[:8]: value.shape for key, value in found.items()}, given.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
