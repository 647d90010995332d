"""Measure the mean face: 68 points of many photos, each moved onto the five-point template by the best similarity,
averaged.

Run: python scripts/measure_mean_face.py ../shared/data/landmarks68 > lineament/data/mean_face.py   (then ruff format)
"""

import csv
import sys
from pathlib import Path

import numpy as np

from lineament.geometry import TEMPLATE, transform_points, umeyama

HEADER = '''"""The mean face in the aligned crop: constants, statistics over many faces, made by
`scripts/measure_mean_face.py`.

Convention: pixels of the 178x218 crop; 68 points in iBUG order, 5 in the detector's order.
Source: the {count} training photos of Helen (68 iBUG points), each moved onto `geometry.TEMPLATE` by a similarity; made
symmetric.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def five_of_68(landmarks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the detector's five points (5,2) of 68 iBUG points (68,2): eye middles, nose tip, mouth corners."""
    eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


MEAN_FACE_68: npt.NDArray[np.float64] = np.array(
'''
MIRROR = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    27,
    28,
    29,
    30,
    35,
    34,
    33,
    32,
    31,
    45,
    44,
    43,
    42,
    47,
    46,
    39,
    38,
    37,
    36,
    41,
    40,
]
MIRROR += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]


def five_of_68(points):
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def main(folder):
    with (Path(folder) / "landmarks.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    faces = [np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)]) for row in rows]
    mean = np.mean([transform_points(umeyama(five_of_68(face), TEMPLATE), face) for face in faces], axis=0)
    middle = TEMPLATE[:2, 0].mean()
    mirrored = mean[MIRROR] * [-1, 1] + [2 * middle, 0]
    mean = (mean + mirrored) / 2
    print(HEADER.format(count=len(faces)), end="")
    print("    [")
    for row in range(0, 68, 7):
        print("        " + ", ".join(f"[{x:.1f}, {y:.1f}]" for x, y in mean[row : row + 7]) + ",")
    print("    ]\n)  # fmt: skip")
    print("MEAN_FACE_5: npt.NDArray[np.float64] = five_of_68(MEAN_FACE_68)")


main(sys.argv[1])
