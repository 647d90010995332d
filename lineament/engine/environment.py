"""What a run was made with: versions, processor, git commit. Written beside every result."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from lineament.runtime.processor import processor_name

_PACKAGES = ("lineament", "numpy", "torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "pillow")


def git_commit() -> str | None:
    """Return the commit of the checkout the package runs from, with "+" if it has uncommitted changes; None outside one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=here, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")


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
