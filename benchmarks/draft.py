"""Huge JPEGs answered from a smaller decode: the time it saves or costs, and how far answers move. Writes
reduced_jpeg.md and reduced_jpeg.json.

    python benchmarks/draft.py [--data ../shared/data] [--runs 11] [--limit 30] [--out docs/benchmarks]

Run it on a quiet machine. Times: 12-megapixel photos made from the bundled portrait, one thread, the smaller decode
allowed and not, by turns.
Moves: CelebAMask-HQ's 1024-pixel faces in grids of twelve on 4032x3024 (they have real detail at that size), and the
uncropped originals of `wild/` enlarged to 4032 pixels (they have not). Beside them, as a measure, how far the same
answers move in the full decode where the photo loses its first row and column, or is saved again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import sheet
from PIL import Image

from lineament.api import Model, load
from lineament.demo import portrait
from lineament.images import load_image
from lineament.pipeline import reduced_jpeg
from lineament.pipeline.analyze import analyze
from lineament.types import FaceReport, Report

SIZE, GREY, QUALITY = (4032, 3024), (196, 198, 204), 90
FACE = (140, 20, 310, 190)
"""The portrait's head, to be enlarged: faces as large as those of people who stand close."""
SIDES = (700, 800, 900, 1000)
RESAVED = 85
NEAR = 0.5
"""A face of one decode is a face of the other if their noses are nearer than this many eye distances."""
Matrix = npt.NDArray[np.float64]


def encoded(picture: Image.Image, quality: int = QUALITY) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def grid(pictures: Sequence[Image.Image], columns: int, side: int) -> bytes:
    """Return a 12-megapixel JPEG of square pictures, `columns` to a row, on grey."""
    canvas, step = Image.new("RGB", SIZE, GREY), SIZE[0] // columns
    for index, picture in enumerate(pictures):
        canvas.paste(
            picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS),
            (step * (index % columns), step * (index // columns)),
        )
    return encoded(canvas)


def scenes() -> dict[str, bytes]:
    """Return the photos whose time is taken."""
    whole, head = portrait(), portrait().crop(FACE)
    return {
        "one face, a portrait": grid([whole], 1, SIZE[1]),
        "eight faces, close": grid([head] * 8, 4, SIZE[0] // 4),
        "eight faces, small": grid([whole] * 8, 4, SIZE[0] // 4),
        "no face": grid([], 1, 1),
    }


def answered(model: Model, data: bytes, *, small: bool) -> Report:
    """Return the report of a photo, the smaller decode allowed or not."""
    tools = model.tools(model.settings)
    return analyze(data, tools if small else replace(tools, glance=None), model.settings, source_name="photo")


def times(model: Model, data: bytes, runs: int) -> dict[str, Any]:
    """Return milliseconds for one photo without and with the smaller decode, measured by turns after one round that is
    not counted."""
    taken: dict[str, list[float]] = {"full": [], "small": [], "decode_full": [], "decode_small": []}
    works: dict[str, Callable[[], object]] = {
        "full": lambda: answered(model, data, small=False), "small": lambda: answered(model, data, small=True),
        "decode_full": lambda: load_image(data), "decode_small": lambda: load_image(data, max_side=reduced_jpeg.SIDE),
    }  # fmt: skip
    for _ in range(runs + 1):
        for name, work in works.items():
            start = perf_counter()
            work()
            taken[name].append(1000 * (perf_counter() - start))
    report = answered(model, data, small=True)
    rows = {name: [round(float(np.percentile(row[1:], at)), 1) for at in (50, 10, 90)] for name, row in taken.items()}
    return {"faces": len(report.faces), "answered_small": report.whole is not None, "ms": rows}


def close_faces(folder: Path, limit: int, side: int) -> Iterator[bytes]:
    """Yield photos of twelve faces each: a fixed choice, other ones in each photo."""
    files = sorted(folder.glob("*.jpg"))
    order = np.random.default_rng(side).permutation(len(files))
    for first in range(0, min(12 * limit, len(files) - 11), 12):
        yield grid([Image.open(files[index]) for index in order[first : first + 12]], 4, side)


def enlarged(folder: Path, limit: int) -> Iterator[bytes]:
    """Yield ordinary photos enlarged to the longer side of 12 megapixels."""
    for path in sorted(folder.glob("*.jpg"))[:limit]:
        picture = Image.open(path).convert("RGB")
        scale = SIZE[0] / max(picture.size)
        yield encoded(
            picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
        )


def pairs(ours: Report, theirs: Report, shift: float) -> Iterator[tuple[FaceReport, FaceReport]]:
    """Yield the faces that two reports of one photo share; `theirs` shows it moved by `shift` pixels to the left and
    up."""
    for face in ours.faces:
        away = [
            np.hypot(*(np.array(face.keypoints[2]) - np.array(other.keypoints[2]) - shift)) for other in theirs.faces
        ]
        if away and min(away) < NEAR * face.quality.eye_distance:
            yield face, theirs.faces[int(np.argmin(away))]


def moved(found: Sequence[tuple[FaceReport, FaceReport]], shift: float) -> dict[str, Any]:
    """Return how far probabilities, labels and points of paired faces lie apart."""
    probs = [
        [abs(answer.prob - theirs.attributes[name].prob) for name, answer in ours.attributes.items()]
        for ours, theirs in found
    ]
    labels = [
        answer.label != theirs.attributes[name].label
        for ours, theirs in found
        for name, answer in ours.attributes.items()
    ]
    points = [
        np.abs(np.array(a.keypoints) - np.array(b.keypoints) - shift).max() / a.quality.eye_distance for a, b in found
    ]
    sharp = [abs(ours.quality.sharpness - theirs.quality.sharpness) for ours, theirs in found]
    change = np.array(probs or [[0.0]])
    return {
        "faces": len(found), "median": float(np.median(change)), "p99": float(np.percentile(change, 99)),
        "max": float(change.max()), "labels_changed": int(sum(labels)), "labels": len(labels),
        "points_max": float(max(points, default=0.0)), "sharpness_max": float(max(sharp, default=0.0)),
    }  # fmt: skip


def moves(model: Model, photos: Iterator[bytes]) -> dict[str, Any]:
    """Return how far answers move: smaller against full decode, and, for the same photos in full, one pixel cut off and
    saved again."""
    said: dict[str, list[tuple[FaceReport, FaceReport]]] = {
        "smaller decode": [],
        "one pixel cut off": [],
        "saved again": [],
    }
    counts = {"photos": 0, "answered_small": 0, "other_number_of_faces": 0, "same_record": 0}
    for data in photos:
        full, small = answered(model, data, small=False), answered(model, data, small=True)
        counts["photos"] += 1
        counts["same_record"] += full.to_dict() == small.to_dict()
        if small.whole is None:
            continue
        counts["answered_small"] += 1
        counts["other_number_of_faces"] += len(full.faces) != len(small.faces)
        picture = Image.open(io.BytesIO(data))
        cut, again = encoded(picture.crop((1, 1, *picture.size))), encoded(picture, RESAVED)
        said["smaller decode"] += pairs(full, small, 0)
        said["one pixel cut off"] += pairs(full, answered(model, cut, small=False), 1)
        said["saved again"] += pairs(full, answered(model, again, small=False), 0)
    return counts | {"moves": {name: moved(found, float(name == "one pixel cut off")) for name, found in said.items()}}


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    lines = sheet.about_lines("Huge JPEGs in a smaller decode", document)
    lines += [
        f"A JPEG whose half, quarter or eighth still has {reduced_jpeg.SIDE} pixels on its longer side is decoded at "
        "that size first. It is "
        f"answered from there if it has faces and each has {reduced_jpeg.ENOUGH} pixels for each pixel of its crop "
        f"({38.4 * reduced_jpeg.ENOUGH:.0f} between the eyes).", "",
        f"## Time, {SIZE[0]}x{SIZE[1]}", "",
        "Milliseconds per photo, one thread: median (10th to 90th percentile).", "",
    ]  # fmt: skip
    head = (
        "photo",
        "faces found",
        "answered from",
        "decoding in full",
        "smaller",
        "whole photo, always in full",
        "as it is",
    )
    rows = [
        (name, row["faces"], "smaller" if row["answered_small"] else "full",
         *(f"{row['ms'][key][0]:.0f} ({row['ms'][key][1]:.0f}-{row['ms'][key][2]:.0f})" for key in ("decode_full",
         "decode_small", "full", "small")))
        for name, row in document["times"].items()
    ]  # fmt: skip
    lines += sheet.table(head, rows)
    lines += [
        "Where the smaller decode is not enough, it and what was searched in it are spent for nothing.", "",
        "## How far answers move", "",
        "Differences of probabilities over all faces and attributes. The two other rows of each group are a measure: "
        "the same photos,",
        f"always in full, without their first row and column, and saved again at quality {RESAVED}.", "",
    ]  # fmt: skip
    head = (
        "photos",
        "answered smaller",
        "change",
        "faces",
        "median",
        "99 %",
        "largest",
        "labels changed",
        "points, largest, of eye distance",
    )
    rows = [
        (name, f"{group['answered_small']} of {group['photos']}", change, row["faces"], f"{row['median']:.4f}",
        f"{row['p99']:.4f}",
         f"{row['max']:.3f}", f"{row['labels_changed']} of {row['labels']}", f"{row['points_max']:.3f}")
        for name, group in document["moves"].items() for change, row in group["moves"].items() if row["faces"]
    ]  # fmt: skip
    lines += sheet.table(head, rows)
    others = sum(group["other_number_of_faces"] for group in document["moves"].values())
    return [*lines, f"Photos answered from the smaller decode with another number of faces than in full: {others}."]


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    sheet.add_data(options)
    options.add_argument(
        "--runs", type=int, default=11, help="measurements of each time, after one that is not counted"
    )
    options.add_argument(
        "--limit",
        type=int,
        default=30,
        help="photos of each kind: so many of wild/, a fifth of them of each size of grid",
    )
    given = options.parse_args(arguments)
    model = load(given.model, threads=1, profile="all")
    document: dict[str, Any] = {
        "command": sheet.command("draft", arguments), "environment": sheet.environment(model),
        "side": reduced_jpeg.SIDE, "enough": reduced_jpeg.ENOUGH,
        "times": {name: times(model, data, given.runs) for name, data in scenes().items()},
    }  # fmt: skip
    faces, wild = given.data / "celebamask" / "images", given.data / "wild" / "photos"
    groups = {
        f"twelve faces of {side} pixels": close_faces(faces, -(-given.limit // 5), side)
        for side in SIDES
        if faces.is_dir()
    }
    document["moves"] = {name: moves(model, photos) for name, photos in groups.items()}
    document["moves"]["wild/, enlarged"] = moves(model, enlarged(wild, given.limit))
    sheet.write(given.out, "draft", document, page(document))


if __name__ == "__main__":
    main()
