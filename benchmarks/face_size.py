"""Accuracy against face size: from how many pixels on answers are worth giving. Writes docs/benchmarks/face-size.md and face-size.json.

    python benchmarks/face_size.py [--data ../shared/data] [--limit 1500] [--out docs/benchmarks]

Official validation images (a seeded sample) are shrunk with an antialiasing filter, as a camera further away would see them, to a width of 112,
80, 56, 40, 28, 20 and 14 pixels. The keypoints shrink with the image, and `geometry.align` cuts the crop out of the small image as it does for
any small face in a photo. What is measured is the loss of detail alone: the points are right, where a detector's would be worse
(`detection.md` says from which size on faces are found).

The JSON's `min_eye_distance` can be put into a card's decision layer as it is (`Decision.min_eye_distance`); `rule` says how it was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import sheet
from PIL import Image

from lineament import geometry
from lineament.api import Model, load
from lineament.data.celeba import Official
from lineament.data.labelled import Source, Subset
from lineament.images import load_image
from lineament.metrics.bootstrap import draw_counts, mean_interval, percentile_interval
from lineament.metrics.counts import Counts, mean_of_known
from lineament.types import UInt8

WIDTHS = (178, 112, 80, 56, 40, 28, 20, 14)
SHARE, LEAST_GAIN = 0.5, 0.05
RULE = (
    f"per attribute, the eye distance (pixels) at which balanced accuracy minus 0.5 falls to {SHARE:g} of its value on whole images, "
    f"going down from the largest size, interpolated on a logarithmic scale; left out where that value is under {LEAST_GAIN:g} on whole images; "
    "'*' is the median over attributes"
)

Float = npt.NDArray[np.float64]


def eye_distance(width: float) -> float:
    """Return the pixels between the eyes in an official image shrunk to a width."""
    return float(np.linalg.norm(geometry.TEMPLATE[1] - geometry.TEMPLATE[0])) * width / geometry.CROP_SIZE[1]


def box_height(width: float) -> float:
    """Return the height of the face box (forehead to chin, as our detector draws it) of an average face at a width of the image."""
    template, layout = geometry.TEMPLATE.astype(np.float64), geometry.keypoints_from_boxes(np.array([[0, 0, 1, 1]]))[0].astype(np.float64)
    mouth, eyes = template[3:, 1].mean(), template[:2, 1].mean()
    return float((mouth - eyes) / (layout[3:, 1].mean() - layout[:2, 1].mean())) * width / geometry.CROP_SIZE[1]


def shrink(pixels: UInt8, width: int) -> tuple[UInt8, Float]:
    """Return an official image (218,178,3) at a smaller width, and its five points (5,2) there."""
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    small = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
    return small, geometry.TEMPLATE * np.array([width / pixels.shape[1], height / pixels.shape[0]])


def answers(source: Source, model: Model, names: tuple[str, ...], width: int) -> npt.NDArray[np.bool_]:
    """Return the raw sigmoid's yes at 0.5 (N,A) of every image at a width."""
    columns = [model.card.attributes.index(name) for name in names]

    def one(row: int) -> npt.NDArray[np.bool_]:
        small, points = shrink(load_image(source.read_bytes(row)).pixels, width)
        return np.asarray(model.network(geometry.align(small, points[None])).logits[0, columns] >= 0)

    with ThreadPoolExecutor(model.threads) as pool:
        return np.array(list(pool.map(one, range(len(source.table)))))


def crossing(distances: Sequence[float], gains: Sequence[float], share: float) -> float | None:
    """Return where a gain, going down from the first (largest) distance, falls to `share` of its first value; None if it never does, or is none.

    >>> crossing([40.0, 20.0, 10.0], [0.4, 0.3, 0.1], 0.5)
    14.142135623730951
    """
    if gains[0] <= 0:
        return None
    target = share * gains[0]
    for i in range(1, len(gains)):
        if gains[i] < target:
            near, far = math.log(distances[i - 1]), math.log(distances[i])
            return math.exp(near + (far - near) * (gains[i - 1] - target) / (gains[i - 1] - gains[i]))
    return None


def least_distances(distances: list[float], balanced: Float, names: tuple[str, ...]) -> dict[str, float]:
    """Return `Decision.min_eye_distance` by RULE. balanced: (sizes, A) balanced accuracy, largest size first."""
    found: dict[str, float] = {}
    for column, name in enumerate(names):
        gains = (balanced[:, column] - 0.5).tolist()
        if gains[0] >= LEAST_GAIN:
            found[name] = round(crossing(distances, gains, SHARE) or 0.0, 1)
    return ({"*": round(float(np.median(list(found.values()))), 1)} if found else {}) | found


def measure(source: Source, model: Model, widths: Sequence[int] = WIDTHS) -> dict[str, Any]:
    """Return accuracy per size, mean and per attribute; where the gain over the majority's answer halves; the rule's distances."""
    table = source.table
    names = tuple(name for name in model.card.attributes if name in table.attributes)
    columns = [table.attributes.index(name) for name in names]
    targets, known = table.targets[:, columns], table.known[:, columns]
    said = []
    for width in widths:
        said.append(answers(source, model, names, width))
        print(f"width {width}: mean accuracy {(said[-1] == targets).mean():.4f}", flush=True)
    counts, drawn = draw_counts(said, targets, known, table.identity)
    distances, majority = [eye_distance(width) for width in widths], counts[0].majority
    accuracy = np.stack([one.accuracy for one in counts])
    rows = [_size(width, one, many, counts[0], drawn[0]) for width, one, many in zip(widths, counts, drawn, strict=True)]
    mean_gain = [row["mean_accuracy"] - float(majority.mean()) for row in rows]
    halves = {name: crossing(distances, (accuracy[:, a] - majority[a]).tolist(), 0.5) for a, name in enumerate(names)
              if accuracy[0, a] > majority[a]}  # fmt: skip
    return {
        "images": len(table), "data": table.fingerprint(), "majority_accuracy": float(majority.mean()), "sizes": rows,
        "mean_gain_halves_at": crossing(distances, mean_gain, 0.5),
        "attributes": {name: _attribute(a, counts, float(majority[a]), halves.get(name), name in halves) for a, name in enumerate(names)},
        "rule": RULE, "min_eye_distance": least_distances(distances, np.stack([one.balanced_accuracy for one in counts]), names),
    }  # fmt: skip


def _size(width: int, counts: Counts, drawn: Counts, whole: Counts, whole_drawn: Counts) -> dict[str, Any]:
    mean = mean_interval(counts, drawn)
    lost = percentile_interval(
        mean_of_known(counts.accuracy) - mean_of_known(whole.accuracy), mean_of_known(drawn.accuracy, 1) - mean_of_known(whole_drawn.accuracy, 1)
    )
    return {
        "width": width, "eye_distance": round(eye_distance(width), 1), "box_height": round(box_height(width), 1),
        "mean_accuracy": float(mean.estimate), "interval": [float(mean.low), float(mean.high)],
        "change": float(lost.estimate), "change_interval": [float(lost.low), float(lost.high)],
        "balanced_accuracy": float(mean_of_known(counts.balanced_accuracy)),
        "above_majority": int((counts.accuracy > counts.majority).sum()),
    }  # fmt: skip


def _attribute(column: int, counts: list[Counts], majority: float, halves: float | None, gains: bool) -> dict[str, Any]:
    balanced = [float(one.balanced_accuracy[column]) for one in counts]
    return {
        "majority": majority, "accuracy": [float(one.accuracy[column]) for one in counts],
        "balanced_accuracy": [None if math.isnan(value) else value for value in balanced],
        "beats_majority": gains, "gain_halves_at": halves,
    }  # fmt: skip


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    pc = sheet.percent
    lines = sheet.about_lines("Accuracy against face size", document)
    lines += [
        f"{document['images']:,} official validation images (a seeded sample): stored crops, shrunk to a width and aligned again from there, their",
        "points known. A size is the width of the image; beside it the pixels between the eyes, which `quality.eye_distance` of a record shows,",
        "and the height of the face's box, forehead to chin. Mean accuracy is the raw sigmoid at 0.5 over 40 attributes, with a 95 % bootstrap",
        "interval by identity; the change is paired. No JPEG compression was added: real small faces often carry it, and lose more.", "",
    ]  # fmt: skip
    rows = [
        (row["width"], row["eye_distance"], row["box_height"], pc(row["mean_accuracy"]), f"{pc(row['interval'][0])} to {pc(row['interval'][1])}",
         pc(row["change"]), pc(row["balanced_accuracy"]), row["above_majority"])
        for row in document["sizes"]
    ]  # fmt: skip
    rows.append(("always the more common answer", "", "", pc(document["majority_accuracy"]), "", "", "50.00", 0))
    head = ("width", "eyes apart", "box height", "mean accuracy %", "95 %", "change", "balanced %", "attributes above the majority")
    return [*lines, *sheet.table(head, rows), *_worth(document), *_per_attribute(document)]


def _worth(document: dict[str, Any]) -> list[str]:
    """Return where answers stop being worth giving."""
    sizes, majority, halved = document["sizes"], document["majority_accuracy"], document["mean_gain_halves_at"]
    below = [row for row in sizes if row["mean_accuracy"] <= majority]
    gain, nothing = "The mean gain over the more common answer", "no better than always the more common one"
    if below[:1] == sizes[:1]:
        first = f"- Whole images are answered {nothing}: there is nothing to lose."
    elif halved:
        first = f"- {gain} has halved at {halved:.1f} pixels between the eyes."
    else:
        first = f"- {gain} has not halved at {sizes[-1]['eye_distance']} pixels between the eyes."
    second = f"- At {below[0]['eye_distance']} pixels ({below[0]['width']} wide) the answers are on average {nothing}." if below else ""
    rule = f"- `min_eye_distance` of the JSON: {document['rule']}. An entry of 0.0 never falls that far at the sizes measured."
    return [
        "## Where answers stop being worth giving", "", first, second or f"- At no size measured are the answers on average {nothing}.", rule, "",
    ]  # fmt: skip


def _per_attribute(document: dict[str, Any]) -> list[str]:
    sizes, least = document["sizes"], document["min_eye_distance"]
    smallest = sizes[-1]["eye_distance"]
    lines = [
        "## Per attribute", "", 'Accuracy at each width, %. "Halves at": pixels between the eyes at which the gain over the more common answer has',
        f'halved (`< {smallest}`: not at any size measured; `-`: there is no gain on whole images). "Least": the rule\'s distance.', "",
    ]  # fmt: skip
    rows = (_row(name, row, smallest, least.get(name)) for name, row in document["attributes"].items())
    return lines + sheet.table(("attribute", *(str(row["width"]) for row in sizes), "majority", "halves at", "least"), rows)


def _row(name: str, row: dict[str, Any], smallest: float, least: float | None) -> list[str]:
    halves = "-" if not row["beats_majority"] else f"< {smallest}" if row["gain_halves_at"] is None else f"{row['gain_halves_at']:.1f}"
    accuracy = [sheet.percent(value, 1) for value in row["accuracy"]]
    return [name, *accuracy, sheet.percent(row["majority"], 1), halves, "-" if least is None else f"{least:.1f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    sheet.add_data(options)
    options.add_argument("--limit", type=int, default=1500, help="images, drawn with a fixed seed")
    options.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="largest first")
    given = options.parse_args(arguments)
    model = load(given.model)
    whole = Official(given.data / "celeba" / "official", "val")
    rows = np.sort(np.random.default_rng(0).permutation(len(whole.table))[: given.limit])
    document = {"command": sheet.command("face_size", arguments), "environment": sheet.environment(model)}
    document |= measure(Subset(whole, rows), model, [int(width) for width in given.widths.split(",")])
    sheet.write(given.out, "face-size", document, page(document))


if __name__ == "__main__":
    main()
