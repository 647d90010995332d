"""Ordinary photos end to end: decode, detect, align, answer. Writes docs/benchmarks/wild.md and wild.json.

    python benchmarks/wild.py [--data ../shared/data] [--limit N] [--out docs/benchmarks]

100 uncropped CelebA originals with labels of one person each. Every photo goes through `Model.analyze`, the sentence
the command line runs, with no help. The labels do not say whose they are where a photo shows several people, so
accuracy is given more than once: of the largest face; of the labelled person's face in the photos whose official
aligned image `train-parquet` holds (there the pixels say which face it is), the largest face elsewhere; and, as a bound
that nobody could reach without the labels, of the face that agrees best with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sheet

from lineament import geometry
from lineament.api import Model, load
from lineament.data.labelled import Subset
from lineament.data.table import LabelTable
from lineament.evaluation.evaluate import stored_crop
from lineament.metrics.bootstrap import percentile_interval
from lineament.types import PROB_DECIMALS, Bool, Report, UInt8

DRAWS = 2000
NAMES = {
    "largest": "the largest face",
    "matched": "the labelled person's where known, else the largest",
    "best": "the one agreeing best with the labels (a bound, not a result)",
}


def said(report: Report, names: tuple[str, ...]) -> Bool:
    """Return the labels (yes or no) of every face (F,A)."""
    rows = [[face.attributes[name].label == "yes" for name in names] for face in report.faces]
    return np.array(rows, bool).reshape(len(report.faces), len(names))


def matching_face(report: Report, official: UInt8) -> int:
    """Return which face of a photo an official aligned image shows: the one whose own crop differs least from it."""
    target = official.transpose(2, 0, 1)[None].astype(np.float64)
    return int(np.abs(report.crops() - target).mean((1, 2, 3)).argmin())


def interval(right: npt.NDArray[np.float64]) -> list[float]:
    """Return the 95 % bootstrap interval over photos of the mean of right (N,A)."""
    per_photo, rng = right.mean(1), np.random.default_rng(0)
    draws = np.array([per_photo[rng.integers(0, len(per_photo), len(per_photo))].mean() for _ in range(DRAWS)])
    found = percentile_interval(per_photo.mean(), draws)
    return [float(found.low), float(found.high)]


def measure(source: Subset, model: Model, officials: Mapping[str, UInt8]) -> dict[str, Any]:
    """Return how many photos show a face to us, and accuracy over all of them in each reading of the labels."""
    names, table, decision = model.card.attributes, source.table, model.card.decision
    targets = table.targets[:, [table.attributes.index(name) for name in names]].astype(bool)
    faces, known_face, stored = [], {}, {}
    for row, file in enumerate(table.files):
        report = model.analyze(source.read_bytes(row), profile="all")
        faces.append(said(report, names))
        official = officials.get(file.split(".")[0])
        if official is not None:
            logits = model.network(stored_crop(official)[0]).logits
            stored[row] = decision.labels(np.round(decision.probs(logits, names), PROB_DECIMALS), names)[0] == "yes"
            known_face[row] = matching_face(report, official) if report.faces else None
    chosen = {
        "largest": [0 if len(f) else None for f in faces],
        "matched": [known_face.get(row, 0) if len(f) else None for row, f in enumerate(faces)],
        "best": [int((f == targets[row]).sum(1).argmax()) if len(f) else None for row, f in enumerate(faces)],
    }
    right = {way: _right(faces, picks, targets) for way, picks in chosen.items()}
    counts = np.array([len(f) for f in faces])
    matched = sorted(known_face)
    return {
        "photos": len(faces), "missing": table.missing,
        "found": int((counts > 0).sum()), "several": int((counts > 1).sum()), "faces": int(counts.sum()),
        "not_found": [table.files[i] for i in np.flatnonzero(counts == 0)],
        "majority_accuracy": float(np.maximum(targets.mean(0), 1 - targets.mean(0)).mean()),
        "accuracy": {way: {"mean": float(row.mean()), "interval": interval(row)} for way, row in right.items()},
        "one_face": _mean(right["largest"][counts == 1]), "several_faces": _mean(right["largest"][counts > 1]),
        "pairs": {
            "photos": len(matched), "found": sum(known_face[row] is not None for row in matched),
            "largest_is_the_labelled": sum(known_face[row] == 0 for row in matched),
            "accuracy_from_photo": _mean(right["matched"][matched]),
            "accuracy_from_official_crop": _mean(np.array([stored[row] == targets[row] for row in matched])),
            "answers_that_differ": _mean(np.array(
                [stored[row] != faces[row][known_face[row]] for row in matched if known_face[row] is not None]
            )),
        },
        "attributes": {name: {"right": float(right["largest"][:, a].mean()),
        "positives": int(targets[:, a].sum())} for a, name in enumerate(names)},
    }  # fmt: skip


def _right(faces: Sequence[Bool], picks: Sequence[int | None], targets: Bool) -> npt.NDArray[np.float64]:
    """Return 1 where an answer is right (N,A); a photo without a face is wrong everywhere."""
    rows = [
        np.zeros(targets.shape[1]) if pick is None else faces[row][pick] == targets[row]
        for row, pick in enumerate(picks)
    ]
    return np.array(rows, np.float64)


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    pairs, lines, pc = document["pairs"], sheet.about_lines("Ordinary photos, end to end", document), sheet.percent
    lines += [
        f"{document['photos']} uncropped CelebA originals, longest side 768; the default weights were trained without "
        "them. A face was found in",
        f"**{document['found']} of {document['photos']}**, several in {document['several']}, {document['faces']} faces "
        "in all."
        + (f" None in: {', '.join(document['not_found'])}." if document["not_found"] else ""),
        "", (
            "Accuracy is the mean over all photos and 40 attributes of the labels that records show; a photo without a "
            "face counts as wrong in"
        ),
        "all 40. The interval is a bootstrap over photos: with so few of them it is wide.", "",
    ]  # fmt: skip
    rows = [
        (NAMES[way], pc(row["mean"]), f"{pc(row['interval'][0])} to {pc(row['interval'][1])}")
        for way, row in document["accuracy"].items()
    ]
    rows.append(("always the more common answer of these photos", pc(document["majority_accuracy"]), ""))
    lines += sheet.table(("face judged", "accuracy %", "95 %"), rows)
    lines += [
        f"Photos with one face found: {pc(document['one_face'])} %; with several, the largest judged: "
        f"{pc(document['several_faces'])} %.",
        "Where several people are in the photo the label may be of another one: no answer can be right about a "
        "person it does not look at.", "",
        "## Photos whose official aligned image is known", "",
        f"{pairs['photos']} of the photos; a face was found in {pairs['found']}, and the largest face is the labelled "
        "one in",
        f"{pairs['largest_is_the_labelled']}.", "",
        f"- Accuracy from the photo (our detection and alignment): {pc(pairs['accuracy_from_photo'])} %; from CelebA's "
        "own crop of it:"
        f" {pc(pairs['accuracy_from_official_crop'])} %.",
        f"- Answers that differ between the two: {pc(pairs['answers_that_differ'])} %.",
    ]  # fmt: skip
    return lines + _alignment_lines(document.get("alignment"))


def _alignment_lines(alignment: dict[str, Any] | None) -> list[str]:
    if alignment is None:
        return []
    head = (
        "- Distance between our alignment and the official one, mean of the five points, in pixels of the 178x218 crop "
        "(eyes are 38 apart):"
    )
    named = {
        "detected_on_both": "our detector on both images",
        "registered": "our crop registered on the official image, pixel by pixel",
    }
    rows = [
        (named[key], f"{row['median_px']:.2f}", f"{row['max_px']:.2f}", sheet.percent(row["median_of_eye_distance"], 1))
        for key, row in alignment["summary"].items()
    ]
    return [head, "", *sheet.table(("measured by", "median", "largest", "median, % of the eye distance"), rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    sheet.add_data(options)
    options.add_argument("--limit", type=int, help="only the first N photos of the list, and no alignment")
    given = options.parse_args(arguments)
    model = load(given.model)
    whole = LabelTable(given.data / "wild" / "labels.csv", given.data / "wild" / "photos")
    source = Subset(whole, np.arange(len(whole.table))[: given.limit])
    officials = officials_of(given)
    document = {"command": sheet.command("wild", arguments), "environment": sheet.environment(model)} | measure(
        source, model, officials
    )
    if officials and given.limit is None:
        from detection import alignment

        document["alignment"] = alignment(given.data)
    sheet.write(given.out, "wild", document, page(document))


def officials_of(given: Any) -> dict[str, UInt8]:
    """Return the official aligned images (218,178,3) that `train-parquet` holds of these photos, by the stem of their
    name."""
    if not (given.data / "celeba" / "train-parquet").is_dir():
        return {}
    from face_truth import read_pairs

    found = {name.split(".")[0]: official for name, _, official in read_pairs(given.data)}
    assert all(official.shape[:2] == geometry.CROP_SIZE for official in found.values())
    return found


if __name__ == "__main__":
    main()
