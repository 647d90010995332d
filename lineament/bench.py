"""How fast every stage is on this machine, measured the same way each time.

mosaics of 1, 4 and 16 faces -> decode, detect, align, attributes (ms: median, 10th and 90th percentile) -> JSON
one 12-megapixel photo -> the command line, cold -> seconds to the first answer, peak memory
"""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from lineament import geometry
from lineament.api import Model
from lineament.demo import mosaic, portrait
from lineament.images import load_image

FACES = (1, 4, 16)
_SIDE = 280
_BIG = (4000, 3000)


def bench(model: Model, *, runs: int = 15, faces: Sequence[int] = FACES, cold: bool = True, cold_arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measure one model. cold: also start the command line `cold_arguments` anew on a 12-megapixel photo.

    Returns: {"environment", "stages": {faces: {stage: {median_ms, p10_ms, p90_ms}}}, "stream", "cold_start"}.
    """
    return {
        "environment": environment(model),
        "runs": runs,
        "stages": {str(count): _stages(model, count, runs) for count in faces},
        "stream": {str(count): _stream(model, count, runs) for count in faces},
        "cold_start": _cold_start(cold_arguments) if cold else None,
    }


def environment(model: Model) -> dict[str, Any]:
    """Return what a figure depends on: hardware, versions, runtime, precision, threads."""
    from lineament import __version__
    from lineament.runtime.processor import processor_name
    from lineament.runtime.threads import available_cpus

    versions = {"lineament": __version__, "python": platform.python_version()}
    for package in ("numpy", "pillow", "onnxruntime", "openvino"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    network = model.network
    return {
        "processor": processor_name(), "cpus": available_cpus(), "system": platform.platform(), "versions": versions, "model": model.id,
        "runtime": network.runtime, "precision": network.precision, "threads": model.threads,
    }  # fmt: skip


def photo_of(count: int) -> bytes:
    """Return a JPEG of `count` faces, in rows of four."""
    pixels = mosaic([_SIDE] * count, _SIDE * min(count, 4))
    return _jpeg(Image.fromarray(pixels))


def _stages(model: Model, count: int, runs: int) -> dict[str, Any]:
    """Time each stage by itself on one photo, batch of faces as it comes, one photo at a time."""
    data = photo_of(count)
    pixels = load_image(data).pixels
    faces = model.detector.detect(pixels)
    crops = geometry.align(pixels, faces.keypoints)
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: load_image(data),
        "detect": lambda: model.detector.detect(pixels),
        "align": lambda: geometry.align(pixels, faces.keypoints),
        "attributes": lambda: model.network(crops),
        "whole": lambda: model.analyze(data),
    }
    timed = {name: _spread(stage, runs) for name, stage in stages.items()}
    return {"photo": list(pixels.shape[1::-1]), "faces_found": len(faces), **timed}


def _spread(stage: Callable[[], object], runs: int) -> dict[str, float]:
    stage()
    milliseconds = []
    for _ in range(runs):
        start = perf_counter()
        stage()
        milliseconds.append((perf_counter() - start) * 1000)
    low, middle, high = np.percentile(milliseconds, [10, 50, 90])
    return {"median_ms": round(float(middle), 2), "p10_ms": round(float(low), 2), "p90_ms": round(float(high), 2)}


def _stream(model: Model, count: int, runs: int) -> dict[str, float]:
    """Measure photos per second of a stream over files, all threads at work."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:03}.jpg" for number in range(4 * runs)]
        data = photo_of(count)
        for path in paths:
            path.write_bytes(data)
        for _ in model.stream(paths[: 2 * model.threads]):
            pass
        start = perf_counter()
        faces = sum(len(report.faces) for report in model.stream(paths))
        seconds = perf_counter() - start
    return {"photos": len(paths), "photos_per_s": round(len(paths) / seconds, 2), "faces_per_s": round(faces / seconds, 2)}


def _cold_start(arguments: tuple[str, ...], runs: int = 3) -> dict[str, Any]:
    """Start the command line on a 12-megapixel photo: seconds until it ends, and its peak memory (None where the system does not say)."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        photo.write_bytes(_jpeg(portrait().resize(_BIG, Image.Resampling.BICUBIC)))
        command = [sys.executable, "-c", _CHILD, "analyze", str(photo), "--jsonl", str(Path(folder) / "out.jsonl"), *arguments]
        seconds, peaks = [], []
        for _ in range(runs):
            start = perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(perf_counter() - start)
            peaks.append(float(done.stdout.split()[-1]))
    peak = float(np.median(peaks))
    return {"photo": list(_BIG), "median_s": round(float(np.median(seconds)), 2), "peak_mb": round(peak, 1) if peak else None}


_CHILD = """
import sys
from lineament.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (1e6 if sys.platform == "darwin" else 1e3))
except ImportError:
    print(0)
"""


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
