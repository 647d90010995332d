"""What every test shares: where the data lies, the bundled portrait, and settings that make runs repeatable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "lineament" / "weights"

_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("dev", deadline=None, suppress_health_check=_QUIET)
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep every numeric library to one thread, in this process and in those that tests start: tests share a
    machine."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("NO_COLOR", "1")


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """Results of a reduction may differ between thread counts; one thread makes them the same everywhere."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the shared data folder (environment LINEAMENT_DATA, else ../shared/data beside the project); skip where it
    is absent."""
    path = Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data")
    if not (path / "celeba").is_dir():
        pytest.skip(f"needs the shared data folder: {path} is not there (set LINEAMENT_DATA)")
    return path


@pytest.fixture(scope="session")
def default_weights() -> Path:
    """Return the shipped default.onnx; skip in a tree that does not hold it yet."""
    path = WEIGHTS / "default.onnx"
    if not path.is_file():
        pytest.skip("lineament/weights/default.onnx is not in this tree")
    return path


@pytest.fixture(scope="session")
def astronaut() -> npt.NDArray[np.uint8]:
    """Return NASA's portrait of Eileen Collins (512,512,3) uint8 RGB, public domain: the bundled file, or
    scikit-image's copy of it."""
    from PIL import Image

    for path in sorted(WEIGHTS.glob("astronaut.*")):
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    data: Any = pytest.importorskip(
        "skimage.data", reason="the astronaut portrait comes from the package or from scikit-image"
    )
    return np.asarray(data.astronaut(), np.uint8)
