"""From which face size on are answers worth giving? Shrinks validation crops so that the eyes are ever fewer pixels apart, and scores each size.

    python scripts/measure_size.py [--model default] [--data ../shared/data] [--every 10] [--json runs/size.json]

Convention: a crop in CelebA's layout has its eyes a fixed distance apart; it is shrunk (antialiased, as cameras and `geometry.warp` do) to the
wanted distance and enlarged again, as alignment enlarges a small face.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lineament import geometry
from lineament.data.celeba import Official
from lineament.data.labelled import Source, Subset
from lineament.engine.evaluate import to_predictions
from lineament.engine.scorecard import scorecard
from lineament.images import load_image
from lineament.types import Crops, ModelOutput, UInt8

ROOT = Path(__file__).resolve().parent.parent
EYE_DISTANCES = (28.0, 20.0, 14.0, 10.0, 7.0, 5.0, 3.5)
MOST_LOST = 0.01
"""Accuracy given up before the honest answer is "cannot tell": one point of mean accuracy."""


def full_eye_distance() -> float:
    """Return the pixels between the eyes in an untouched crop."""
    return float(np.linalg.norm(geometry.TEMPLATE[1] - geometry.TEMPLATE[0]))


def degrade(pixels: UInt8, eye_distance: float) -> UInt8:
    """Return a crop (218,178,3) as it looks when its eyes were only `eye_distance` pixels apart."""
    scale = eye_distance / full_eye_distance()
    if scale >= 1:
        return pixels
    height, width = geometry.CROP_SIZE
    small = Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def measure(source: Source, network: Callable[[Crops], ModelOutput], attributes: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracy per eye distance (mean and per attribute), and the smallest distance that loses at most `MOST_LOST` of the mean."""
    rows = []
    for distance in (full_eye_distance(), *EYE_DISTANCES):
        logits = []
        for row in range(len(source.table)):
            pixels = degrade(load_image(source.read_bytes(row)).pixels, distance)
            crop = Crops(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None], np.zeros((1, 2, 3), np.float32))
            logits.append(network(crop).logits[0].astype(np.float64))
        card = scorecard(to_predictions(source.table, np.stack(logits), attributes))
        per = {name: found["accuracy"] for name, found in card["attributes"].items()}
        rows.append({"eye_distance": round(distance, 1), "mean_accuracy": card["mean_accuracy"], "mean_ap": card["mean_ap"], "attributes": per})
    enough = [row["eye_distance"] for row in rows if row["mean_accuracy"] >= rows[0]["mean_accuracy"] - MOST_LOST]
    return {"images": len(source.table), "majority_accuracy": card["majority_accuracy"], "most_lost": MOST_LOST,
            "min_eye_distance": min(enough), "sizes": rows}  # fmt: skip


def sample(data: Path, every: int) -> Source:
    """Return every n-th official validation image."""
    source = Official(data / "celeba" / "official", "val")
    return Subset(source, np.arange(0, len(source.table), every))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data"))
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    from lineament.runtime.registry import load_network

    network = load_network(arguments.model, threads=1)
    found = measure(sample(arguments.data, arguments.every), network, network.card.attributes)
    text = json.dumps(found, indent=1)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    for row in found["sizes"]:
        print(f"eyes {row['eye_distance']:5.1f} px apart: mean accuracy {100 * row['mean_accuracy']:.2f}, mean AP {100 * row['mean_ap']:.2f}")
    print(f"majority {100 * found['majority_accuracy']:.2f}; at most {100 * MOST_LOST:.0f} point lost down to {found['min_eye_distance']} px")


if __name__ == "__main__":
    main()
