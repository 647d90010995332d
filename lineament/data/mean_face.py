"""The mean face in the aligned crop: constants, statistics over many faces, made by `scripts/measure_mean_face.py`.

Convention: pixels of the 178x218 crop; 68 points in iBUG order, 5 in the detector's order.
Source: the 435 training photos of Helen (68 iBUG points), each moved onto `geometry.TEMPLATE` by a similarity; made symmetric.
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
        [45.9, 114.7], [46.3, 125.8], [47.6, 136.9], [50.1, 147.7], [54.6, 157.7], [61.6, 166.3], [70.0, 173.3],
        [79.1, 178.9], [89.0, 180.5], [98.9, 178.9], [108.0, 173.3], [116.4, 166.3], [123.4, 157.7], [127.9, 147.7],
        [130.4, 136.9], [131.7, 125.8], [132.1, 114.7], [53.5, 105.6], [58.7, 100.4], [66.4, 98.5], [74.4, 99.4],
        [82.0, 102.0], [96.0, 102.0], [103.6, 99.4], [111.6, 98.5], [119.3, 100.4], [124.5, 105.6], [89.0, 111.6],
        [89.0, 118.8], [89.0, 125.8], [89.0, 133.1], [80.2, 138.7], [84.5, 140.1], [89.0, 141.3], [93.5, 140.1],
        [97.8, 138.7], [62.5, 113.0], [67.2, 110.2], [72.9, 110.2], [77.8, 114.0], [72.6, 115.0], [66.8, 115.0],
        [100.2, 114.0], [105.1, 110.2], [110.8, 110.2], [115.5, 113.0], [111.2, 115.0], [105.4, 115.0], [72.4, 152.3],
        [78.5, 149.7], [84.8, 148.2], [89.0, 149.3], [93.2, 148.2], [99.5, 149.7], [105.6, 152.3], [99.7, 158.1],
        [93.5, 160.7], [89.0, 161.1], [84.5, 160.7], [78.3, 158.1], [74.9, 152.6], [84.8, 151.8], [89.0, 152.3],
        [93.2, 151.8], [103.1, 152.6], [93.3, 155.2], [89.0, 155.7], [84.7, 155.2],
    ]
)  # fmt: skip
MEAN_FACE_5: npt.NDArray[np.float64] = five_of_68(MEAN_FACE_68)
