"""Print the size of a virtual environment, largest packages first, and fail where it is over a limit.

python scripts/venv_size.py .venv-demo --max-mb 280
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

MB = 1_000_000


def sizes(root: Path) -> Counter[str]:
    """Return bytes per top-level entry of site-packages (and "python" for the rest), links not followed."""
    counted: Counter[str] = Counter()
    for folder, _, names in os.walk(root):
        parts = Path(folder).relative_to(root).parts
        inside = parts[parts.index("site-packages") + 1 :] if "site-packages" in parts else ()
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                counted[inside[0] if inside else "python"] += path.stat().st_size
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--max-mb", type=float, default=float("inf"))
    arguments = parser.parse_args()
    counted = sizes(arguments.venv)
    total = sum(counted.values()) / MB
    largest = ", ".join(f"{name} {size / MB:.0f}" for name, size in counted.most_common(6))
    print(f"{arguments.venv}: {total:.0f} MB (limit {arguments.max_mb:.0f}); {largest}")
    return int(total > arguments.max_mb)


if __name__ == "__main__":
    sys.exit(main())
