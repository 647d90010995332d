"""Quality limits: how small and how blurred a face may be and still be answered, measured on faces made worse on
purpose.

    whole crops -> shrunk, defocused, moved -> answers of the network -> informedness per step -> least eye distance,
        least sharpness

The rule, one for both measures and for each attribute: an answer is worth giving while at least `SHARE` of what it
tells on whole crops is left. What an answer tells is its informedness, TPR + TNR - 1: 1 for an oracle, 0 for a coin and
for always the same answer, whatever the class rates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from lineament import geometry
from lineament.data.labelled import Source
from lineament.decision.layer import Decision
from lineament.errors import UsageError
from lineament.evaluation.folds import fold_of_names, names_of_people
from lineament.evaluation.scorecard import number
from lineament.images import load_image
from lineament.metrics.calibration import increasing
from lineament.metrics.counts import count, mean_of_known
from lineament.pipeline.quality import eye_distances, sharpness
from lineament.types import Bool, Crops, Float64, ModelOutput, UInt8

SHARE = 0.5
LEAST_INFORMEDNESS = 0.1
MIN_IMAGES = 50
"""Fewest whole crops of each class for an attribute's own limits: under that it takes the median attribute's ("*")."""

EXEMPT = {"Blurry"}
"""Its answer is about the degradation itself: blur makes it true, so nothing can be withheld for it."""

WIDTHS = (112, 80, 56, 40, 28, 20, 14)
DEFOCUS = (1.0, 1.5, 2.0, 3.0, 4.0)
MOTION = (5, 9, 15, 25)
_STEPS = 16
RULE = (
    f"per attribute, the value under which less than {SHARE:g} of the informedness (TPR + TNR - 1 at 0.5 of the raw "
    "sigmoid) on whole crops is "
    "left, on an increasing (isotonic) fit; eye distance on shrunk crops, sharpness on defocused and moved ones; '*', "
    "the median, for attributes "
    f"with fewer than {MIN_IMAGES} images of a class or under {LEAST_INFORMEDNESS:g} on whole crops; never for "
    f"{', '.join(sorted(EXEMPT))}"
)


@dataclass(frozen=True)
class Way:
    """One way to make a crop worse: kind "whole", "size" (pixels wide), "defocus" (Gaussian sigma) or "motion" (pixels
    moved)."""

    kind: str
    amount: float = 0.0

    def apply(self, pixels: UInt8, across: bool = True) -> tuple[UInt8, Float64]:
        """Return a picture (h,w,3) and its five points (5,2) there, from a crop (218,178,3). across: the direction of
        motion."""
        points = geometry.TEMPLATE.astype(np.float64)
        if self.kind == "size":
            height, width = max(1, round(pixels.shape[0] * self.amount / pixels.shape[1])), int(self.amount)
            small = Image.fromarray(pixels).resize(
                (width, height), Image.Resampling.LANCZOS
            )  # antialiased, as cameras are
            return np.asarray(small), points * np.array([width / pixels.shape[1], height / pixels.shape[0]])
        if self.kind == "defocus":
            return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(self.amount))), points
        if self.kind == "motion":
            return _moved(pixels, int(self.amount), axis=1 if across else 0), points
        return pixels, points


def _moved(pixels: UInt8, length: int, axis: int) -> UInt8:
    """Return the mean over `length` neighbouring pixels along an axis, edges repeated."""
    around = [(length // 2, length - 1 - length // 2) if place == axis else (0, 0) for place in range(3)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(pixels, around, mode="edge"), length, axis=axis)
    return np.asarray(np.rint(windows.mean(-1)), np.uint8)


WAYS = (
    Way("whole"),
    *(Way("size", width) for width in WIDTHS),
    *(Way("defocus", sigma) for sigma in DEFOCUS),
    *(Way("motion", length) for length in MOTION),
)


@dataclass(frozen=True)
class Degraded:
    """Answers on N crops made worse in W ways: said (W,N,A), eye_distance and sharpness (W,N) as records show them, and
    the labels."""

    ways: tuple[Way, ...]
    attributes: tuple[str, ...]
    said: Bool
    eye_distance: Float64
    sharpness: Float64
    targets: npt.NDArray[np.int8]
    known: Bool
    people: tuple[str, ...]

    def take(self, images: Bool) -> Degraded:
        """Return the same of some images (N,)."""
        kept = {name: getattr(self, name)[:, images] for name in ("said", "eye_distance", "sharpness")}
        people = tuple(name for name, ok in zip(self.people, images, strict=True) if ok)
        return replace(self, **kept, targets=self.targets[images], known=self.known[images], people=people)


def degrade(
    source: Source,
    network: Callable[[Crops], ModelOutput],
    attributes: tuple[str, ...],
    *,
    ways: Sequence[Way] = WAYS,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Degraded:
    """Run a network on stored crops made worse in every way. The first way must be "whole"."""
    table = source.table
    kept = tuple(name for name in attributes if name in table.attributes)
    at, columns = [attributes.index(name) for name in kept], [table.attributes.index(name) for name in kept]

    def one(row: int) -> list[tuple[Bool, float, float]]:
        whole = load_image(source.read_bytes(row)).pixels
        return [_answer(*way.apply(whole, across=row % 2 == 0), network, at) for way in ways]

    answers = []
    with ThreadPoolExecutor(threads, "degrade") as pool:
        for answer in pool.map(one, range(len(table))):
            answers.append(answer)
            progress()
    said = np.stack([[cell[0] for cell in row] for row in answers], 1)
    sizes, sharp = (np.array([[cell[part] for cell in row] for row in answers]).T for part in (1, 2))
    people = names_of_people(table.files, table.identity)
    return Degraded(
        tuple(ways),
        kept,
        said,
        np.round(sizes, 1),
        np.round(sharp, 2),
        table.targets[:, columns],
        table.known[:, columns],
        people,
    )


def _answer(
    pixels: UInt8, points: Float64, network: Callable[[Crops], ModelOutput], at: list[int]
) -> tuple[Bool, float, float]:
    """Return the raw sigmoid's yes at 0.5 (A,), the eye distance and the sharpness of one face, as the pipeline
    would."""
    crops = geometry.align(pixels, points[None])
    return (
        np.asarray(network(crops).logits[0, at] >= 0),
        float(eye_distances(points[None])[0]),
        sharpness(crops.pixels[0]),
    )


@dataclass(frozen=True)
class QualityLimits:
    """`Decision.min_eye_distance` and `Decision.min_sharpness`."""

    eye_distance: Mapping[str, float]
    sharpness: Mapping[str, float]

    def too_poor(self, sample: Degraded) -> Bool:
        """Return which answers (W,N,A) are withheld."""
        layer = Decision(min_eye_distance=self.eye_distance, min_sharpness=self.sharpness)
        sizes, sharp = sample.eye_distance.ravel(), sample.sharpness.ravel()
        return layer.too_poor(sizes.size, sample.attributes, sizes, sharp).reshape(sample.said.shape)


def fit_limits(sample: Degraded) -> QualityLimits:
    """Return the limits by `RULE`. Raises: nothing; without a way of a kind its limits are empty."""
    kinds = np.array([way.kind for way in sample.ways])
    shrunk, blurred = np.isin(kinds, ("whole", "size")), np.isin(kinds, ("whole", "defocus", "motion"))
    return QualityLimits(_least(sample, shrunk, sample.eye_distance, 1), _least(sample, blurred, sample.sharpness, 2))


def _least(sample: Degraded, ways: Bool, measure: Float64, decimals: int) -> dict[str, float]:
    """Return attribute -> least value of a measure (W,N), and "*"; by the ways given."""
    if ways.sum() < 2:
        return {}
    step = _steps(measure[ways])
    middles = np.array([measure[ways][step == number].mean() for number in range(step.max() + 1)])
    found = {}
    for a, name in enumerate(sample.attributes):
        truth, use = sample.targets[:, a].astype(bool), sample.known[:, a]
        whole = informedness(sample.said[0, :, a], truth, use)
        if (
            name in EXEMPT
            or min((truth & use).sum(), (~truth & use).sum()) < MIN_IMAGES
            or not whole >= LEAST_INFORMEDNESS
        ):
            continue
        said, truths, uses = (
            sample.said[ways, :, a],
            np.broadcast_to(truth, measure[ways].shape),
            np.broadcast_to(use, measure[ways].shape),
        )
        left = np.array(
            [
                informedness(said[step == number], truths[step == number], uses[step == number])
                for number in range(len(middles))
            ]
        )
        weights = np.array([(truths & uses)[step == number].sum() for number in range(len(middles))], np.float64)
        found[name] = round(crossing(middles, left, weights, SHARE * whole), decimals)
    if not found:
        return {}
    return {
        "*": round(float(np.median(list(found.values()))), decimals),
        **found,
        **dict.fromkeys(EXEMPT & set(sample.attributes), 0.0),
    }


def _steps(measure: Float64) -> npt.NDArray[np.intp]:
    """Return the step of each value, smallest first: each value its own where there are few, else about `_STEPS` of
    equal numbers."""
    edges = (
        np.unique(measure)
        if len(np.unique(measure)) <= _STEPS
        else np.unique(np.quantile(measure, np.arange(_STEPS) / _STEPS, method="lower"))
    )
    return np.asarray(np.searchsorted(edges, measure, side="right") - 1)


def informedness(said: Bool, truth: Bool, use: Bool) -> float:
    """Return TPR + TNR - 1; NaN where a class is absent.

    >>> informedness(np.array([True, False, False]), np.array([True, True, False]), np.ones(3, bool))
    0.5
    """
    counts = count(said.reshape(-1, 1), truth.reshape(-1, 1), use.reshape(-1, 1))
    return float(counts.recall[0] + counts.specificity[0] - 1)


def crossing(measure: Float64, left: Float64, weights: Float64, wanted: float) -> float:
    """Return where an increasing fit of `left` over `measure` (both (S,), measure ascending) reaches `wanted`; 0 if it
    is never under it.

    Between two steps on a logarithmic scale of the measure; the largest step where even that has less than wanted.

    >>> round(crossing(np.array([10.0, 20.0, 40.0]), np.array([0.1, 0.3, 0.4]), np.ones(3), 0.2), 1)
    14.1
    """
    seen = ~np.isnan(left)
    place, height = np.log(np.maximum(measure[seen], 1e-3)), increasing(left[seen], weights[seen])
    under = np.flatnonzero(height < wanted)
    if len(under) == 0:
        return 0.0
    last = int(under[-1])
    if last == len(height) - 1:
        return float(np.exp(place[-1]))
    share = (wanted - height[last]) / (height[last + 1] - height[last])
    return float(np.exp(place[last] + share * (place[last + 1] - place[last])))


def read_limits(path: Path) -> dict[str, Any]:
    """Return what `Plan` takes from a measurement's JSON: both limits, and those of each fold. Raises: UsageError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {key: document[key] for key in ("min_eye_distance", "min_sharpness", "limits_of_fold")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no limits ({error!r}). `python benchmarks/face_size.py` writes such a JSON."
        ) from error


def cross_fitted(sample: Degraded, folds: int) -> tuple[Bool, list[QualityLimits]]:
    """Return which answers (W,N,A) limits fitted on other people withhold, and the limits that judge each fold."""
    fold = fold_of_names(sample.people, folds)
    withheld, limits = np.zeros(sample.said.shape, bool), []
    for part in range(folds):
        limits.append(fit_limits(sample.take(fold != part)))
        withheld[:, fold == part] = limits[part].too_poor(sample.take(fold == part))
    return withheld, limits


def evidence(sample: Degraded, withheld: Bool) -> dict[str, Any]:
    """Return, per way and over all of them, how much is told, withheld, and left in what is given and in what is
    withheld, as JSON.

    Means over attributes, without `EXEMPT`. `left_given`: of the informedness on whole crops, the share that the
    answers given still have.
    """
    judged = np.array([name not in EXEMPT for name in sample.attributes])
    said, poor, targets, known = (
        sample.said[..., judged],
        withheld[..., judged],
        sample.targets[:, judged],
        sample.known[:, judged],
    )
    base = _told(said[:1], targets, known)
    rows = []
    for place, way in enumerate(sample.ways):
        rows.append({
            "kind": way.kind, "amount": way.amount, "eye_distance": number(np.median(sample.eye_distance[place])),
            "sharpness": number(np.median(sample.sharpness[place])),
            "accuracy": number(mean_of_known(count(said[place], targets, known).accuracy)),
            **_left(said[place : place + 1], targets, known, poor[place : place + 1], base),
        })  # fmt: skip
    return {"ways": rows, **_left(said, targets, known, poor, base)}


def _told(said: Bool, targets: npt.NDArray[np.int8], known: Bool) -> Float64:
    """Return the informedness (A,) of answers (W,N,A) on W times the same images; known: (N,A) or (W,N,A)."""
    flat = [np.broadcast_to(part, said.shape).reshape(-1, said.shape[-1]) for part in (said, targets, known)]
    counts = count(*flat)
    return counts.recall + counts.specificity - 1


def _left(said: Bool, targets: npt.NDArray[np.int8], known: Bool, poor: Bool, base: Float64) -> dict[str, float | None]:
    scale = np.where(base >= LEAST_INFORMEDNESS, base, np.nan)
    parts = {"given": known & ~poor, "withheld": known & poor}
    left = {f"left_{name}": number(mean_of_known(_told(said, targets, part) / scale)) for name, part in parts.items()}
    return {"informedness": number(mean_of_known(_told(said, targets, known))), "withheld": number(poor.mean()), **left}
