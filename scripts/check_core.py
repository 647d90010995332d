"""Check, inside a core-only environment, that the core is the core: no heavy package is installed and the front doors
import without any.

.venv-demo/bin/python scripts/check_core.py
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

FORBIDDEN = (
    "torch",
    "torchvision",
    "tensorflow",
    "cv2",
    "pyarrow",
    "scipy",
    "pandas",
    "fastapi",
    "matplotlib",
    "duckdb",
    "openvino",
    "timm",
)


def main() -> int:
    here = str(Path(__file__).resolve().parent.parent)
    sys.path = [entry for entry in sys.path if entry not in ("", here)]  # the installed package, not the checkout
    installed = [name for name in FORBIDDEN if find_spec(name) is not None]
    if installed:
        print(f"not a core environment: {', '.join(installed)} installed", file=sys.stderr)
        return 1
    for name in ("lineament", "lineament.cli", "lineament.api"):
        import_module(name)
    print(f"core imports without {', '.join(FORBIDDEN)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
