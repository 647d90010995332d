"""Accuracy against face size and blur: from where on answers are worth giving. Writes docs/benchmarks/face-size.md and
face-size.json.

    python benchmarks/face_size.py [--model default] [--data ../shared/data] [--limit 1200] [--out docs/benchmarks]

Official validation images (a seeded sample) are made worse and aligned again, with their points known: shrunk with an
antialiasing filter, as a camera further away would see them; defocused (Gaussian); moved (a mean along rows, or along
columns). What is measured is the loss of detail alone: the points are right, where a detector's would be worse
(`detection.md` says from which size on faces are found).

`make refit` runs this and puts the JSON's `min_eye_distance` and `min_sharpness` into the card;
`lineament calibrate --limits FILE` does for another model. The rule and its held-out evidence are
`lineament.evaluation.least_quality`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sheet

from lineament import geometry
from lineament.api import Model, load
from lineament.data.celeba import Official
from lineament.data.labelled import Source, Subset
from lineament.evaluation import least_quality
from lineament.evaluation.least_quality import Degraded, Way
from lineament.metrics.bootstrap import draw_counts, mean_interval, percentile_interval
from lineament.metrics.counts import Counts, mean_of_known

FOLDS = 5
HEAD = (
    "made worse by",
    "amount",
    "eye distance",
    "sharpness",
    "accuracy %",
    "informedness",
    "withheld %",
    "left in given %",
    "left in withheld %",
)


def box_height(width: float) -> float:
    """Return the height of the face box (forehead to chin, as our detector draws it) of an average face at a width of
    the image."""
    template, layout = (
        geometry.TEMPLATE.astype(np.float64),
        geometry.keypoints_from_boxes(np.array([[0, 0, 1, 1]]))[0].astype(np.float64),
    )
    mouth, eyes = template[3:, 1].mean(), template[:2, 1].mean()
    return float((mouth - eyes) / (layout[3:, 1].mean() - layout[:2, 1].mean())) * width / geometry.CROP_SIZE[1]


def measure(source: Source, model: Model, ways: Sequence[Way] = least_quality.WAYS) -> dict[str, Any]:
    """Return accuracy per way of making crops worse, the limits of the rule, and what they are worth on people they
    were not fitted on."""
    sample = least_quality.degrade(source, model.network, model.card.attributes, ways=ways, threads=model.threads)
    fitted = least_quality.fit_limits(sample)
    withheld, of_fold = least_quality.cross_fitted(sample, FOLDS)
    stars = [[one.eye_distance.get("*"), one.sharpness.get("*")] for one in of_fold]
    return {
        "images": len(source.table), "data": source.table.fingerprint(), **_sizes(sample, source),
        "rule": least_quality.RULE, "min_eye_distance": dict(fitted.eye_distance),
        "min_sharpness": dict(fitted.sharpness),
        "held_out": {"folds": FOLDS, "medians_of_folds": stars, **least_quality.evidence(sample, withheld)},
        "limits_of_fold": [[dict(one.eye_distance), dict(one.sharpness)] for one in of_fold],
    }  # fmt: skip


def _sizes(sample: Degraded, source: Source) -> dict[str, Any]:
    """Return accuracy at each size with intervals, and per attribute."""
    places = [place for place, way in enumerate(sample.ways) if way.kind in ("whole", "size")]
    counts, drawn = draw_counts(
        [sample.said[place] for place in places], sample.targets, sample.known, source.table.identity
    )
    majority = counts[0].majority
    widths = [int(sample.ways[place].amount) or geometry.CROP_SIZE[1] for place in places]
    distances = [float(np.median(sample.eye_distance[place])) for place in places]
    rows = [
        _size(w, d, one, many, counts[0], drawn[0])
        for w, d, one, many in zip(widths, distances, counts, drawn, strict=True)
    ]
    accuracy = np.stack([one.accuracy for one in counts])
    attributes = {
        name: {
            "majority": float(majority[a]),
            "accuracy": accuracy[:, a].tolist(),
            "informedness": _informedness(counts, a),
        }
        for a, name in enumerate(sample.attributes)
    }
    return {"majority_accuracy": float(majority.mean()), "sizes": rows, "attributes": attributes}


def _informedness(counts: list[Counts], column: int) -> list[float | None]:
    values = [float(one.recall[column] + one.specificity[column] - 1) for one in counts]
    return [None if math.isnan(value) else value for value in values]


def _size(
    width: int, distance: float, counts: Counts, drawn: Counts, whole: Counts, whole_drawn: Counts
) -> dict[str, Any]:
    mean = mean_interval(counts, drawn)
    lost = percentile_interval(
        mean_of_known(counts.accuracy) - mean_of_known(whole.accuracy),
        mean_of_known(drawn.accuracy, 1) - mean_of_known(whole_drawn.accuracy, 1),
    )
    return {
        "width": width, "eye_distance": distance, "box_height": round(box_height(width), 1),
        "mean_accuracy": float(mean.estimate), "interval": [float(mean.low), float(mean.high)],
        "change": float(lost.estimate), "change_interval": [float(lost.low), float(lost.high)],
        "balanced_accuracy": float(mean_of_known(counts.balanced_accuracy)),
        "above_majority": int((counts.accuracy > counts.majority).sum()),
    }  # fmt: skip


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    pc = sheet.percent
    lines = sheet.about_lines("Accuracy against face size and blur", document)
    lines += [
        f"{document['images']:,} official validation images (a seeded sample): stored crops, made worse and aligned "
        "again from there, their points",
        "known. Accuracy is the mean over attributes of the raw sigmoid at 0.5, with a 95 % bootstrap interval by "
        "identity; the change is paired.",
        "No JPEG compression was added: real small faces often carry it, and lose more.", "", "## Size", "",
        "The width of the shrunk image; the pixels between the eyes (`quality.eye_distance` of a record); the "
        "height of the face's box.", "",
    ]  # fmt: skip
    rows = [
        (row["width"], row["eye_distance"], row["box_height"], pc(row["mean_accuracy"]), (
            f"{pc(row['interval'][0])} to {pc(row['interval'][1])}"
        ),
         pc(row["change"]), pc(row["balanced_accuracy"]), row["above_majority"])
        for row in document["sizes"]
    ]  # fmt: skip
    rows.append(("always the more common answer", "", "", pc(document["majority_accuracy"]), "", "", "50.00", 0))
    head = (
        "width",
        "eyes apart",
        "box height",
        "mean accuracy %",
        "95 %",
        "change",
        "balanced %",
        "attributes above the majority",
    )
    return [
        *lines,
        *sheet.table(head, rows),
        *_rule(document),
        *_held_out(document["held_out"]),
        *_per_attribute(document),
    ]


def _rule(document: dict[str, Any]) -> list[str]:
    sizes, sharp = document["min_eye_distance"], document["min_sharpness"]
    return [
        "## Where answers stop being worth giving", "", f"The rule: {document['rule']}.", "",
        f"- Least pixels between the eyes: median {sizes.get('*', '-')}. Least sharpness: median "
        f"{sharp.get('*', '-')}.",
        "- Each attribute has its own (table below): glasses are seen on faces on which earrings are not.",
        '- Under either limit `--abstain` says "cannot tell", on the command line, in Python and from the server '
        'alike.', "",
    ]  # fmt: skip


def _held_out(found: dict[str, Any]) -> list[str]:
    pc, stars = sheet.percent, found["medians_of_folds"]
    sizes, sharp = ([row[part] for row in stars if row[part] is not None] for part in (0, 1))
    spread = f"{min(sizes)} to {max(sizes)} px and {min(sharp)} to {max(sharp)}" if sizes and sharp else "none"
    rows = [
        (row["kind"], row["amount"] or "", row["eye_distance"], f"{row['sharpness']:.2f}", pc(row["accuracy"]),
        f"{row['informedness']:.2f}",
         pc(row["withheld"], 1), pc(row["left_given"], 0), pc(row["left_withheld"], 0))
        for row in found["ways"]
    ]  # fmt: skip
    return [
        "## What the limits are worth on people they were not fitted on", "",
        f"{found['folds']} folds by identity; the medians of the folds lie at {spread}. Amount: pixels wide, Gaussian "
        "sigma, pixels moved. Eye",
        "distance and sharpness are medians. Left: of the informedness on whole crops, the share that is left, mean "
        "over attributes (one near",
        "0 in what is withheld was rightly withheld). Over all ways together the answers given keep "
        f"{pc(found['left_given'], 1)} %, those withheld",
        f"{pc(found['left_withheld'], 1)} %.", "",
        *sheet.table(HEAD, rows),
    ]  # fmt: skip


def _per_attribute(document: dict[str, Any]) -> list[str]:
    widths = [str(row["width"]) for row in document["sizes"]]
    lines = ["## Per attribute", "", 'Accuracy at each width, %; the limits ("-": the median\'s).', ""]
    sizes, sharp = document["min_eye_distance"], document["min_sharpness"]
    rows = [
        [name, *(sheet.percent(value, 1) for value in row["accuracy"]), sheet.percent(row["majority"], 1),
         "-" if name not in sizes else f"{sizes[name]:.1f}", "-" if name not in sharp else f"{sharp[name]:.2f}"]
        for name, row in document["attributes"].items()
    ]  # fmt: skip
    return lines + sheet.table(("attribute", *widths, "majority", "least eyes apart", "least sharpness"), rows)


def run(data: Any, model: Model, limit: int, ways: Sequence[Way] = least_quality.WAYS) -> dict[str, Any]:
    """Return the measurement on a seeded sample of the official validation images."""
    whole = Official(data / "celeba" / "official", "val")
    rows = np.sort(np.random.default_rng(0).permutation(len(whole.table))[:limit])
    return measure(Subset(whole, rows), model, ways)


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    sheet.add_data(options)
    options.add_argument("--limit", type=int, default=1200, help="images, drawn with a fixed seed")
    given = options.parse_args(arguments)
    model = load(given.model)
    document = {"command": sheet.command("face_size", arguments), "environment": sheet.environment(model)}
    document |= run(given.data, model, given.limit)
    sheet.write(given.out, "face-size", document, page(document))


if __name__ == "__main__":
    main()
