"""Write constraints.txt: the exact version of everything pyproject.toml asks for, direct and indirect, as installed
here.

    .venv/bin/python scripts/constraints.py            # rewrite the file
    .venv/bin/python scripts/constraints.py --check    # exit 1 if a requirement of pyproject.toml has no pin

A release that needs a newer Python than the oldest we support is pinned with a marker, so that pip on the older one
picks what runs there. Packages of extras that are not installed here keep the pin they had.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
HEADER = """\
# Exact versions for `make setup`, `make demo` and `.ci/run`; written by scripts/constraints.py.
# Linux notes: torch and torchvision belong together, and this torch's CUDA wheels pull the nvidia-* packages.
"""


def requirements() -> list[Requirement]:
    """Return what pyproject.toml asks for: core and every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    return [r for r in map(Requirement, texts) if r.name != "lineament"]


def closure(wanted: list[Requirement]) -> dict[str, metadata.Distribution]:
    """Return every installed distribution that `wanted` needs, by canonical name."""
    found: dict[str, metadata.Distribution] = {}
    todo = [(str(canonicalize_name(r.name)), frozenset(r.extras)) for r in wanted]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for text in distribution.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                todo.append((str(canonicalize_name(needed.name)), frozenset(needed.extras)))
    return found


def pin(name: str, distribution: metadata.Distribution) -> str:
    """Return `name==version`, with a marker where the release does not run on every Python we support."""
    version = distribution.version.split("+")[0]
    runs_on = SpecifierSet(distribution.metadata.get("Requires-Python") or "")
    fit = [python for python in PYTHONS if runs_on.contains(f"{python}.99")]
    return f"{name}=={version}" if fit == list(PYTHONS) else f'{name}=={version} ; python_version >= "{fit[0]}"'


def pinned() -> dict[str, str]:
    """Return the pins that stand in the file now, by name."""
    lines = FILE.read_text("utf-8").splitlines() if FILE.exists() else []
    return {re.split(r"==", line)[0]: line for line in lines if line and not line.startswith("#")}


def unpinned() -> list[str]:
    """Return the names pyproject.toml asks for that have no pin."""
    return sorted({str(canonicalize_name(r.name)) for r in requirements()} - set(pinned()))


def main() -> int:
    if "--check" not in sys.argv:
        before, now = pinned(), {name: pin(name, found) for name, found in closure(requirements()).items()}
        kept = {name: line for name, line in before.items() if name in unpinned_by(now)}
        lines = {**kept, **now}
        FILE.write_text(HEADER + "".join(lines[name] + "\n" for name in sorted(lines)), "utf-8")
    missing = unpinned()
    if missing:
        print(
            f"constraints.txt has no pin for {', '.join(missing)}: install them and run scripts/constraints.py",
            file=sys.stderr,
        )
    return 1 if missing else 0


def unpinned_by(now: dict[str, str]) -> set[str]:
    """Return the direct requirements that are not installed here: their old pins are kept."""
    return {str(canonicalize_name(r.name)) for r in requirements()} - set(now)


if __name__ == "__main__":
    sys.exit(main())
