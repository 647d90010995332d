"""Build the wheel twice, in two folders and at two times, and compare the bytes: exit status 1 where they differ.

python scripts/reproducible.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def built(place: Path, epoch: str) -> str:
    """Return the SHA-256 of the wheel of the committed tree, built in a folder of its own."""
    source = place / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(source)]
    subprocess.run(
        command, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": epoch, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    return sha256(next(place.glob("*.whl")).read_bytes()).hexdigest()


def main() -> None:
    epoch = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = Path(tempfile.mkdtemp())
    try:
        first = built(folder / "one", epoch)
        time.sleep(2.1)  # ZIP keeps times in steps of two seconds
        second = built(folder / "another-place", epoch)
    finally:
        shutil.rmtree(folder)
    print(f"{first}\n{second}\n{'the same bytes' if first == second else 'NOT reproducible'}")
    sys.exit(first != second)


if __name__ == "__main__":
    main()
