"""Truth for `benchmarks/detection.py`: labelled faces of the shared data folder, and how one find is compared with one
face."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lineament.images import load_image


@dataclass(frozen=True)
class Photo:
    """A photo and its labelled faces: 68 points each (F,68,2), in continuous pixels."""

    path: Path
    points68: np.ndarray

    def pixels(self) -> np.ndarray:
        return load_image(self.path).pixels


@dataclass
class Tally:
    """Counts of one detector over one set."""

    faces: int = 0
    centre: int = 0
    iou: int = 0
    unlabelled: int = 0
    errors: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float | int | None]:
        errors = np.array(self.errors)
        return {
            "faces": self.faces,
            "recall_centre": self.centre / self.faces,
            "recall_iou50": self.iou / self.faces,
            "finds_on_no_labelled_face": self.unlabelled,
            "nme_median": float(np.median(errors)) if len(errors) else None,
            "nme_mean": float(errors.mean()) if len(errors) else None,
            "nme_p95": float(np.percentile(errors, 95)) if len(errors) else None,
        }


def read_groups(root: Path) -> list[Photo]:
    """Return the nine labelled photos of `groups/` (dlib's two XML files; points are pixel indices, so half a pixel is
    added)."""
    photos = []
    for part in ("testing", "training"):
        for image in ElementTree.parse(root / "groups" / f"{part}_with_face_landmarks.xml").getroot().iter("image"):
            faces = [
                [(float(p.get("x", 0)) + 0.5, float(p.get("y", 0)) + 0.5) for p in box.iter("part")]
                for box in image.iter("box")
            ]
            photos.append(Photo(root / "groups" / str(image.get("file")), np.array(faces)))
    return photos


def read_landmarks68(root: Path, split: str) -> list[Photo]:
    """Return the photos of one split of `landmarks68/`, one labelled face each."""
    with (root / "landmarks68" / "landmarks.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    points = [[[(float(row[f"x{i}"]), float(row[f"y{i}"])) for i in range(68)]] for row in rows]
    return [
        Photo(root / "landmarks68" / "images" / row["file"], np.array(p)) for row, p in zip(rows, points, strict=True)
    ]


def five_of_68(points: np.ndarray) -> np.ndarray:
    """Return right eye, left eye, nose tip, right and left mouth corner (...,5,2) of iBUG's 68 points (...,68,2)."""
    right, left = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    return np.stack([right, left, points[..., 30, :], points[..., 48, :], points[..., 54, :]], -2)


def box_of_68(points: np.ndarray) -> np.ndarray:
    """Return the tight boxes (...,4) of 68 points: jaw to jaw, eyebrows to chin."""
    return np.concatenate([points.min(-2), points.max(-2)], -1)


def fit_convention(tight: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return how far a detector's boxes reach beyond the tight ones, per side, in widths and heights: medians over
    matched pairs (n,4)."""
    size = np.tile(tight[:, 2:] - tight[:, :2], 2)
    return np.median((found - tight) / size, 0)


def to_convention(tight: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return the tight boxes (n,4) stretched to a detector's convention."""
    return tight + reach * np.tile(tight[:, 2:] - tight[:, :2], 2)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union of two xyxy boxes."""
    side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    inter = side.prod()
    return float(inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter))


def score(
    tally: Tally, truth68: np.ndarray, boxes: np.ndarray, keypoints: np.ndarray | None, reach: np.ndarray
) -> None:
    """Add one photo to a tally. A find hits a face when its box holds the mean of the face's five points; each find
    serves one face."""
    five, tight = five_of_68(truth68), to_convention(box_of_68(truth68), reach)
    free = list(range(len(boxes)))
    for centre, box, points in zip(five.mean(1), tight, five, strict=True):
        tally.faces += 1
        inside = [i for i in free if (boxes[i][:2] < centre).all() and (centre < boxes[i][2:]).all()]
        if not inside:
            continue
        best = max(inside, key=lambda i: iou(boxes[i], box))
        free.remove(best)
        tally.centre += 1
        tally.iou += iou(boxes[best], box) >= 0.5
        if keypoints is not None:
            tally.errors.append(
                float(np.linalg.norm(keypoints[best] - points, axis=1).mean() / np.linalg.norm(points[1] - points[0]))
            )
    tally.unlabelled += len(free)


def read_pairs(root: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (file, uncropped photo, official aligned image) for the photos of `wild/` that `train-parquet` also
    holds."""
    from pyarrow import parquet

    photos = {path.stem: path for path in sorted((root / "wild" / "photos").iterdir())}
    for shard in sorted((root / "celeba" / "train-parquet").glob("*.parquet")):
        names = [name.split(".")[0] for name in parquet.read_table(shard, columns=["file"])["file"].to_pylist()]
        index = [i for i, name in enumerate(names) if name in photos]
        if index:
            for row in parquet.read_table(shard, columns=["file", "image"]).take(index).to_pylist():
                aligned = load_image(io.BytesIO(row["image"]["bytes"])).pixels
                yield row["file"], load_image(photos[row["file"].split(".")[0]]).pixels, aligned
