"""How a network's features spread over many faces: what makes them comparable when there are few examples.

network -> (mean, spread) of its features over train images, if they are known -> Scale ; else that of the examples

Sixty photos say little of how much each of a thousand features varies, and what they say is mixed with the two sides
that are to be told apart. Known for the shipped networks (`weights/feature_spread.npz`, written by
`scripts/measure_feature_spread.py`), found by the hash of their trained weights. Chosen on attributes and a trunk that
no figure of `docs/benchmarks/teach.md` rests on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineament.runtime.network import Network
from lineament.teach.logistic import Scale
from lineament.teach.own_attribute import base_of

FILE = Path(__file__).resolve().parent.parent / "weights" / "feature_spread.npz"


def scale_of(network: Network, features: npt.ArrayLike) -> Scale:
    """Return the scale of a network's features; of these (N,D) themselves where its spread over many faces is not
    known."""
    known = read_spread(base_of(network.card)["sha256"])
    if known is None or known.shape[1] != np.asarray(features).shape[1]:
        return Scale.fit(features)
    return Scale.known(*known)


def read_spread(sha256: str) -> npt.NDArray[np.float64] | None:
    """Return mean and spread (2,D) of the features of the network whose trained weights have this hash; None if they
    are not in the file."""
    if not sha256 or not FILE.is_file():
        return None
    with np.load(FILE) as kept:
        return np.asarray(kept[sha256], np.float64) if sha256 in kept else None
