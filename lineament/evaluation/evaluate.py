"""Evaluation of a network on labelled images: every image that has both labels and a file.

bytes -> pixels -> crop (stored, or found and aligned) -> logits -> raw and calibrated probs -> Predictions -> scorecard
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from lineament import geometry
from lineament.data.labelled import SPLITS as _NAMED
from lineament.data.labelled import LabelledFiles, Source, Subset, read_or_error, unknown_split
from lineament.data.reserved import reserved
from lineament.decision.layer import Decision, sigmoid
from lineament.errors import DataError, ImageError
from lineament.evaluation.predictions import Predictions
from lineament.images import load_image
from lineament.pipeline.quality import eye_distances, sharpness
from lineament.types import Crops, Faces, Float64, ModelOutput, UInt8

LAYOUTS = ("official", "parquet", "lfwa", "table", "predictions")
SPLITS = (*_NAMED, "all", "reserved")
_AT_ONCE = 256


class Answering(Protocol):
    """What evaluation needs of a network: crops in, logits out."""

    def __call__(self, crops: Crops) -> ModelOutput: ...


@dataclass(frozen=True)
class Outcome:
    """Predictions of the images that could be read; the names of those that could not; how many stored crops had
    another size."""

    predictions: Predictions
    unreadable: tuple[str, ...]
    resized: int


def open_source(
    path: str,
    layout: str,
    split: str,
    *,
    attributes: tuple[str, ...] | None = None,
    labels: bool = True,
    images: str | None = None,
) -> Source:
    """Return the labelled images of a data set in one of `LAYOUTS` (not predictions).

    Args: split: one of `SPLITS`; `reserved` are the people of train whom no training sees (data/reserved.py).
        attributes: names to look for in a table or in shards, by default CelebA's; labels: refuse a table without
        attribute columns; False takes it, for predictions only. images: the folder of the images, where it is not
        beside the labels.
    Raises: DataError naming what is wrong.
    """
    if split not in SPLITS:
        raise unknown_split(split, SPLITS)
    if split == "reserved":
        part = "train" if layout == "official" else "all"
        whole = open_source(path, layout, part, attributes=attributes, labels=labels, images=images)
        rows = np.flatnonzero(reserved(whole.table.identity, len(whole.table)))
        if not len(rows):
            raise DataError(
                f"{path} shows none of the people reserved from training (data/reserved.py), or does not say who is "
                "who."
            )
        return Subset(whole, rows)
    if layout == "official":
        from lineament.data.celeba import Official

        return Official(path, split, images)
    if layout == "parquet":
        from lineament.data.hub_parquet import HubParquet

        return HubParquet(path, attributes, split, partly=True, images=images)
    if layout == "lfwa":
        from lineament.data.lfwa import LFWA

        return LFWA(path, split, images)
    if layout == "table":
        from lineament.data.table import LabelTable

        return LabelTable(path, images, split=split, attributes=attributes, labels=labels, partly=True)
    raise DataError(f"Unknown layout {layout!r}. Use one of: {', '.join(LAYOUTS)}.")


def stored_crop(pixels: UInt8) -> tuple[Crops, bool]:
    """Return a picture that is a crop already as Crops, and whether it had to be resized to 178 x 218."""
    height, width = geometry.CROP_SIZE
    resized = pixels.shape[:2] != (height, width)
    if resized:
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    # for a resized picture this still says where crop points lie in it
    scale = np.array([[width / pixels.shape[1], 0, 0], [0, height / pixels.shape[0], 0]], np.float32)
    return Crops(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None], scale[None]), resized


@dataclass(frozen=True)
class _Answer:
    """One image: logits (A,) or None where no face was found, whether the crop was resized, and the face's quality."""

    logits: Any
    resized: bool
    eye_distance: float = float("nan")
    sharpness: float = float("nan")


def _one(
    encoded: bytes | ImageError, network: Answering, find: Callable[[UInt8], Faces] | None
) -> _Answer | ImageError:
    """Return the answer on one image, or the error of an image that gives no pixels."""
    if isinstance(encoded, ImageError):
        return encoded
    try:
        pixels = load_image(encoded).pixels
    except ImageError as error:
        return error
    if find is None:
        crops, resized = stored_crop(pixels)
        points = geometry.TEMPLATE[None] / crops.crop_from_image[0, 0, 0]
    else:
        faces, resized = find(pixels).largest_first(), False
        if len(faces) == 0:
            return _Answer(None, False)
        points = faces.keypoints[:1]
        crops = geometry.align(pixels, points)
    return _Answer(network(crops).logits[0], resized, float(eye_distances(points)[0]), sharpness(crops.pixels[0]))


def _answers(
    source: Source, network: Answering, find: Callable[[UInt8], Faces] | None, threads: int
) -> Iterator[_Answer | ImageError]:
    """Yield one answer per row, in order. Bytes are read by one thread, since archives and shards are read in
    sequence."""
    with ThreadPoolExecutor(threads, "evaluate") as pool:
        for start in range(0, len(source.table), _AT_ONCE):
            encoded = [read_or_error(source, row) for row in range(start, min(start + _AT_ONCE, len(source.table)))]
            yield from pool.map(lambda one: _one(one, network, find), encoded)


def predict(
    source: Source,
    network: Answering,
    attributes: tuple[str, ...],
    decision: Decision | None = None,
    *,
    find: Callable[[UInt8], Faces] | None = None,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run a network on every labelled image.

    Args: attributes: the network's names; decision: its card's layer (probs are stored only if it calibrates); find: a
        detector, whose largest face is taken, or None for stored crops; progress: called after each image.
    Raises: DataError if no image could be read.
    """
    answers: dict[int, _Answer] = {}
    unreadable = []
    for row, answer in enumerate(_answers(source, network, find, threads)):
        progress()
        if isinstance(answer, ImageError):
            unreadable.append(source.table.files[row])
        else:
            answers[row] = answer
    if not answers:
        raise DataError(
            f"No labelled image to score: {source.table.missing} are listed without a file, {len(unreadable)} cannot "
            "be read."
        )
    table, nothing = source.table.take(np.array(list(answers), np.intp)), np.full(len(attributes), np.nan)
    logits = np.stack(
        [nothing if one.logits is None else np.asarray(one.logits, np.float64) for one in answers.values()]
    )
    # as records show them, so that a rule on quality says the same here and there
    sizes, sharp = np.array([(one.eye_distance, one.sharpness) for one in answers.values()]).T
    found = to_predictions(table, logits, attributes, decision, eye_distance=np.round(sizes, 1))
    found = replace(found, sharpness=np.round(sharp, 2))
    return Outcome(found, tuple(unreadable), sum(one.resized for one in answers.values()))


def to_predictions(
    table: LabelledFiles,
    logits: Any,
    attributes: tuple[str, ...],
    decision: Decision | None = None,
    *,
    eye_distance: Float64 | None = None,
    **meta: Any,
) -> Predictions:
    """Return predictions of logits (N,A), NaN rows where no face was found; attributes the table lacks have no known
    target."""
    detected = ~np.isnan(logits).any(1)
    safe = np.where(detected[:, None], logits, 0.0)
    hide = np.where(detected[:, None], 1.0, np.nan)
    targets, known = np.zeros(logits.shape, np.int8), np.zeros(logits.shape, bool)
    for column, name in enumerate(attributes):
        if name in table.attributes:
            at = table.attributes.index(name)
            targets[:, column], known[:, column] = table.targets[:, at], table.known[:, at]
    probs = None
    if decision is not None and (decision.calibration or decision.small or decision.log_odds_shift):
        probs = decision.probs(safe, attributes, eye_distance=eye_distance) * hide
    return Predictions(
        table.files, attributes, sigmoid(safe) * hide, probs,
        targets, known, detected, identity=table.identity, split=table.split, eye_distance=eye_distance, meta=meta,
    )  # fmt: skip
