"""Train a list of configs with several seeds, one after the other, and collect each into results/. Killed, it goes on
where it was.

    python scripts/ablate.py lineament/configs/parts/*.yaml --seeds 0 1 2
    python scripts/ablate.py baseline --seeds 0 1 --system 0

A run whose record is in results/runs already is left alone; a half-finished one in --runs is resumed. What a config
reads beside its images is made before its first step.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from collect_run import collect

from lineament.config import TrainConfig, load_config
from lineament.evaluation.results import folder_name
from lineament.training.trainer import Trainer


def jobs(configs: list[Path], seeds: list[int]) -> Iterator[TrainConfig]:
    """Yield every config with every seed: all configs with the first seed, then with the next, so that early results
    span the list."""
    loaded = [load_config(path) for path in configs]
    for seed in seeds:
        yield from (dataclasses.replace(config, seed=seed) for config in loaded)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--data", default="$LINEAMENT_DATA/celeba/official")
    parser.add_argument("--layout", default="official")
    parser.add_argument("--split", default="val")
    parser.add_argument("--system", type=int, metavar="SEED", help="the seed whose weights go into results/systems")
    parser.add_argument("--speed", action="store_true", help="also time one face (quiet machine)")
    given = parser.parse_args(arguments)
    for config in jobs(given.configs, given.seeds):
        folder = folder_name(config.name, config.seed)
        if (given.results / "runs" / folder / "run.json").is_file():
            print(f"{folder}: there already", file=sys.stderr)
            continue
        if not (given.runs / folder / "model.safetensors").is_file():
            print(f"{folder}: training", file=sys.stderr, flush=True)
            Trainer(config, given.runs / folder, resume=True).run()
        system = given.system == config.seed
        where = {"data": given.data, "layout": given.layout, "split": given.split}
        print(collect(given.runs / folder, given.results, **where, system=system, speed=given.speed), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
