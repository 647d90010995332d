"""How small a face may be: recall over made photos of every size and shape, and false finds. Writes small-faces.md and
small-faces.json.

    python benchmarks/small_faces.py [--data ../shared/data] [--out docs/benchmarks] [--photos 4000] [--seed 17]
        [--seconds 36000]      # goes on where an earlier run was cut off: runs/small-faces-PEOPLE-SEED.json

Photos are made from the faces of `wild/` (those with an odd number; `--people even` for the others). A face's size is
the shorter side of the detector's box of that face enlarged or reduced to 200 pixels, scaled: sizes are known exactly,
whatever is found.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sheet
from detection import finders
from PIL import Image

from lineament.api import load
from lineament.detection import tiles
from lineament.detection.candidates import iou_matrix
from lineament.detection.retinaface import RetinaFace
from lineament.images import load_image

SIZES = (16, 20, 24, 32, 48, 64, 100, 200, 400)
MEGAPIXELS, SHARES = (0.3, 1, 3, 8, 24, 64), (0.55, 0.26, 0.12, 0.05, 0.015, 0.005)
RATIOS = (1.0, 4 / 3, 3 / 2, 16 / 9, 3.0, 6.0, 12.0)
COUNTS, COUNT_SHARES = (1, 2, 5, 12), (0.55, 0.2, 0.15, 0.1)
PLACES = ("anywhere", "edge", "tile border")
CHOICES = ("never", "auto", "always")
MARGIN, HIT = 0.6, 0.35
PEERS_UP_TO = 4.0
"""Megapixels up to which dlib's detector is shown a photo: it takes seconds for more."""


@dataclass(frozen=True)
class Face:
    """A face to paste: a picture with some of what was around it, and its box of 200 pixels on the shorter side."""

    picture: Image.Image
    box: np.ndarray

    def at(self, size: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture and the box with `size` pixels on the box's shorter side."""
        scale = size / (self.box[2:] - self.box[:2]).min()
        small = self.picture.resize(
            [max(1, round(side * scale)) for side in self.picture.size], Image.Resampling.LANCZOS
        )
        return np.asarray(small), self.box * np.tile(np.array(small.size) / np.array(self.picture.size), 2)


@dataclass(frozen=True)
class Made:
    """A made photo: pixels, the boxes of its faces (all of one size), and what it is."""

    pixels: np.ndarray
    boxes: np.ndarray
    size: int
    place: str
    ground: str
    megapixels: float


def faces_of(data: Path, odd: bool) -> list[Face]:
    """Return the faces of `wild/` photos that show one, every second photo."""
    detector, found = RetinaFace(threads=1), []
    for path in sorted((data / "wild" / "photos").iterdir())[int(odd) :: 2]:
        pixels = load_image(path).pixels
        faces = detector.detect(pixels)
        if len(faces) != 1:
            continue
        box = faces.boxes_xyxy[0]
        reach = MARGIN * (box[2:] - box[:2]).max()
        low, high = (
            np.maximum(box[:2] - reach, 0).astype(int),
            np.minimum(box[2:] + reach, pixels.shape[1::-1]).astype(int),
        )
        picture = Image.fromarray(pixels[low[1] : high[1], low[0] : high[0]])
        scale = 200 / (box[2:] - box[:2]).min()
        picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS)
        again = detector.detect(np.asarray(picture))
        if len(again) == 1:
            found.append(Face(picture, again.boxes_xyxy[0].astype(np.float64)))
    return found


def ground(height: int, width: int, textured: bool, rng: np.random.Generator) -> np.ndarray:
    """Return one plain colour, or noise at four scales with bars on it."""
    plain = np.empty((height, width, 3), np.uint8)
    plain[:] = rng.integers(40, 216, 3)
    if not textured:
        return plain
    block = rng.normal(0, 12, (min(height, 512), min(width, 512), 3))
    for cell in (4, 16, 64):
        rough = (
            rng.normal(128, 30, (block.shape[0] // cell + 2, block.shape[1] // cell + 2, 3))
            .clip(0, 255)
            .astype(np.uint8)
        )
        block += (
            np.asarray(
                Image.fromarray(rough).resize((block.shape[1], block.shape[0]), Image.Resampling.BICUBIC), np.float64
            )
            - 128
        )
    for _ in range(6):
        y, x = rng.integers(0, block.shape[0]), rng.integers(0, block.shape[1])
        block[y : y + rng.integers(4, 120), x : x + rng.integers(4, 120)] += rng.normal(0, 40, 3)
    repeats = -(-height // block.shape[0]), -(-width // block.shape[1]), 1
    return (plain[0, 0] + np.tile(block, repeats)[:height, :width]).clip(0, 255).astype(np.uint8)


def shape_of(megapixels: float, rng: np.random.Generator) -> tuple[int, int]:
    ratio = float(rng.choice(RATIOS))
    long, short = round((megapixels * 1e6 * ratio) ** 0.5), round((megapixels * 1e6 / ratio) ** 0.5)
    return (short, long) if rng.random() < 0.5 else (long, short)


def made_photos(faces: list[Face], count: int, seed: int, first: int = 0) -> Iterator[tuple[int, Made]]:
    """Yield made photos with their numbers, from the one numbered `first` on, the same for the same faces and seed."""
    for number in range(first, count):
        rng = np.random.default_rng((seed, number))
        size, place, megapixels = (
            int(SIZES[number % len(SIZES)]),
            str(rng.choice(PLACES)),
            float(rng.choice(MEGAPIXELS, p=SHARES)),
        )
        height, width = shape_of(megapixels, rng)
        textured = bool(rng.random() < 0.5)
        pixels, boxes = ground(height, width, textured, rng), []
        for _ in range(int(rng.choice(COUNTS, p=COUNT_SHARES))):
            spot = pasted(pixels, faces[rng.integers(len(faces))], size, place, boxes, rng)
            if spot is not None:
                boxes.append(spot)
        if boxes:
            yield number, Made(pixels, np.array(boxes), size, place, "textured" if textured else "plain", megapixels)


def pasted(
    pixels: np.ndarray, face: Face, size: int, place: str, taken: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray | None:
    """Paste a face where no other is, its whole box inside; return its box, or None where it found no room in twenty
    tries."""
    picture, box = face.at(size)
    side = box[2:] - box[:2]
    room = np.array(pixels.shape[1::-1]) - side
    if (room < 0).any():
        return None
    for _ in range(20):
        low = rng.uniform(0, room)
        axis, end = rng.integers(2), rng.integers(2)
        if place == "edge":
            low[axis] = room[axis] * end
        elif place == "tile border":
            parts = tiles.cut((pixels.shape[0], pixels.shape[1]), 128)
            low[axis] = np.clip(
                parts[rng.integers(len(parts))][axis + 2 * end] - side[axis] * rng.random(), 0, room[axis]
            )
        corner = np.round(low - box[:2]).astype(int)
        spot = box + np.tile(corner, 2)
        reach = np.concatenate([corner, corner + picture.shape[1::-1]])
        if any((reach[:2] < other[2:]).all() and (other[:2] < reach[2:]).all() for other in taken):
            continue
        first, last = np.maximum(corner, 0), np.minimum(reach[2:], pixels.shape[1::-1])
        pixels[first[1] : last[1], first[0] : last[0]] = picture[
            first[1] - corner[1] : last[1] - corner[1], first[0] - corner[0] : last[0] - corner[0]
        ]
        return spot
    return None


def judged(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which true boxes are found (each by a find of its own) and how many finds are on none."""
    overlap = (
        iou_matrix(truth.astype(np.float32), found.astype(np.float32))
        if len(found)
        else np.zeros((len(truth), 0), np.float32)
    )
    hits = np.zeros(len(truth), bool)
    while overlap.size and overlap.max() >= HIT:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        hits[row], overlap[row], overlap[:, column] = True, -1, -1
    return hits, len(found) - int(hits.sum())


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Wilson, 1927)."""
    if not count:
        return 0.0, 1.0
    z, rate = 1.96, hits / count
    middle, half = rate + z * z / 2 / count, z * (rate * (1 - rate) / count + z * z / 4 / count**2) ** 0.5
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def grid(faces: list[Face], count: int, seed: int, budget: float, kept: Path) -> dict[str, Any]:
    """Return recall by choice and size, and by choice and place, ground and megapixels at 24 pixels and above; false
    finds.

    kept: a file in which the sums so far are kept every fifty photos, and from which a run that was cut off goes on.
    """
    choices = CHOICES[1:]
    sums: dict[str, Any] = {
        "photos": 0, "next": 0, "recall": {choice: {} for choice in choices}, "finds_on_no_face": dict.fromkeys(choices, 0),
    }  # fmt: skip
    if kept.is_file():
        sums = json.loads(kept.read_text("utf-8"))
    finders, started = {choice: RetinaFace(threads=1, small_faces=choice) for choice in choices}, time.monotonic()
    for number, made in made_photos(faces, count, seed, sums["next"]):
        for choice, finder in finders.items():
            hits, wrong = judged(finder.detect(made.pixels).boxes_xyxy, made.boxes)
            sums["finds_on_no_face"][choice] += wrong
            for key in _rows_of(made, len(hits)):
                row = sums["recall"][choice].setdefault(key, [0, 0])
                row[0] += int(hits.sum())
                row[1] += len(hits)
        searched = sums.setdefault("detectors", {})
        searched[finders["auto"].id] = searched.get(finders["auto"].id, 0) + 1
        sums["photos"], sums["next"] = sums["photos"] + 1, number + 1
        if sums["photos"] % 50 == 0:
            kept.write_text(json.dumps(sums), "utf-8")
            print(sums["photos"], {one: rows["24 and above"] for one, rows in sums["recall"].items()}, flush=True)
        if time.monotonic() - started > budget:
            break
    kept.write_text(json.dumps(sums), "utf-8")
    return {"asked": count, "seed": seed, "people": len(faces)} | sums


def beside_dlib(faces: list[Face], count: int, seed: int) -> dict[str, Any]:
    """Return how many faces ours and dlib's HOG find, by size, in the first `count` photos of the grid up to
    `PEERS_UP_TO`; nothing where dlib is not installed.

    Boxes of the two are drawn differently, so a find counts where it holds the middle of the true box and its shorter
    side is half to twice that of the true one; each find serves one face.
    """
    chosen = finders()
    if len(chosen) == 1:
        return {}
    sums: dict[str, Any] = {
        "photos": 0,
        "recall": {name: {} for name in chosen},
        "finds_on_no_face": dict.fromkeys(chosen, 0),
    }
    for _, made in made_photos(faces, 20 * count, seed):
        if made.megapixels > PEERS_UP_TO:
            continue
        for name, find in chosen.items():
            hits, wrong = held(find(made.pixels)[0], made.boxes)
            sums["finds_on_no_face"][name] += wrong
            row = sums["recall"][name].setdefault(f"size {made.size}", [0, 0])
            row[0] += hits
            row[1] += len(made.boxes)
        sums["photos"] += 1
        if sums["photos"] == count:
            break
    return sums


def held(found: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Return how many true boxes are held by a find of their own, and how many finds hold none."""
    left = list(range(len(found)))
    for box in truth:
        middle, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).min()
        for i in left:
            ratio = (found[i, 2:] - found[i, :2]).min() / side
            if (found[i, :2] < middle).all() and (middle < found[i, 2:]).all() and 0.5 <= ratio <= 2:
                left.remove(i)
                break
    return len(found) - len(left), len(left)


def _rows_of(made: Made, faces: int) -> list[str]:
    """Return the rows of the table that a photo counts in."""
    rows = [f"size {made.size}"]
    if made.size >= 24:
        several = "faces one" if faces == 1 else "faces several"
        parts = [f"place {made.place}", f"ground {made.ground}", f"megapixels {made.megapixels:g}"]
        rows += [*parts, several, "24 and above"]
    return rows


def faceless(data: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield pictures without a face: scikit-image's and scikit-learn's, then `wild/` with every find covered by one
    colour, each also twice as large and twice side by side (up to five megapixels)."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    for name in (
        "coffee",
        "chelsea",
        "rocket",
        "hubble_deep_field",
        "immunohistochemistry",
        "brick",
        "grass",
        "gravel",
        "coins",
        "moon",
        "page",
        "text",
        "clock",
    ):
        try:
            picture = np.asarray(getattr(skimage.data, name)())
        except Exception as error:  # noqa: BLE001  some are fetched on demand
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        yield name, np.ascontiguousarray(np.stack([picture] * 3, 2) if picture.ndim == 2 else picture[..., :3])
    yield from zip(("china", "flower"), load_sample_images().images, strict=True)
    detector = RetinaFace(threads=1, min_prob=0.3, second_look=False)
    for path in sorted((data / "wild" / "photos").iterdir()):
        pixels = load_image(path).pixels.copy()
        for box in detector.detect(pixels).boxes_xyxy:
            middle, reach = (box[:2] + box[2:]) / 2, 0.9 * (box[2:] - box[:2])
            low, high = (
                np.maximum(middle - reach, 0).astype(int),
                np.minimum(middle + reach, pixels.shape[1::-1]).astype(int),
            )
            pixels[low[1] : high[1], low[0] : high[0]] = np.median(pixels[-20:], (0, 1)).astype(np.uint8)
        yield path.name, pixels
        big = np.asarray(
            Image.fromarray(pixels).resize((pixels.shape[1] * 2, pixels.shape[0] * 2), Image.Resampling.LANCZOS)
        )
        yield f"{path.name}, larger", np.tile(big, (1, 2, 1))


def false_finds(data: Path, budget: float) -> dict[str, Any]:
    """Return the finds on pictures without a face, by choice."""
    finders = {choice: RetinaFace(threads=1, small_faces=choice) for choice in CHOICES}
    finds: dict[str, dict[str, list[float]]] = {choice: {} for choice in CHOICES}
    photos, pixels, started = 0, 0, time.monotonic()
    for name, picture in faceless(data):
        for choice, finder in finders.items():
            faces = finder.detect(picture)
            if len(faces):
                finds[choice][name] = [round(float(prob), 3) for prob in faces.detection_probs]
        photos, pixels = photos + 1, pixels + picture.shape[0] * picture.shape[1]
        if time.monotonic() - started > budget:
            break
    return {"photos": photos, "megapixels": round(pixels / 1e6, 1), "finds": finds}


def turned_beside_upright(faces: list[Face], count: int, seed: int) -> dict[str, dict[str, list[int]]]:
    """Return how often an upside-down face beside an upright one of the same size is found, by choice and size; [found,
    shown]."""
    rows: dict[str, dict[str, list[int]]] = {choice: {} for choice in CHOICES}
    finders = {choice: RetinaFace(threads=1, small_faces=choice) for choice in CHOICES}
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        size = (40, 80, 160)[number % 3]
        pixels = ground(640, 960, bool(number % 2), rng)
        one, two = (faces[i] for i in rng.choice(len(faces), 2, replace=False))
        upright = pasted(pixels[:, :480], one, size, "anywhere", [], rng)
        picture, box = two.at(size)
        picture, side = picture[::-1, ::-1], np.array(picture.shape[1::-1])
        box = np.concatenate([side - box[2:], side - box[:2]])
        if upright is None or (side > (480, 640)).any():
            continue
        x, y = 480 + rng.integers(0, 480 - side[0] + 1), rng.integers(0, 640 - side[1] + 1)
        pixels[y : y + side[1], x : x + side[0]] = picture
        for choice, finder in finders.items():
            hits, _ = judged(finder.detect(pixels).boxes_xyxy, (box + np.array([x, y, x, y]))[None])
            row = rows[choice].setdefault(f"{size} pixels", [0, 0])
            row[0], row[1] = row[0] + int(hits[0]), row[1] + 1
    return rows


def rate_row(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{100 * hits / max(count, 1):.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    found = document["grid"]
    lines = [*sheet.about_lines("Small faces", document), PROMISE, "## Recall", ""]
    lines += [
        f"{found['photos']} made photos of {found['asked']} asked for (seed {found['seed']}), faces of "
        f"{found['people']} people.",
        "In brackets 95 % intervals (Wilson).",
        "From *24 and above* on all rows are of faces of at least 24 pixels.", "",
        "| faces | shown | `auto` | `always` |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    always = found["recall"]["always"]
    for key in [f"size {size}" for size in SIZES if f"size {size}" in always] + sorted(
        key for key in always if not key.startswith("size")
    ):
        lines.append(
            f"| {key} | {always[key][1]} | {rate_row(*found['recall']['auto'][key])} | {rate_row(*always[key])} |"
        )
    lines += ["", f"Finds on no face in these photos: {found['finds_on_no_face']}."]
    if "detectors" in found:
        said = ", ".join(f"{count} by `{name}`" for name, count in found["detectors"].items())
        lines += ["", f"Photos searched: {said}."]
    return lines + dlib_lines(document) + faceless_lines(document) + upside_down_lines(document)


def dlib_lines(document: dict[str, Any]) -> list[str]:
    """Return the section on dlib's detector; none where it was not there."""
    beside = document.get("beside_dlib")
    if not beside:
        return []
    names, recall = list(beside["recall"]), beside["recall"]
    lines = ["", "## Beside dlib's detector", ""]
    lines += [
        f"The first {beside['photos']} photos of the grid of at most {PEERS_UP_TO:g} megapixels; ours with `auto`, dlib's HOG with one",
        "upsampling. Boxes differ, so a find counts where it holds the middle of the true box and is half to twice as large.",
        "YuNet's file could not be had offline.", "",
        f"| faces | shown | {' | '.join(names)} |", f"|---|---:|{'---:|' * len(names)}",
    ]  # fmt: skip
    for key in (f"size {size}" for size in SIZES):
        if key in recall[names[0]]:
            rows = [recall[name][key] for name in names]
            lines.append(f"| {key} | {rows[0][1]} | {' | '.join(rate_row(*row) for row in rows)} |")
    return [*lines, "", f"Finds on no face: {beside['finds_on_no_face']}."]


def faceless_lines(document: dict[str, Any]) -> list[str]:
    """Return the section on photos without a face; none where they were not searched."""
    if "faceless" not in document:
        return []
    lines, none = ["", "## Photos without a face", ""], document["faceless"]
    lines += [f"{none['photos']} pictures, {none['megapixels']} megapixels (`faceless` in the script says which).", ""]
    lines += ["| choice | finds |", "|---|---|"]
    for choice, finds in none["finds"].items():
        said = "; ".join(f"{name}: {', '.join(map(str, probs))}" for name, probs in finds.items())
        lines.append(f"| {choice} | {sum(map(len, finds.values()))}{f' ({said})' if said else ''} |")
    return lines


def upside_down_lines(document: dict[str, Any]) -> list[str]:
    """Return the section on upside-down faces; none where they were not searched."""
    if "upside_down" not in document:
        return []
    lines = ["", "## An upside-down face beside an upright one", "", "Found, of both the same size, in 960x640.", ""]
    lines += ["| choice | 40 pixels | 80 | 160 |", "|---|---:|---:|---:|"]
    for choice, rows in document["upside_down"].items():
        lines.append(f"| {choice} | {' | '.join(rate_row(*rows[f'{size} pixels']) for size in (40, 80, 160))} |")
    return lines


PROMISE = """How many faces are found at which size; [the promise](../how-it-works.md#small-faces) begins at 20 pixels. A face's size is the
shorter side of the detector's box of that face at 200 pixels, scaled; a find counts where its overlap with that box is at least 0.35
(intersection over union). The faces are those of `wild/` photos with an odd number. The find level was chosen on
photos of both kinds, so these figures are not of people kept apart.
"""


def main() -> None:
    parser = sheet.parser(__doc__)
    sheet.add_data(parser)
    parser.add_argument("--photos", type=int, default=4000, help="made photos of the grid")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--people", choices=("odd", "even"), default="odd")
    parser.add_argument(
        "--seconds", type=float, default=36000, help="of wall time, for the grid and for the photos without a face each"
    )
    parser.add_argument("--peers", type=int, default=200, help="photos of the grid shown to dlib's detector too")
    options = parser.parse_args()
    faces = faces_of(options.data, options.people == "odd")
    document = {
        "command": sheet.command("small_faces", None),
        "environment": sheet.environment(load(options.model, threads=1)),
    }
    kept = Path("runs") / f"small-faces-{options.people}-{options.seed}.json"
    kept.parent.mkdir(exist_ok=True)
    document["grid"] = grid(faces, options.photos, options.seed, options.seconds, kept)
    (options.out / "small-faces.json").write_text(
        json.dumps(document, indent=1) + "\n", encoding="utf-8"
    )  # kept, should the rest be cut off
    document["beside_dlib"] = beside_dlib(faces, options.peers, options.seed)
    document["upside_down"] = turned_beside_upright(faces, 60, options.seed)
    document["faceless"] = false_finds(options.data, options.seconds)
    sheet.write(options.out, "small-faces", document, page(document))


if __name__ == "__main__":
    main()
