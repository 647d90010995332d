"""The mean face in the aligned crop: constants, statistics over many faces, made by `scripts/measure_mean_face.py`.

Convention: pixels of the 178x218 crop; 68 points in iBUG order, 5 in the detector's order.
Source: the 435 training photos of Helen (68 iBUG points), each moved onto `geometry.TEMPLATE` by a similarity; made
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
    [
        [46.0, 114.9], [46.4, 126.0], [47.7, 137.1], [50.2, 147.8], [54.7, 157.8], [61.7, 166.3], [70.1, 173.3],
        [79.1, 178.9], [89.0, 180.5], [98.9, 178.9], [107.9, 173.3], [116.3, 166.3], [123.2, 157.8], [127.8, 147.8],
        [130.2, 137.1], [131.5, 126.0], [131.9, 114.9], [53.6, 105.9], [58.8, 100.8], [66.4, 98.9], [74.4, 99.7],
        [82.0, 102.3], [95.9, 102.3], [103.5, 99.7], [111.5, 98.9], [119.1, 100.8], [124.3, 105.9], [89.0, 111.9],
        [89.0, 119.0], [89.0, 126.0], [89.0, 133.3], [80.2, 138.9], [84.4, 140.2], [89.0, 141.4], [93.5, 140.2],
        [97.8, 138.9], [62.5, 113.3], [67.2, 110.5], [73.0, 110.5], [77.8, 114.3], [72.6, 115.3], [66.9, 115.2],
        [100.1, 114.3], [105.0, 110.5], [110.7, 110.5], [115.4, 113.3], [111.0, 115.2], [105.3, 115.3], [72.4, 152.4],
        [78.5, 149.8], [84.8, 148.4], [89.0, 149.4], [93.1, 148.4], [99.4, 149.8], [105.5, 152.4], [99.6, 158.2],
        [93.5, 160.7], [89.0, 161.2], [84.5, 160.7], [78.3, 158.2], [74.9, 152.7], [84.7, 151.9], [89.0, 152.4],
        [93.2, 151.9], [103.0, 152.7], [93.3, 155.3], [89.0, 155.8], [84.7, 155.3],
    ]
)  # fmt: skip
MEAN_FACE_5: npt.NDArray[np.float64] = five_of_68(MEAN_FACE_68)
