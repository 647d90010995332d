"""Measure CelebA's five-point layout with our detector, and compare it with `lineament.geometry`.

    python scripts/measure_template.py [--data ../shared/data] [--limit N]

Every validation image of the official aligned layout is detected whole. Where it shows several faces, the one nearest
the layout's middle counts (found in two rounds: the median over all finds, then the nearest find of each image). The
layout is the median of each coordinate, which forgives the few images whose alignment, or whose detection, is wrong.
Also measured: where the points lie in the detector's boxes. Exit status 1 if the code's constants differ by more than
0.05 pixels (0.002 of a box).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from lineament.detection.retinaface import RetinaFace
from lineament.geometry import _LAYOUT_IN_BOX, TEMPLATE
from lineament.images import load_image


def validation_files(root: Path) -> list[Path]:
    """Return the paths of the images of official partition 1 that are there."""
    lines = (root / "celeba" / "official" / "list_eval_partition.txt").read_text().splitlines()
    folder = root / "celeba" / "official" / "img_align_celeba"
    names = [name for name, part in (line.split() for line in lines) if part == "1"]
    return [folder / name for name in names if (folder / name).is_file()]


def nearest(points: list[np.ndarray], centre: np.ndarray) -> list[int]:
    """Return per image the index of the find whose mean point lies nearest to `centre`."""
    return [int(np.linalg.norm(found.mean(1) - centre, axis=1).argmin()) for found in points]


def describe(name: str, values: np.ndarray) -> np.ndarray:
    """Print median, mean and spread per coordinate of values (n,5,2); return the median."""
    median = np.median(values, 0)
    low, high = np.percentile(values, (16, 84), axis=0)
    print(name)
    for part, row in (("median", median), ("mean", values.mean(0)), ("half the 16-84 % range", (high - low) / 2)):
        print(f"  {part:24}", " ".join(f"({x:.3f}, {y:.3f})" for x, y in row))
    return median


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA", "../shared/data")))
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--save", type=Path, default=None, help="keep the raw finds here (.npz)")
    options = parser.parse_args()
    detector, files = RetinaFace(threads=1), validation_files(options.data)[: options.limit]
    finds = [detector.detect(load_image(path).pixels) for path in files]
    seen = [found for found in finds if len(found)]
    points, boxes = [found.keypoints for found in seen], [found.boxes_xyxy for found in seen]
    middle = np.median(np.concatenate(points).mean(1), 0)
    chosen = nearest(points, middle)
    keypoints = np.stack([found[i] for found, i in zip(points, chosen, strict=True)]).astype(np.float64)
    box = np.stack([found[i] for found, i in zip(boxes, chosen, strict=True)]).astype(np.float64)
    print(
        f"images {len(files)}, no face in {len(files) - len(seen)}, several faces in "
        f"{sum(len(found) > 1 for found in seen)}"
    )
    template = describe("template, crop pixels", keypoints)
    distance = np.linalg.norm(keypoints - template, axis=2).mean(1)
    print(
        f"mean point distance to the median: median {np.median(distance):.2f}, 95 % {np.percentile(distance, 95):.2f} "
        "pixels"
    )
    layout = describe(
        "points in the box, fraction of its sides",
        (keypoints - box[:, None, :2]) / (box[:, None, 2:] - box[:, None, :2]),
    )
    if options.save:
        np.savez(options.save, keypoints=keypoints, boxes=box)
    off = float(np.abs(template - TEMPLATE).max()), float(np.abs(layout - _LAYOUT_IN_BOX).max())
    print(f"largest difference to the code's constants: template {off[0]:.3f} pixels, layout {off[1]:.4f}")
    return int(off[0] > 0.05 or off[1] > 0.002)


if __name__ == "__main__":
    sys.exit(main())
