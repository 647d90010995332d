"""Speed benchmark of every stage on this machine, on photos made from the bundled portrait: no data set is needed.

photo -> decode, detect, align, attributes, whole (ms, one photo at a time) -> photos/s of a stream -> share of what its
slowest stage allows crops -> every runtime and precision installed -> faces/s, one at a time and together
one 12-megapixel photo -> the command line, cold -> seconds to the first answer, peak memory
"""

from __future__ import annotations

import io
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lineament import geometry
from lineament.api import Model
from lineament.demo import mosaic, portrait
from lineament.errors import LineamentError
from lineament.images import load_image
from lineament.types import Crops

FACES = (1, 4, 16)
STAGES = ("decode", "detect", "align", "attributes")
_SIDE = 280
_BIG = (4000, 3000)
_BACKGROUND = (196, 198, 204)


class Scene(NamedTuple):
    """A photo to measure on: how many faces, on how many pixels."""

    faces: int
    width: int
    height: int

    @property
    def name(self) -> str:
        return f"{self.faces} {'face' if self.faces == 1 else 'faces'}, {self.width}x{self.height}"


SMALL = Scene(1, 500, 500)
SCENES = (SMALL, *(Scene(faces, *size) for size in ((640, 480), (1632, 1224), _BIG) for faces in (1, 8)))
"""500 pixels; 0.3, 2 and 12 megapixels, with one face and with eight."""


def bench(
    model: Model,
    *,
    runs: int = 15,
    faces: Sequence[int] = FACES,
    scenes: Sequence[Scene] = (),
    runtimes: bool = False,
    cold: bool = True,
    cold_arguments: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Measure one model.

    Args: faces: mosaics of so many faces, stage by stage. scenes: photos measured stage by stage and as a stream.
        runtimes: also the network alone in every runtime and precision installed. cold: also start the command line
        `cold_arguments` anew on a 12-megapixel photo.
    Returns: {"environment", "runs", "stages": {faces: {stage: spread}}, "stream": {faces: rates}, "scenes": {name:
        row}, "attributes": [row], "cold_start"}; a spread is {median_ms, p10_ms, p90_ms}.
    """
    return {
        "environment": environment(model),
        "runs": runs,
        "stages": {str(count): stages(model, photo_of(count), runs) for count in faces},
        "stream": {str(count): rate(model, photo_of(count), 4 * runs) for count in faces},
        "scenes": {scene.name: measure(model, scene, runs) for scene in scenes},
        "attributes": list(networks(model, runs)) if runtimes else [],
        "cold_start": _cold_start(cold_arguments) if cold else None,
    }


def environment(model: Model) -> dict[str, Any]:
    """Return what a figure depends on: hardware, versions, runtime, precision, threads."""
    from lineament import __version__
    from lineament.runtime.threads import available_cpus, processor_name

    versions = {"lineament": __version__, "python": platform.python_version()}
    for package in ("numpy", "pillow", "onnxruntime", "openvino"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    network = model.network
    return {
        "processor": processor_name(), "cpus": available_cpus(), "system": platform.platform(), "versions": versions,
        "model": model.id, "runtime": network.runtime, "precision": network.precision, "threads": model.threads,
    }  # fmt: skip


def photo_of(count: int) -> bytes:
    """Return a JPEG of `count` faces, in rows of four."""
    pixels = mosaic([_SIDE] * count, _SIDE * min(count, 4))
    return _jpeg(Image.fromarray(pixels))


def scene_photo(scene: Scene) -> bytes:
    """Return a scene as a JPEG: the portrait as large as fits into each cell of a grid, every second one mirrored, on
    plain grey."""
    columns = math.ceil(math.sqrt(scene.faces * scene.width / scene.height))
    rows = math.ceil(scene.faces / columns)
    cell_w, cell_h = scene.width // columns, scene.height // rows
    side = min(cell_w, cell_h)
    face, canvas = (
        portrait().resize((side, side), Image.Resampling.LANCZOS),
        Image.new("RGB", (scene.width, scene.height), _BACKGROUND),
    )
    for index in range(scene.faces):
        one = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if index % 2 else face
        canvas.paste(
            one, (index % columns * cell_w + (cell_w - side) // 2, index // columns * cell_h + (cell_h - side) // 2)
        )
    return _jpeg(canvas)


def measure(model: Model, scene: Scene, runs: int) -> dict[str, Any]:
    """Measure a scene stage by stage, then as a stream; say how much the stream reaches of what all threads would if
    only one stage ran.

    Returns: what `stages` gives, and "stream", "slowest" (a stage's name), "slowest_alone" (photos/s of all threads at
        the slowest stage only), "share_of_slowest" (the stream's part of that), "all_stages" (photos/s if the stages'
        sum were all there is) and its share.
    """
    photo = scene_photo(scene)
    row = stages(model, photo, runs)
    row["stream"] = rate(model, photo, _stream_length(row["whole"]["median_ms"], model.threads))
    slowest = max(STAGES, key=lambda name: row[name]["median_ms"])
    alone = 1000 * model.threads / row[slowest]["median_ms"]
    together = 1000 * model.threads / sum(row[name]["median_ms"] for name in STAGES)
    reached = row["stream"]["photos_per_s"]
    return row | {
        "slowest": slowest, "slowest_alone": round(alone, 2), "share_of_slowest": round(reached / alone, 3),
        "all_stages": round(together, 2), "share_of_all_stages": round(reached / together, 3),
    }  # fmt: skip


def stages(model: Model, photo: bytes, runs: int) -> dict[str, Any]:
    """Time each stage by itself on one photo, batch of faces as it comes, one photo at a time."""
    pixels = load_image(photo).pixels
    faces = model.detector.detect(pixels)
    crops = geometry.align(pixels, faces.keypoints)
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: load_image(photo),
        "detect": lambda: model.detector.detect(pixels),
        "align": lambda: geometry.align(pixels, faces.keypoints),
        "attributes": lambda: model.network(crops),
        "whole": lambda: model.analyze(photo),
    }
    timed = {name: spread_ms(step, runs) for name, step in steps.items()}
    return {"photo": list(pixels.shape[1::-1]), "faces_found": len(faces), **timed}


def spread_ms(step: Callable[[], object], runs: int) -> dict[str, float]:
    """Return median, 10th and 90th percentile in milliseconds of `runs` calls, after one that is not counted."""
    step()
    milliseconds = []
    for _ in range(runs):
        start = perf_counter()
        step()
        milliseconds.append((perf_counter() - start) * 1000)
    low, middle, high = np.percentile(milliseconds, [10, 50, 90])
    return {"median_ms": round(float(middle), 2), "p10_ms": round(float(low), 2), "p90_ms": round(float(high), 2)}


def rate(model: Model, photo: bytes, photos: int, repeats: int = 3) -> dict[str, Any]:
    """Measure photos per second of a stream over files, all threads at work: median, least and largest of `repeats`
    streams."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:04}.jpg" for number in range(photos)]
        for path in paths:
            path.write_bytes(photo)
        for _ in model.stream(paths[: 2 * model.threads]):
            pass
        seconds, faces = [], 0
        for _ in range(repeats):
            start = perf_counter()
            faces = sum(len(report.faces) for report in model.stream(paths))
            seconds.append(perf_counter() - start)
    rates = sorted(photos / second for second in seconds)
    middle = float(np.median(rates))
    return {
        "photos": photos, "photos_per_s": round(middle, 2), "min": round(rates[0], 2), "max": round(rates[-1], 2),
        "faces_per_s": round(middle * faces / photos, 2),
    }  # fmt: skip


def networks(model: Model, runs: int, batch: int = 64) -> Iterator[dict[str, Any]]:
    """Measure the network alone in every runtime and precision that is there: one face at a time on one thread, and a
    batch on all threads.

    Yields: {"runtime", "precision", "single": spread, "single_faces_per_s", "batch", "batch_faces_per_s", "min",
    "max"}, or "absent": the reason.
    """
    from lineament.runtime.registry import load_network

    crops = _crops(batch)
    one = Crops(crops.pixels[:1], crops.crop_from_image[:1])
    name = getattr(model.network, "path", model.card.name)
    for runtime, precision in (
        ("onnx", "fp32"),
        ("onnx", "int8"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
    ):
        row: dict[str, Any] = {"runtime": runtime, "precision": precision}
        try:
            single, many = (load_network(name, runtime, precision, threads) for threads in (1, model.threads))
        except LineamentError as error:
            yield row | {"absent": str(error).splitlines()[0].replace(str(name), Path(name).name)}
            continue
        alone = spread_ms(lambda single=single: single(one), 4 * runs)  # type: ignore[misc]
        each = spread_ms(lambda many=many: many(crops), max(5, runs))  # type: ignore[misc]
        yield row | {
            "single": alone, "single_faces_per_s": round(1000 / alone["median_ms"], 1), "batch": batch,
            "batch_faces_per_s": round(1000 * batch / each["median_ms"], 1),
            "min": round(1000 * batch / each["p90_ms"], 1), "max": round(1000 * batch / each["p10_ms"], 1),
        }  # fmt: skip


def _crops(count: int) -> Crops:
    """Return the portrait's aligned crop `count` times, each with a little noise of its own."""
    from lineament.detection.retinaface import RetinaFace

    pixels = np.asarray(portrait(), np.uint8)
    crop = geometry.align(pixels, RetinaFace(threads=1).detect(pixels).keypoints[:1])
    noise = np.random.default_rng(0).integers(-3, 4, (count, *crop.pixels.shape[1:]))
    return Crops(np.clip(crop.pixels + noise, 0, 255).astype(np.uint8), np.repeat(crop.crop_from_image, count, 0))


def _stream_length(whole_ms: float, threads: int) -> int:
    """Return how many photos take about a second and a half: at least four per thread, at most 120."""
    return int(np.clip(1500 * threads / whole_ms, 4 * threads, 120))


def _cold_start(arguments: tuple[str, ...], runs: int = 3) -> dict[str, Any]:
    """Start the command line on a 12-megapixel photo: seconds until it ends, and its peak memory (None where the system
    does not say)."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        photo.write_bytes(_jpeg(portrait().resize(_BIG, Image.Resampling.BICUBIC)))
        command = [
            sys.executable,
            "-c",
            CHILD,
            "analyze",
            str(photo),
            "--jsonl",
            str(Path(folder) / "out.jsonl"),
            *arguments,
        ]
        seconds, peaks = [], []
        for _ in range(runs):
            start = perf_counter()
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
            seconds.append(perf_counter() - start)
            peaks.append(float(done.stderr.split()[-1]))
    peak = float(np.median(peaks))
    return {
        "photo": list(_BIG),
        "median_s": round(float(np.median(seconds)), 2),
        "peak_mb": round(peak, 1) if peak else None,
    }


CHILD = """
import sys
from lineament.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM"))
    except OSError:
        pass
    try:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    except ImportError:
        return 0.0
print(peak(), file=sys.stderr)
"""
"""The command line, then its peak memory in megabytes as the last word on stderr (0: the system does not say). On Linux
not getrusage: there a child inherits the high-water mark of the process that started it."""


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
