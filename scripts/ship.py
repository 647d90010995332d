"""Make a trained run the shipped default; the old default stays loadable by a name of its own. Afterwards: make refit.

    python scripts/ship.py runs/baseline-s0 --keep-as v0
    python scripts/ship.py runs/branched-ordinary-s0 --keep-as v2 --between 0.5

--between A ships the weights (1 - A) * old + A * new (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903): what a run
learned of blurred and badly cut faces, without what it forgot of whole, sharp ones. A is chosen on images that neither
network was trained on, never on validation.

The old default goes to results/systems/NAME (with its decision layer) unless that folder is there already. Prints how
many of the official validation answers flip at 0.5 of the raw sigmoid: a line for the changelog.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch
from collect_run import scored

from lineament.evaluation.compare import compare
from lineament.export.card_update import write_card_beside
from lineament.export.onnx_export import export
from lineament.models.checkpoint import load_tensors, save_tensors
from lineament.runtime.card import Card
from lineament.runtime.onnx_file import read_card, with_card
from lineament.runtime.registry import systems_folder, weights_folder


def keep(name: str, weights: Path, systems: Path) -> Path:
    """Copy the present default into `systems`/NAME under that name; return its ONNX file. What lies there already is
    left alone."""
    target = systems / name / "model.onnx"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if (weights / "default.safetensors").is_file():  # of a file that does not hold its trained weights itself
        shutil.copyfile(weights / "default.safetensors", target.with_name("model.safetensors"))
    present = read_card(weights / "default.onnx")
    with_card(weights / "default.onnx", Card({**present.document, "name": name}), target)
    write_card_beside(target, read_card(target))
    return target


def between(old: Path, new: Path, share: float, out: Path) -> Path:
    """Write the weights (1 - share) * old + share * new of two trained files of one network, under the new one's
    header; return `out`.

    Raises: SystemExit where the files are not of one network, or `share` is outside 0..1.
    """
    first, (second, header) = load_tensors(old)[0], load_tensors(new)
    if {name: tensor.shape for name, tensor in first.items()} != {
        name: tensor.shape for name, tensor in second.items()
    }:
        raise SystemExit(f"--between: {old} and {new} are not of one network.")
    if not 0 <= share <= 1:
        raise SystemExit(f"--between: give a share in 0..1, not {share}.")
    mixed = {
        name: torch.lerp(first[name].float(), tensor.float(), share).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in second.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(out, mixed, header)
    return out


def ship(run: Path, name: str, weights: Path, systems: Path, share: float = 1.0) -> tuple[Path, Path]:
    """Keep the old default as `name`, make `run` the default, or what lies between them; return both ONNX files, the
    old one first."""
    before = keep(name, weights, systems)
    trained = run / "model.safetensors"
    if share != 1:
        earlier = before.with_name("model.safetensors")
        trained = between(
            earlier if earlier.is_file() else before, trained, share, run / "between" / "model.safetensors"
        )
    export(trained, weights / "default.onnx", name="default")
    (weights / "default.safetensors").unlink(missing_ok=True)  # the ONNX file holds the trained weights too
    return before, weights / "default.onnx"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--keep-as", required=True, metavar="NAME", help="the old default's name from now on: v0, v1 ..."
    )
    parser.add_argument(
        "--between",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="how far from the old default to the run, 0..1 (default 1)",
    )
    parser.add_argument("--data", default="$LINEAMENT_DATA/celeba/official")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    files = ship(given.run, given.keep_as, weights_folder(), systems_folder(), given.between)
    before, after = (scored(model, given.data, "official", "val", given.threads) for model in files)
    found = compare(before, after, labels="raw")
    answers = before.raw.size
    print(
        f"{round(found['flips']['share'] * answers)} of {answers} validation answers flipped "
        f"({100 * found['flips']['share']:.2f} %)"
    )
    mean = found["mean"]["accuracy"]
    print(
        f"mean accuracy {mean['a']} -> {mean['b']}: {mean['difference']:+} [{mean['low']:+}, {mean['high']:+}]  Next: "
        "make refit"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
