"""Nothing is reported to anybody: the usage reports (telemetry) of the libraries below us are switched off before they
load.

    variable of the environment, or a package that is not found -> asked once, when the library loads -> no device id,
        no look-up, no connection

Convention: a choice that was made is left alone. A variable that is set already keeps its value, whatever that is; a
consent file of OpenVINO's is obeyed; and nothing is done about a library that the program has loaded before.
`docs/offline.md` lists every dependency that reports.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SWITCHES: Mapping[str, tuple[str, str]] = {
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"),  # its Privacy.md; any other value leaves it on
    "ray": ("RAY_USAGE_STATS_ENABLED", "0"),
    "nncf": ("NNCF_CI", "1"),
    "huggingface_hub": ("HF_HUB_DISABLE_TELEMETRY", "1"),
}
"""Module -> the variable that switches its reports off, and the value that does."""

_REPORTER = "openvino_telemetry"


def silence(module: str) -> None:
    """Switch a library's usage reports off where it is not loaded yet and nobody has chosen."""
    if module not in sys.modules:
        variable, off = SWITCHES[module]
        os.environ.setdefault(variable, off)


@contextmanager
def without_intels_reporter() -> Iterator[None]:
    """Hide the package `openvino_telemetry` while OpenVINO or NNCF load: both report their first import through it, and
    both go without.

    It knows no variable: only a file under HOME, made by its command `opt_in_out`. Where that file is, its owner has
    chosen, and nothing is hidden.
    """
    if _REPORTER in sys.modules or _consent_file().exists():
        yield
        return
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # the import system's own sign for "not to be found"
    try:
        yield
    finally:
        sys.modules.pop(_REPORTER, None)


def _consent_file() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "")) / "Intel Corporation" / _REPORTER
    return Path(os.path.expanduser("~")) / "intel" / _REPORTER  # noqa: PTH111 - Path.home() raises where there is no home


def keep_matplotlib_out_of_home() -> None:
    """Have matplotlib keep its list of fonts in a folder that goes with this process, where it is not loaded and nobody
    has chosen a folder."""
    if "matplotlib" not in sys.modules and "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = _scratch().name


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lineament-matplotlib-")
