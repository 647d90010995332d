"""Faces a second of `fast` against `default` in both runtimes, taking turns on one thread: into the card of `fast`.
Quiet machine only.

    python scripts/time_fast.py [--rounds 9] [--faces 32]

The median of the rounds' ratios is what `lineament models` shows; its range stands beside it. Afterwards the stamp of
scripts/refit.py is renewed.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter
from typing import Any

import numpy as np
import refit

from lineament.export.card_update import write_card_beside
from lineament.runtime.card import Card
from lineament.runtime.onnx_file import read_card, with_card
from lineament.runtime.registry import load_network
from lineament.runtime.threads import processor_name
from lineament.types import Crops


def ratios(runtime: str, rounds: int, crops: Crops) -> dict[str, Any]:
    """Return faces per second of both networks and how many times `default`'s that of `fast` is, median and range over
    rounds."""
    networks = [load_network(name, runtime, threads=1) for name in ("default", "fast")]
    rates = np.empty((rounds, 2))
    for network in networks:
        network(crops)
    for turn in range(rounds):
        for place, network in enumerate(networks):
            begun = perf_counter()
            network(crops)
            rates[turn, place] = len(crops.pixels) / (perf_counter() - begun)
    times = rates[:, 1] / rates[:, 0]
    default, fast = np.median(rates, 0).round(1).tolist()
    return {"default_faces_per_s": default, "faces_per_s": fast, "times_default": round(float(np.median(times)), 2),
            "range": [round(float(times.min()), 2), round(float(times.max()), 2)]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--faces", type=int, default=32)
    given = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (given.faces, 3, 218, 178), dtype=np.uint8)
    crops = Crops(pixels, np.zeros((given.faces, 2, 3), np.float32))
    speed: dict[str, Any] = {runtime: ratios(runtime, given.rounds, crops) for runtime in ("onnx", "openvino")}
    speed |= {"threads": 1, "processor": processor_name(), "rounds": given.rounds, "faces": given.faces}
    model = refit.WEIGHTS / "fast.onnx"
    card = read_card(model)
    with_card(model, Card({**card.document, "speed": speed}), model)
    write_card_beside(model, read_card(model))
    refit.write_stamp()
    print(json.dumps(speed, indent=1))


if __name__ == "__main__":
    main()
