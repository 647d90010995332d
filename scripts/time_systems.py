"""Time every committed system side by side, one face, one thread, ONNX Runtime: what `ms per face` of the systems page
is. Quiet machine only.

    python scripts/time_systems.py [--rounds 5]

The systems take turns, so that a processor that slows down slows all of them. The figures go to the run in results/runs
that trained the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from collect_run import timed

from lineament.evaluation.results import folder_name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    cards = {
        path.parent.name: json.loads(path.read_text("utf-8"))
        for path in sorted((given.results / "systems").glob("*/model.card.json"))
    }
    runs = {
        name: given.results / "runs" / folder_name(name, card["training"]["config"]["seed"])
        for name, card in cards.items()
        if (given.results / "systems" / name / "model.onnx").is_file()
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name, run in runs.items() if (run / "run.json").is_file()}
    for _ in range(given.rounds):
        for name, rounds in found.items():
            rounds.append(timed(given.results / "systems" / name / "model.onnx", 40))
    for name, rounds in found.items():
        middle = {key: float(np.median([one[key] for one in rounds])) for key in ("ms_per_face", "p10", "p90")}
        document = rounds[0] | middle | {"runs": 40 * given.rounds}
        (runs[name] / "speed.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"{name}: {middle['ms_per_face']:.2f} ms ({middle['p10']:.2f}-{middle['p90']:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
