"""Detection and alignment on real photos, beside dlib's HOG detector: writes docs/benchmarks/detection.md and
detection.json.

    python benchmarks/detection.py [--data ../shared/data] [--out docs/benchmarks] [--tables groups,wild,...]

dlib is optional (`pip install dlib-bin`); its rows are left out where it is absent. `--timings` fills the column of
milliseconds: give it only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from face_truth import (
    Photo,
    Tally,
    box_of_68,
    fit_convention,
    five_of_68,
    read_groups,
    read_landmarks68,
    read_pairs,
    score,
)
from PIL import Image

from lineament.detection.retinaface import RetinaFace
from lineament.geometry import TEMPLATE, invert, transform_points, umeyama, warp
from lineament.images import load_image
from lineament.pipeline.quality import sharpness

ROOT = Path(__file__).resolve().parent.parent
Finder = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def our_finder() -> Finder:
    detector = RetinaFace(threads=1)

    def find(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        faces = detector.detect(pixels)
        return faces.boxes_xyxy.astype(np.float64), faces.keypoints.astype(np.float64)

    return find


def finders() -> dict[str, Finder]:
    """Return the detectors to compare: ours, and dlib's HOG (one upsampling, as its own examples use it) where it is
    installed."""
    chosen: dict[str, Finder] = {"RetinaFace": our_finder()}
    try:
        import dlib
    except ImportError:
        print("dlib is not installed: its rows are left out (pip install dlib-bin)", file=sys.stderr)
        return chosen
    hog = dlib.get_frontal_face_detector()

    def find(pixels: np.ndarray) -> tuple[np.ndarray, None]:
        found = hog(pixels, 1)
        return np.array([[r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in found], np.float64).reshape(
            -1, 4
        ), None

    return chosen | {"dlib HOG": find}


def convention(find: Finder, photos: list[Photo]) -> np.ndarray:
    """Return how far this detector's boxes reach beyond the tight box of the 68 points, learnt on photos that are not
    scored."""
    pairs = []
    for photo in photos:
        boxes, _ = find(photo.pixels())
        centre = five_of_68(photo.points68)[0].mean(0)
        holding = [box for box in boxes if (box[:2] < centre).all() and (centre < box[2:]).all()]
        if len(holding) == 1:
            pairs.append((box_of_68(photo.points68)[0], holding[0]))
    return fit_convention(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))


def compare(data: Path, name: str, photos: list[Photo]) -> dict[str, Any]:
    """Return recall, unlabelled finds, point error and milliseconds of every detector on one set."""
    rows = {}
    for detector, find in finders().items():
        reach = convention(find, read_landmarks68(data, "train")[::4])
        tally, seconds = Tally(), []
        for photo in photos:
            pixels = photo.pixels()
            start = time.perf_counter()
            boxes, keypoints = find(pixels)
            seconds.append(time.perf_counter() - start)
            score(tally, photo.points68, boxes, keypoints, reach)
        rows[detector] = tally.row() | {
            "ms_median": 1000 * float(np.median(seconds)),
            "box_reach": reach.round(3).tolist(),
        }
        print(name, detector, rows[detector], file=sys.stderr)
    return {"photos": len(photos), "detectors": rows}


def groups(data: Path) -> dict[str, Any]:
    photos = read_groups(data)
    sides = np.concatenate([box_of_68(photo.points68) for photo in photos])
    widths = sides[:, 2] - sides[:, 0]
    return compare(data, "groups", photos) | {
        "narrowest_face": float(widths.min()),
        "median_face": float(np.median(widths)),
    }


def landmarks(data: Path) -> dict[str, Any]:
    return compare(data, "landmarks68 test", read_landmarks68(data, "test"))


def thresholds(data: Path) -> dict[str, Any]:
    """Return, for several `min_prob`, labelled faces found and finds on no labelled face (`groups/` and the landmarks68
    test photos)."""
    detector = RetinaFace(threads=1, min_prob=0.3)
    rows: dict[str, Any] = {str(limit): Tally() for limit in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)}
    for photo in read_groups(data) + read_landmarks68(data, "test"):
        faces = detector.detect(photo.pixels())
        for limit, tally in rows.items():
            sure = faces.take(np.flatnonzero(faces.detection_probs >= float(limit)))
            score(tally, photo.points68, sure.boxes_xyxy.astype(np.float64), None, np.zeros(4))
    return {
        limit: {key: tally.row()[key] for key in ("faces", "recall_centre", "finds_on_no_labelled_face")}
        for limit, tally in rows.items()
    }


def wild(data: Path) -> dict[str, Any]:
    """Return how many of the uncropped CelebA originals show at least one face, and how many show several."""
    files = sorted((data / "wild" / "photos").iterdir())
    rows = {}
    for name, find in finders().items():
        counts = np.array([len(find(load_image(path).pixels)[0]) for path in files])
        rows[name] = {"found": int((counts > 0).sum()), "several": int((counts > 1).sum()), "finds": int(counts.sum())}
    return {"photos": len(files), "detectors": rows}


def turned(data: Path) -> dict[str, Any]:
    """Return recall and point error of photos turned in the plane: every third of the landmarks68 test photos."""
    find, rows = our_finder(), {}
    for degrees in (0, 15, 30, 45, 60, 90, 135, 180, 270):
        tally = Tally()
        for photo in read_landmarks68(data, "test")[::3]:
            picture = Image.fromarray(photo.pixels())
            c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            side = int(np.ceil(np.hypot(*picture.size)))
            middle = np.array(picture.size) / 2
            turn = np.array([[c, s], [-s, c]])  # photo from turned, y down: counter-clockwise on the screen
            matrix = np.column_stack([turn.T, middle - turn.T @ [side / 2, side / 2]])
            view = picture.transform(
                (side, side), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BICUBIC
            )
            points = transform_points(invert(matrix), photo.points68)
            boxes, keypoints = find(np.asarray(view))
            score(tally, points, boxes, keypoints, np.zeros(4))
        rows[str(degrees)] = {key: tally.row()[key] for key in ("faces", "recall_centre", "nme_median", "nme_p95")}
    return rows


def validation_files(data: Path, step: int) -> list[Path]:
    lines = (data / "celeba" / "official" / "list_eval_partition.txt").read_text().splitlines()
    names = [name for name, part in (line.split() for line in lines) if part == "1"]
    return [data / "celeba" / "official" / "img_align_celeba" / name for name in names][::step]


def sizes(data: Path) -> dict[str, Any]:
    """Return recall and point error of official validation images (every tenth) shrunk to a width in pixels."""
    find, files, rows = our_finder(), validation_files(data, 10), {}
    full = {path: load_image(path).pixels for path in files}
    truth = {path: find(pixels)[1] for path, pixels in full.items()}
    for width in (178, 112, 56, 40, 28, 20, 14):
        scale, errors, hits = width / 178, [], 0
        for path, pixels in full.items():
            small = np.asarray(Image.fromarray(pixels).resize((width, round(218 * scale)), Image.Resampling.LANCZOS))
            boxes, keypoints = find(small)
            hits += len(boxes) > 0
            if len(boxes) and keypoints is not None and truth[path] is not None and len(truth[path]):
                errors.append(float(np.linalg.norm(keypoints[0] / scale - truth[path][0], axis=1).mean() / 38.4))
        rows[str(width)] = {
            "images": len(files),
            "recall": hits / len(files),
            "median_shift": float(np.median(errors)) if errors else None,
        }
    return rows


def crowd(data: Path) -> dict[str, Any]:
    """Return recall of small faces in a photo of 4000x3000: `bald_guys.jpg`, shrunk, three times on a plain ground."""
    find = our_finder()
    source = Image.fromarray(load_image(data / "groups" / "bald_guys.jpg").pixels)
    boxes, _ = find(np.asarray(source))
    median = float(np.median(boxes[:, 2] - boxes[:, 0]))
    rows: dict[str, Any] = {"faces_in_source": len(boxes), "median_width_in_source": median}
    for width in (20, 28, 36, 56, 80):
        scale = width / median
        tile = source.resize((round(source.width * scale), round(source.height * scale)), Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", (4000, 3000), (90, 110, 100))
        for corner in ((100, 100), (3950 - tile.width, 200), (1500, 2900 - tile.height)):
            canvas.paste(tile, corner)
        rows[str(width)] = len(find(np.asarray(canvas))[0]) / (3 * len(boxes))
    return rows


def register(photo: np.ndarray, official: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the similarity (2,3) that makes our warp of the photo most like the official image: where CelebA itself
    put the face.

    No detector judges here: the mean absolute difference over the face's middle is minimised from `start` (Nelder-Mead,
    three starts).
    """
    from scipy.optimize import minimize

    centre, target = TEMPLATE.astype(np.float64).mean(0), official[50:180, 30:148].astype(np.float64)

    def matrix(p: np.ndarray) -> np.ndarray:
        linear = np.array([[1 + p[0], -p[1]], [p[1], 1 + p[0]]])
        return np.column_stack([linear @ start[:, :2], linear @ start[:, 2] + centre + 10 * p[2:] - linear @ centre])

    def difference(p: np.ndarray) -> float:
        return float(np.abs(warp(photo, matrix(p))[50:180, 30:148] - target).mean())

    tries = []
    for grow in (0.0, 0.05, -0.05):
        first = np.array([grow, 0, 0, 0])
        simplex = np.stack([first, *(first + step for step in np.diag([0.03, 0.03, 0.2, 0.2]))])
        tries.append(
            minimize(difference, first, method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 160})
        )
    return matrix(min(tries, key=lambda found: found.fun).x)


def alignment(data: Path) -> dict[str, Any]:
    """Return how far our alignment of the wild photos lies from the official one, in crop pixels at the five points."""
    find, rows = our_finder(), {}
    for name, photo, official in read_pairs(data):
        candidates = find(photo)[1]
        matrices = [umeyama(points, TEMPLATE) for points in candidates]
        nearest = int(np.argmin([np.abs(warp(photo, matrix).astype(float) - official).mean() for matrix in matrices]))
        ours, truth = matrices[nearest], register(photo, official, matrices[nearest])
        seen = find(official)[1]
        both = transform_points(ours, candidates[nearest]) - seen[np.abs(seen - TEMPLATE).mean((1, 2)).argmin()]
        moved = transform_points(ours, transform_points(invert(truth), TEMPLATE)) - TEMPLATE
        rows[name] = {
            "detected_on_both": float(np.linalg.norm(both, axis=1).mean()),
            "registered": float(np.linalg.norm(moved, axis=1).mean()),
        }
    eye = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))
    summary = {}
    for key in ("detected_on_both", "registered"):
        values = np.array([row[key] for row in rows.values()])
        summary[key] = {
            "median_px": float(np.median(values)),
            "max_px": float(values.max()),
            "median_of_eye_distance": float(np.median(values) / eye),
        }
    return {"photos": len(rows), "summary": summary, "each": rows}


def blurry(data: Path) -> dict[str, Any]:
    """Return how well `sharpness` ranks CelebA's Blurry label on the official validation crops."""
    lines = (data / "celeba" / "official" / "list_attr_celeba.txt").read_text().splitlines()
    column = lines[1].split().index("Blurry") + 1
    label = {row[0]: row[column] == "1" for row in (line.split() for line in lines[2:])}
    files = validation_files(data, 1)
    values = np.array([sharpness(load_image(path).pixels.transpose(2, 0, 1)) for path in files])
    truth = np.array([label[path.name] for path in files])
    ranks = values.argsort().argsort() + 1.0
    sharp = ~truth
    auc = (ranks[sharp].sum() - sharp.sum() * (sharp.sum() + 1) / 2) / (sharp.sum() * truth.sum())
    return {
        "images": len(files),
        "blurry": int(truth.sum()),
        "auc": float(auc),
        "median": float(np.median(values[sharp])),
        "median_blurry": float(np.median(values[truth])),
    }


TABLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "groups": groups, "landmarks68": landmarks, "thresholds": thresholds, "wild": wild,
    "alignment": alignment, "turned": turned, "sizes": sizes, "crowd": crowd,
    "sharpness": blurry,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--tables", default=",".join(TABLES), help="some of: " + ", ".join(TABLES))
    parser.add_argument("--timings", action="store_true", help="write milliseconds: the machine is quiet")
    options = parser.parse_args()
    target = options.out / "detection.json"
    document = json.loads(target.read_text()) if target.is_file() else {}
    for name in options.tables.split(","):
        document[name] = TABLES[name](options.data)
        if not options.timings:
            for row in document[name].get("detectors", {}).values():
                row.pop("ms_median", None)
        print(name, json.dumps(document[name])[:300], file=sys.stderr)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count(), "threads": 1}
    document["machine"] = machine | {package: version(package) for package in ("numpy", "pillow", "onnxruntime")}
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    from detection_page import page

    (options.out / "detection.md").write_text(page(document))


if __name__ == "__main__":
    main()
