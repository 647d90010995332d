"""Build what is published into dist/: wheel and sdist of lineament, and the data-only wheel lineament-systems from
results/systems.

    python scripts/dist.py [--out dist]        # then: python scripts/check_dist.py

Needs setuptools only; nothing is fetched.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import lineament

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("baseline", "mgmtn", "far-amtn", "dmm-cnn", "transfa", "mgrr")
FILES = ("model.onnx", "model.card.json", "model.safetensors")
REGION_NETWORKS = ("regions", "regions-annotated")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def built(source: Path, kind: str, out: Path) -> Path:
    """Build a wheel or sdist of the project in `source` with setuptools' own backend; return the file."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(out)], cwd=source, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return out / done.stdout.strip().splitlines()[-1]


def staged_systems(target: Path, results: Path) -> list[str]:
    """Lay out the data-only package in `target`; return the names of the systems that it holds."""
    shutil.copytree(ROOT / "packaging" / "lineament-systems", target)
    names = []
    for name in SYSTEMS:
        found = [results / "systems" / name / file for file in FILES if (results / "systems" / name / file).is_file()]
        if found:
            place = target / "lineament_systems" / "models" / name
            place.mkdir(parents=True)
            for file in found:
                shutil.copyfile(file, place / file.name)
            names.append(name)
    for name in REGION_NETWORKS:
        weights = results / name / "region_unet.safetensors"
        if weights.is_file():
            place = target / "lineament_systems" / "models" / name
            place.mkdir(parents=True)
            shutil.copyfile(weights, place / weights.name)
    if f'version = "{lineament.__version__}"' not in (target / "pyproject.toml").read_text("utf-8"):
        sys.exit(
            f"packaging/lineament-systems/pyproject.toml must have the version of lineament, {lineament.__version__}."
        )
    return names


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--only-systems", action="store_true", help="the data-only wheel alone")
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch) / "lineament-systems"
        names = staged_systems(stage, given.results)
        files = [built(stage, "wheel", out)]
        if not given.only_systems:
            copy = Path(scratch) / "lineament"  # a build folder in the checkout would leak into the next wheel
            tracked = (
                subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
                .stdout.decode()
                .split("\0")
            )
            for name in tracked:
                if name and not name.startswith(("results/", "tests/")) and (ROOT / name).is_file():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / name, copy / name)
            files += [built(copy, "wheel", out), built(copy, "sdist", out)]
    print(f"lineament-systems holds: {', '.join(names)}")
    for file in files:
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
