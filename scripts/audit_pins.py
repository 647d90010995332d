"""Ask the PyPA advisory database about the pinned versions: exit status 1 where one is known to be vulnerable.

    python scripts/audit_pins.py

pip-audit is installed for this run alone, in a temporary folder: it would pin pip itself. Skipped, with the reason and
status 0, where it or its database cannot be had (no network): a build must not fail for that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNREACHABLE = (
    "ConnectionError", "Max retries", "Name or service not known", "Temporary failure in name resolution",
    "ServiceError", "timed out", "404 Client", "403 Client",
)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "pip-audit"
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--timeout",
            "15",
            "--retries",
            "1",
            "--target",
            str(where),
            "pip-audit",
        ]
        got = subprocess.run(install, capture_output=True, text=True, check=False)
        if got.returncode:
            print(
                "skipped: pip-audit cannot be installed here "
                f"({(got.stderr.strip().splitlines() or ['no reason given'])[-1][:200]})"
            )
            return
        pins = Path(folder) / "pins.txt"
        pins.write_text((ROOT / "constraints.txt").read_text("utf-8"), encoding="utf-8")
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "15"]
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), *options]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(where)}
        )
    said = (done.stdout + done.stderr).strip()
    if done.returncode and any(mark in said for mark in UNREACHABLE):
        print(f"skipped: the advisory database cannot be had here ({said.splitlines()[-1][:200]})")
        return
    print(said or "no known vulnerability in the pins")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
