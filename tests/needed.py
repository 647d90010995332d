"""Programs that some tests need: skipped with the reason where one is missing, a failure where the check has installed them (`.ci/run`)."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {"strace": "strace", "chromium": "chromium"}


def needed(program: str, *others: str) -> str:
    """Return the path of a program, or of one that does as well; LINEAMENT_NEEDED=1 forbids to skip."""
    for name in (program, *others):
        found = shutil.which(name)
        if found is not None:
            return found
    missing = f"needs {program} (apt-get install {PACKAGES[program]})"
    if os.environ.get("LINEAMENT_NEEDED") == "1":
        pytest.fail(f"{missing}, which this check installs")
    pytest.skip(missing)
