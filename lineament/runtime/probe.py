"""`--runtime auto`: time each runtime installed here on the model itself, tell the result, remember it.

Convention: the precision is given and stays; only who computes it is chosen. A cached choice is used again only for the
same model file, precision, threads, processor and runtime versions.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from lineament.errors import LineamentError
from lineament.files import replacing, sha256_of
from lineament.runtime.network import Network
from lineament.runtime.threads import processor_name
from lineament.types import Crops

CANDIDATES = ("onnx", "openvino", "cuda", "coreml")
_FACES, _RUNS = 4, 7


def cache_folder() -> Path:
    """Return the user's cache folder for Lineament: $LINEAMENT_CACHE, or the platform's own place."""
    if os.environ.get("LINEAMENT_CACHE"):
        return Path(os.environ["LINEAMENT_CACHE"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "lineament"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lineament"
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "lineament"


def fastest(
    open_network: Callable[[str], Network],
    path: Path,
    precision: str,
    threads: int | None,
    notify: Callable[[str], None] | None = None,
) -> Network:
    """Return the network in the runtime that a short probe finds fastest (or that an earlier probe found).

    Args: open_network: runtime name -> Network, raising LineamentError where it is not available.
    """
    say = notify or (lambda _: None)
    key = _key(path, precision, threads)
    choice = _cached(key)
    if choice is not None:
        say(f"--runtime auto: {choice} (measured earlier; {_cache_file()})")
        return open_network(choice)
    timed: list[tuple[float, str, Network]] = []
    for name in CANDIDATES:
        try:
            network = open_network(name)
        except LineamentError:  # not installed, or it cannot compute at this precision: not a candidate
            continue
        timed.append((_milliseconds(network), name, network))
    if not timed:
        return open_network("onnx")  # raises the reason why the default cannot
    timed.sort(key=lambda row: row[0])
    say(
        f"--runtime auto: {timed[0][1]}; ms per {_FACES} faces at {precision}: "
        + ", ".join(f"{name} {ms:.1f}" for ms, name, _ in timed)
    )
    _remember(key, timed[0][1])
    return timed[0][2]


def _milliseconds(network: Network) -> float:
    pixels = np.random.default_rng(0).integers(0, 256, (_FACES, 3, 218, 178), np.uint8)
    crops = Crops(pixels, np.zeros((_FACES, 2, 3), np.float32))
    network(crops)
    times = []
    for _ in range(_RUNS):
        start = perf_counter()
        network(crops)
        times.append(perf_counter() - start)
    return median(times) * 1000


def _key(path: Path, precision: str, threads: int | None) -> str:
    from importlib.metadata import PackageNotFoundError, version

    versions = []
    for package in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        try:
            versions.append(f"{package}={version(package)}")
        except PackageNotFoundError:
            continue
    return sha256(
        "|".join([sha256_of(path), precision, str(threads), processor_name(), *versions]).encode()
    ).hexdigest()[:16]


def _cache_file() -> Path:
    return cache_folder() / "runtime-probe.json"


def _read_cache() -> dict[str, str]:
    try:
        found = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _cached(key: str) -> str | None:
    choice = _read_cache().get(key)
    return choice if choice in CANDIDATES else None


def _remember(key: str, choice: str) -> None:
    file = _cache_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, unique=True) as partial:
            partial.write_text(json.dumps(_read_cache() | {key: choice}, sort_keys=True), encoding="utf-8")
    except OSError:  # a read-only home only means that the probe runs again next time
        return
