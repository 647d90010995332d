"""Score a trained region network again on its held-out faces and rewrite scores.json; draw some of them.

python scripts/score_regions.py --config regions --out results/regions [--sheet FILE.png]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from lineament.config import load_settings
from lineament.data.regions import GROUPS
from lineament.training.prepare.region_data import PLAIN, sample, unpack
from lineament.training.prepare.region_network import (
    WEIGHTS_NAME,
    RegionConfig,
    load_faces,
    load_region_network,
    predict,
    score,
)


def sheet(network, faces, path):
    """Write a contact sheet: photo, truth and prediction per group, one row per face. It shows data set images: keep it
    out of git."""
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--sheet")
    arguments = parser.parse_args()
    config, out = load_settings(RegionConfig, arguments.config), Path(arguments.out)
    faces, network = load_faces(config), load_region_network(out / WEIGHTS_NAME)
    scores = score(network, faces)
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
    print(json.dumps({part: rows for part, rows in scores.items() if part != "held_out"}, indent=1))
    if arguments.sheet:
        sheet(network, [*faces.held_parsed[:8], *faces.held_landmarked[:4]], arguments.sheet)


main()
