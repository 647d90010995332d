"""Print a constraints file of the lowest versions that pyproject.toml allows: the core's and those of the extras named.

    python scripts/lowest.py parquet video > lowest.txt && pip install --constraint lowest.txt '.[parquet,video]'

Where a bound has no wheel for this Python (it is older than the Python), the bound is raised to the first release that
has one: `RAISED` says which.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    sys.exit("scripts/lowest.py needs Python 3.11 or newer, for tomllib.")

ROOT = Path(__file__).resolve().parent.parent
BOUND = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9a-z.]*)")
RAISED: dict[tuple[int, int], dict[str, str]] = {
    (3, 13): {"numpy": "2.1", "onnxruntime": "1.20", "pyarrow": "18"},
    (3, 14): {"numpy": "2.3.2", "onnxruntime": "1.24", "pillow": "12", "pyarrow": "22", "av": "16"},
}
"""Python -> package -> the first release with a wheel for it."""


def lowest(extras: list[str]) -> dict[str, str]:
    """Return name -> version of the core's requirements and those of the extras. Raises: SystemExit for one without a
    lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    found: dict[str, str] = {}
    for text in texts:
        bound = BOUND.match(text)
        if bound is None:
            sys.exit(f"{text}: a requirement without a lower bound. Write NAME>=VERSION in pyproject.toml.")
        found[bound[1].lower()] = bound[2]
    return found | {name: version for name, version in RAISED.get(sys.version_info[:2], {}).items() if name in found}


if __name__ == "__main__":
    for name, version in lowest(sys.argv[1:]).items():
        print(f"{name}=={version}")
