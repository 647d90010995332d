"""The environment of a run: versions, processor, git commit. Written beside every result."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from lineament.runtime.threads import processor_name

_PACKAGES = ("lineament", "numpy", "torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "pillow")


def git_commit() -> str | None:
    """Return the commit of the checkout the package runs from, with "+" if tracked files have uncommitted changes; None
    outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (
        root / ".git"
    ).exists():  # installed from a wheel, perhaps into an environment inside someone else's checkout
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")


def _git(root: Path, *words: str) -> str:
    # The folder is named as safe: git else refuses a checkout that another user owns, which is usual in containers.
    return subprocess.run(
        ["git", "-c", f"safe.directory={root}", *words], cwd=root, capture_output=True, text=True, check=True
    ).stdout


def describe_environment() -> dict[str, Any]:
    """Return versions, processor and git commit, as JSON holds them."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    facts = {"python": platform.python_version(), "system": platform.platform(), "processor": processor_name()}
    return facts | {"versions": versions, "git_commit": git_commit()}
