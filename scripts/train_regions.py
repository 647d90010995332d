"""Train the region network: python scripts/train_regions.py --config configs/cpu/regions.yaml --out results/regions [--sheet FILE.png].

--score-only measures the weights already in --out again and rewrites scores.json.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lineament.config import load_settings
from lineament.data.regions import GROUPS
from lineament.training.prepare.region_data import PLAIN, sample, unpack
from lineament.training.prepare.region_network import WEIGHTS_NAME, RegionConfig, load_faces, load_region_network, predict, score, train_regions


def sheet(network, faces, path):
    """Write a contact sheet: photo, truth and prediction per group, one row per face. It shows data set images: keep it out of git."""
    rows = []
    for face in faces:
        image, labels, known = sample(face, np.random.default_rng(0), PLAIN, reduce=1)
        said, truth = predict(network, image[None])[0], unpack(labels) & unpack(known)
        cells = [image]
        for k in range(len(GROUPS)):
            tint = image * 0.5
            tint[..., 0] += 127 * said[k]
            tint[..., 1] += 127 * truth[k]
            cells.append(tint.astype(np.uint8))
        rows.append(np.concatenate(cells, axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--sheet")
    parser.add_argument("--score-only", action="store_true")
    arguments = parser.parse_args()
    config = load_settings(RegionConfig, arguments.config)
    faces = load_faces(config)
    started = time.perf_counter()

    def progress(step, loss):
        if step % 20 == 0:
            spent = time.perf_counter() - started
            left = spent / step * (config.steps - step) / 60
            print(
                f"step {step}/{config.steps}  loss {loss:.3f}  {step * config.batch / spent:.0f} img/s  {left:.1f} min left",
                file=sys.stderr,
                flush=True,
            )

    if not arguments.score_only:
        scores = train_regions(config, faces, arguments.out, progress)
        shutil.copy(arguments.config, Path(arguments.out) / "config.yaml")
        print(json.dumps({part: scores[part] for part in ("parsing", "landmarks")}, indent=1))
    if arguments.score_only:
        scores = score(load_region_network(Path(arguments.out) / WEIGHTS_NAME), faces)
        (Path(arguments.out) / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
        print(json.dumps({part: scores[part] for part in ("parsing", "landmarks")}, indent=1))
    if arguments.sheet:
        network = load_region_network(Path(arguments.out) / WEIGHTS_NAME)
        sheet(network, [*faces.held_parsed[:8], *faces.held_landmarked[:4]], arguments.sheet)


main()
