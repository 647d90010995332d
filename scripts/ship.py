"""Make a trained run the shipped default; the old default stays loadable by a name of its own. Afterwards: make refit.

    python scripts/ship.py runs/baseline-s0 --keep-as v0

The old default goes to results/systems/NAME (with its decision layer) unless that folder is there already. Prints how many of the official
validation answers flip at 0.5 of the raw sigmoid: a line for the changelog.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from collect_run import scored

from lineament.evaluation.compare import compare
from lineament.export.card_update import write_card_beside
from lineament.export.onnx_export import export
from lineament.runtime.card import Card
from lineament.runtime.onnx_file import read_card, with_card
from lineament.runtime.registry import systems_folder, weights_folder


def keep(name: str, weights: Path, systems: Path) -> Path:
    """Copy the present default into `systems`/NAME under that name; return its ONNX file. What lies there already is left alone."""
    target = systems / name / "model.onnx"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights / "default.safetensors", target.with_name("model.safetensors"))
    present = read_card(weights / "default.onnx")
    with_card(weights / "default.onnx", Card({**present.document, "name": name}), target)
    write_card_beside(target, read_card(target))
    return target


def ship(run: Path, name: str, weights: Path, systems: Path) -> tuple[Path, Path]:
    """Keep the old default as `name`, make `run` the default; return both ONNX files, the old one first."""
    before = keep(name, weights, systems)
    export(run, weights / "default.onnx", name="default")
    shutil.copyfile(run / "model.safetensors", weights / "default.safetensors")
    return before, weights / "default.onnx"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--keep-as", required=True, metavar="NAME", help="the old default's name from now on: v0, v1 ...")
    parser.add_argument("--data", default="$LINEAMENT_DATA/celeba/official")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    before, after = (
        scored(model, given.data, "official", "val", given.threads) for model in ship(given.run, given.keep_as, weights_folder(), systems_folder())
    )
    found = compare(before, after, labels="raw")
    answers = before.raw.size
    print(f"{round(found['flips']['share'] * answers)} of {answers} validation answers flipped ({100 * found['flips']['share']:.2f} %)")
    mean = found["mean"]["accuracy"]
    print(f"mean accuracy {mean['a']} -> {mean['b']}: {mean['difference']:+} [{mean['low']:+}, {mean['high']:+}]  Next: make refit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
