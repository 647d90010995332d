"""Cache a face trunk's features of labelled images, for `lineament audit-labels --features`.

    python scripts/cache_features.py DATA --layout parquet --weights TRUNK.safetensors --rows 12288 --out runs/features
    lineament audit-labels runs/features/predictions.parquet --features runs/features/features.npy --images DATA --out runs/audit-labels

Writes features.npy (N,1024) and predictions.parquet with the labels of the same rows (its probabilities are placeholders of 0.5).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from lineament.data.labelled import Subset
from lineament.evaluation.evaluate import open_source, stored_crop, to_predictions
from lineament.evaluation.predictions import save
from lineament.images import load_image
from lineament.models.backbone import RECIPES, create_backbone
from lineament.models.layers import Preprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--layout", default="parquet")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--trunk", default="mobilenetv1_100")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = open_source(arguments.data, arguments.layout, "all")
    source = Subset(source, np.arange(min(arguments.rows or len(source.table), len(source.table))))
    recipe = RECIPES[arguments.trunk]
    trunk = create_backbone(arguments.trunk, arguments.weights).eval()
    preprocess = Preprocess((160, 160), recipe.channels, recipe.mean, recipe.std)
    features = []
    with torch.inference_mode():
        for start in range(0, len(source.table), 32):
            rows = range(start, min(start + 32, len(source.table)))
            crops = np.concatenate([stored_crop(load_image(source.read_bytes(row)).pixels)[0].pixels for row in rows])
            tight = torch.from_numpy(crops[:, :, 30:208, :])
            features.append(trunk(preprocess(tight).contiguous(memory_format=torch.channels_last))[-1].mean((2, 3)).numpy())
            print(f"\r{rows.stop}/{len(source.table)}", end="", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.save(arguments.out / "features.npy", np.concatenate(features).astype(np.float32))
    names = source.table.attributes
    save(to_predictions(source.table, np.zeros((len(source.table), len(names))), names), arguments.out / "predictions.parquet")
    print()


if __name__ == "__main__":
    main()
