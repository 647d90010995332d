"""Programs that some tests need: skipped with the reason where one is missing, a failure where the check has installed
them (`.ci/run`)."""

from __future__ import annotations

import os
import shutil
from typing import Any

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


QUIET_BROWSER = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
"""What a browser is started with: nothing of its own goes out (`docs/offline.md`)."""


def launched(play: Any, *more: str) -> Any:
    """Return Playwright's Chromium from the system's package, started; skip, or fail, where it is missing."""
    path = needed("chromium", "chromium-browser", "google-chrome")
    return play.chromium.launch(executable_path=path, args=[*QUIET_BROWSER, *more])
