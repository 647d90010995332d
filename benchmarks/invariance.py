"""The same face another way: how far do its probabilities move? Writes docs/benchmarks/invariance.md and
invariance.json.

    python benchmarks/invariance.py [--data ../shared/data] [--limit 60] [--out docs/benchmarks]

Every photo goes through `Model.analyze` once as it is and once per variant: as PNG and as JPEG, stored turned or
mirrored with the EXIF tag that undoes it, mirrored for good. Then the points are moved as far as our detector's lie
from points clicked by people: what another detector would do to the same face. Last, the record of a face alone, among
3 and among 16 must be the same to the byte; exit status 1 if one is not.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sheet
from PIL import Image

from lineament import geometry
from lineament.api import Model, load
from lineament.demo import portrait
from lineament.images import load_image
from lineament.types import PROB_DECIMALS, Crops, FaceReport, Faces, Float64, Report, UInt8

ORIENTATION = 0x0112
UNDONE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""How a picture must be stored for its EXIF orientation to bring it upright: the opposite of what the tag says to
do."""

DRAWS = 4
MAX_NME = 0.25
"""Points further off than this share of the eye distance are another face, not an inaccurate find."""


def encode(pixels: UInt8, kind: str, quality: int = 95, orientation: int = 1) -> bytes:
    """Return an upright picture as a file that shows the same upright picture, stored as `orientation` (1..8) says."""
    picture, exif, buffer = Image.fromarray(pixels), Image.Exif(), io.BytesIO()
    if orientation != 1:
        picture, exif[ORIENTATION] = picture.transpose(UNDONE[orientation]), orientation
    picture.save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}), exif=exif)
    return buffer.getvalue()


def variants() -> dict[str, Callable[[UInt8], bytes]]:
    """Return name -> what turns upright pixels into another file of the same photo."""
    made: dict[str, Callable[[UInt8], bytes]] = {"PNG": lambda pixels: encode(pixels, "PNG")}
    for turn in UNDONE:
        made[f"PNG, EXIF orientation {turn}"] = lambda pixels, turn=turn: encode(pixels, "PNG", orientation=turn)
    made["JPEG q95"] = lambda pixels: encode(pixels, "JPEG")
    for turn in UNDONE:
        made[f"JPEG q95, EXIF orientation {turn}"] = lambda pixels, turn=turn: encode(pixels, "JPEG", orientation=turn)
    made["JPEG q75"] = lambda pixels: encode(pixels, "JPEG", quality=75)
    made["mirrored"] = lambda pixels: encode(np.ascontiguousarray(pixels[:, ::-1]), "PNG")
    return made


def probs_of(face: FaceReport) -> Float64:
    return np.array([answer.prob for answer in face.attributes.values()])


def nearest(report: Report, points: Float64) -> FaceReport | None:
    """Return the face whose points lie nearest to `points` (5,2); None if none lies within half the eye distance."""
    far = [float(np.linalg.norm(np.array(face.keypoints) - points, axis=1).mean()) for face in report.faces]
    if not far or min(far) > np.linalg.norm(points[1] - points[0]) / 2:
        return None
    return report.faces[int(np.argmin(far))]


class Moves:
    """|change| of probabilities (rows of A), labels that changed, faces that were lost."""

    def __init__(self) -> None:
        self.changes: list[Float64] = []
        self.turned: list[Float64] = []
        self.lost = 0

    def add(self, before: Float64, after: Float64, thresholds: Float64) -> None:
        self.changes.append(np.abs(after - before))
        self.turned.append(((after >= thresholds) != (before >= thresholds)).astype(np.float64))

    def row(self) -> dict[str, Any]:
        if not self.changes:
            return {"faces": 0, "lost": self.lost, "median": None, "p99": None, "max": None, "labels_changed": None}
        changes = np.array(self.changes)
        low, high = np.percentile(changes, (50, 99))
        return {
            "faces": len(changes), "lost": self.lost, "median": round(float(low), 5), "p99": round(float(high), 5),
            "max": round(float(changes.max()), 5), "labels_changed": round(float(np.mean(self.turned)), 6),
        }  # fmt: skip


def files(model: Model, photos: Sequence[UInt8], thresholds: Float64) -> dict[str, dict[str, Any]]:
    """Return the moves of every variant, of the largest face of every photo."""
    moves = {name: Moves() for name in variants()}
    for pixels in photos:
        base = model.analyze(pixels, channels="RGB", profile="all", keep="largest")
        if not base.faces:
            continue
        face = base.faces[0]
        points = np.array(face.keypoints)
        for name, make in variants().items():
            report = model.analyze(make(pixels), profile="all")
            wanted = geometry.mirror_points(points, pixels.shape[1]) if name == "mirrored" else points
            same = nearest(report, wanted)
            if same is None:
                moves[name].lost += 1
            else:
                moves[name].add(probs_of(face), probs_of(same), thresholds)
    return {name: one.row() for name, one in moves.items()}


def point_errors(model: Model, data: Path, limit: int) -> Float64:
    """Return how far our points lie from clicked ones (n,5,2), in eye distances of an upright face, their mean taken
    away."""
    from face_truth import five_of_68, read_landmarks68

    errors = []
    for photo in read_landmarks68(data, "test")[:limit]:
        found = model.detector.detect(photo.pixels()).keypoints.astype(np.float64)
        truth = five_of_68(photo.points68[0])
        if not len(found):
            continue
        eyes = float(np.linalg.norm(truth[1] - truth[0]))
        points = found[np.linalg.norm(found - truth, axis=2).mean(1).argmin()]
        if np.linalg.norm(points - truth, axis=1).mean() <= MAX_NME * eyes:
            turn = geometry.umeyama(truth, geometry.TEMPLATE.astype(np.float64))[:, :2]
            errors.append((points - truth) @ turn.T / (np.sqrt(np.linalg.det(turn)) * eyes))
    found = np.array(errors).reshape(-1, 5, 2)
    return found - found.mean(0) if len(found) else found


def jitter(model: Model, photos: Sequence[UInt8], errors: Float64, thresholds: Float64) -> dict[str, Any]:
    """Return the moves of faces whose points are off by errors drawn from `errors`, each an actual one, whole, turned
    into the photo."""
    moves, rng, names = Moves(), np.random.default_rng(0), model.card.attributes
    for pixels in photos:
        faces = model.detector.detect(pixels)
        if not len(faces):
            continue
        points = faces.keypoints[:1].astype(np.float64)
        image_from_crop = geometry.invert(geometry.umeyama(points, geometry.TEMPLATE.astype(np.float64)))[0]
        eyes = float(np.linalg.norm(geometry.TEMPLATE[1] - geometry.TEMPLATE[0]))
        drawn = errors[rng.integers(0, len(errors), DRAWS)] * eyes @ image_from_crop[:, :2].T
        logits = model.network(geometry.align(pixels, np.concatenate([points, points + drawn]))).logits
        probs = np.round(model.card.decision.probs(logits, names), PROB_DECIMALS)
        for after in probs[1:]:
            moves.add(probs[0], after, thresholds)
    return moves.row() | {
        "points_off_median": round(float(np.median(np.linalg.norm(errors, axis=2).mean(1))), 4),
        "draws_per_face": DRAWS,
    }


def company(model: Model, photos: Sequence[UInt8]) -> dict[str, int]:
    """Return how many comparisons of a face alone with the same face in company were made, and how many differed in a
    byte.

    Compared: logits alone and in batches of 3 and 16; the faces of a photo given alone and as one face of a list of 3
    and 16; whole records of photos analysed one by one and in streams of 3 and 16, on one thread and on four.
    """
    found = [(pixels, faces) for pixels in photos if len(faces := model.detector.detect(pixels))]
    crops = np.concatenate([geometry.align(pixels, faces.keypoints[:1]).pixels for pixels, faces in found])
    crops = crops[np.arange(max(16, len(crops))) % len(crops)]
    matrices = np.zeros((len(crops), 2, 3), np.float32)
    alone = [model.network(Crops(crops[i : i + 1], matrices[i : i + 1])).logits.tobytes() for i in range(len(crops))]
    compared = differed = 0
    for size in (3, 16):
        for start in range(0, len(crops) - size + 1, size):
            logits = model.network(Crops(crops[start : start + size], matrices[start : start + size])).logits
            compared += size
            differed += sum(logits[i : i + 1].tobytes() != alone[start + i] for i in range(size))
    more = _crowded(model, *found[0]) + _streamed(model, [pixels for pixels, _ in found])
    return {"compared": compared + len(more), "differed": differed + sum(not same for same in more)}


def _crowded(model: Model, pixels: UInt8, faces: Faces) -> list[bool]:
    """Return whether one face's record is the same alone and among the 3 and 16 faces of one photo, its boxes given."""
    shifts = np.arange(16, dtype=np.float32)[:, None, None] * np.array([3, 2], np.float32)
    crowd = Faces(
        np.repeat(faces.boxes_xyxy[:1], 16, 0), np.repeat(faces.detection_probs[:1], 16), faces.keypoints[:1] + shifts
    )
    records = {}
    for size in (1, 3, 16):
        part = crowd.take(np.arange(size))
        tools = model.tools(model.settings, lambda pixels, source, part=part: part)
        records[size] = [json.dumps(face.to_dict()) for face in _answer(pixels, tools, model).faces]
    return [records[size][0] == records[1][0] for size in (3, 16)] + [records[16][i] == records[3][i] for i in range(3)]


def _answer(pixels: UInt8, tools: Any, model: Model) -> Report:
    from lineament.pipeline.analyze import analyze

    return analyze(pixels, tools, model.settings, source_name="crowd", channels="RGB")


def _streamed(model: Model, photos: Sequence[UInt8]) -> list[bool]:
    """Return whether photos' records are the same one by one and in streams of 3 and 16."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in range(16):
            paths.append(Path(folder) / f"{number:02}.png")
            Image.fromarray(photos[number % len(photos)]).save(paths[-1], compress_level=1)
        alone = [json.dumps(model.analyze(path, profile="all").to_dict()) for path in paths]
        same = []
        for size, workers in ((3, 1), (3, 4), (16, 1), (16, 4)):
            reports = model.stream(paths[:size], workers=workers, profile="all")
            same += [json.dumps(report.to_dict()) == before for report, before in zip(reports, alone, strict=False)]
    return same


def photos_of(data: Path, limit: int) -> Iterator[UInt8]:
    """Yield the bundled portrait and the first `limit` wild photos where the data folder is there."""
    yield np.asarray(portrait(), np.uint8)
    folder = data / "wild" / "photos"
    if folder.is_dir():
        yield from (load_image(path).pixels for path in sorted(folder.iterdir())[:limit])


def tolerances(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the stated tolerance of each family of variants: the largest move of any in it, and of the family's worst
    99th percentile."""
    families = {
        "lossless (PNG, and any EXIF orientation in PNG)": [row for name,
        row in rows.items() if name.startswith("PNG")],
        "JPEG quality 95, any EXIF orientation": [row for name, row in rows.items() if name.startswith("JPEG q95")],
        "JPEG quality 75": [rows["JPEG q75"]], "mirrored": [rows["mirrored"]],
    }  # fmt: skip
    if "points of another detector" in rows:
        families["points of another detector"] = [rows["points of another detector"]]
    stated = {}
    for name, members in families.items():
        known = [row for row in members if row["max"] is not None]
        stated[name] = {key: max((row[key] for row in known), default=None) for key in ("p99", "max", "labels_changed")}
        stated[name]["lost"] = sum(row["lost"] for row in members)
    return stated


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    lines = sheet.about_lines("The same face another way", document)
    lines += [
        f"The largest face of {document['photos']} photos (the bundled portrait and uncropped CelebA originals), 40 "
        "probabilities each, as records",
        "show them. A move is the absolute difference of a probability. The tolerances to expect (of a family the "
        "worst variant's):", "",
    ]  # fmt: skip
    head = ("variant", "99 % of the answers move at most", "largest move", "labels changed %", "faces lost")
    lines += sheet.table(
        head, ((name, *_cells(row, ("p99", "max")), row["lost"]) for name, row in document["tolerances"].items())
    )
    lines += ["## Each variant", ""]
    head = ("variant", "faces", "median", "99 %", "largest", "labels changed %", "lost")
    rows = (
        (name, row["faces"], *_cells(row, ("median", "p99", "max")), row["lost"])
        for name, row in document["variants"].items()
    )
    lines += sheet.table(head, rows)
    lines += [
        "JPEG is written by Pillow with its usual subsampling (4:2:0); a turned JPEG is compressed anew after "
        "turning, so it is not lossless.",
        "",
    ]
    if (row := document["variants"].get("points of another detector")) is not None:
        off = (
            f"{sheet.percent(row['points_off_median'], 1)} % of the eye distance), {row['draws_per_face']} draws per "
            "face."
        )
        lines += [
            "Points of another detector: each face once more with its five points off by an actual error of our "
            "detector against clicked points",
            f"(`landmarks68/` test; median {off}",
            "The errors' mean is taken away: a detector that means other places by its points needs a template of "
            "its own.", "",
        ]  # fmt: skip
    alone = document["company"]
    verdict = "none differs" if not alone["differed"] else f"**{alone['differed']} differ**"
    return [
        *lines, "## Alone and in company", "",
        f"{alone['compared']} comparisons, to the byte, of a face's logits and records alone, among 3 and among 16 "
        "(crops in one call, faces",
        f"of one photo, photos of one stream with one and four workers): {verdict}.",
    ]  # fmt: skip


def _cells(row: dict[str, Any], keys: Sequence[str]) -> list[str]:
    return [*(_four(row[key]) for key in keys), sheet.percent(row["labels_changed"])]


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = sheet.parser(__doc__)
    sheet.add_data(options)
    options.add_argument(
        "--limit", type=int, default=60, help="wild photos; three times as many for the errors of points"
    )
    given = options.parse_args(arguments)
    model = load(given.model)
    thresholds = model.card.decision.threshold_vector(model.card.attributes)
    photos = list(photos_of(given.data, given.limit))
    rows = files(model, photos, thresholds)
    if (given.data / "landmarks68").is_dir():
        errors = point_errors(model, given.data, 3 * given.limit)
        if len(errors):
            rows["points of another detector"] = jitter(model, photos, errors, thresholds)
    document = {
        "command": sheet.command("invariance", arguments), "environment": sheet.environment(model),
        "photos": len(photos), "tolerances": tolerances(rows), "variants": rows, "company": company(model, photos),
    }  # fmt: skip
    sheet.write(given.out, "invariance", document, page(document))
    return int(document["company"]["differed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
