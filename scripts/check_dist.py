"""Check what `make dist` built: both wheels in a fresh environment, the demo, a system by name, what `lineament models`
says of it, twine check.

python scripts/check_dist.py [--dist dist]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BY_NAME = """
import lineament, json
from importlib.resources import files
photo = files("lineament.weights") / "astronaut.jpg"
report = lineament.load(model="mgmtn").analyze(str(photo))
assert len(report.faces) == 1, report
print(report.faces[0].attributes["Smiling"].label)
"""


def run(*command: str, cwd: Path) -> str:
    """Run a command; return what it printed, or end with what it said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    given = parser.parse_args(arguments)
    wheels = sorted(str(path.resolve()) for path in given.dist.glob("lineament*.whl"))
    sources = sorted(str(path.resolve()) for path in given.dist.glob("lineament*.tar.gz"))
    if len(wheels) != 2 or len(sources) != 1:
        sys.exit(
            f"{given.dist} holds {len(wheels)} wheels and {len(sources)} sdists, not 2 and 1: run `make dist` in a "
            "clean folder."
        )
    run(sys.executable, "-m", "twine", "check", "--strict", *wheels, *sources, cwd=ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        venv.create(here / "venv", with_pip=True)
        python = str(here / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        run(python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), *wheels, cwd=here)
        run(python, "-I", "-m", "lineament.demo", "--out", str(here / "demo"), cwd=here)
        label = run(python, "-I", "-c", BY_NAME, cwd=here).strip()
        listed = json.loads(run(python, "-I", "-m", "lineament", "models", "--json", "-", cwd=here))
        origin = {row["name"]: row["origin"] for row in listed}
        if origin.get("mgmtn") != "lineament-systems" or origin.get("default") != "package":
            sys.exit(f"`lineament models` says where each came from: {origin}")
    print(
        f"two wheels in a fresh environment: demo ran, mgmtn answered (Smiling: {label}), {len(origin)} models listed; "
        "twine check passed"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
