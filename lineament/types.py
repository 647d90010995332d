"""The data that flows through the sentence: small, frozen, NumPy only, lengths agree.

    image -> faces -> crops -> logits -> probs -> labels -> report

Convention for every coordinate in this package: continuous pixels of the *upright* image, x right, y down, the top-left
corner of the top-left pixel is (0, 0) and its centre is (0.5, 0.5). Left and right are the subject's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineament.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

SCHEMA_VERSION = 1
PROB_DECIMALS = 4
PIXEL_DECIMALS = 2
SMALLEST_FACE = 20
"""Pixels on the shorter side of a box from which faces are looked for wherever a photo is searched at its own scale."""
KEYPOINT_NAMES = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""The five keypoints, in order; right and left are the subject's."""


@dataclass(frozen=True)
class DecodedImage:
    """An upright photo. `pixels` (H,W,3) uint8 RGB; `note` says what was done to get it (first frame, alpha over white
    ...) or None.

    full_size: the photo's upright (width, height) where it was decoded smaller on request (`max_side`), else None.
    """

    pixels: UInt8
    note: str | None = None
    full_size: tuple[int, int] | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def shrink(self) -> int:
        """How many pixels of the whole photo one of `pixels` stands for, in each direction: 1, 2, 4 or 8."""
        return 1 if self.full_size is None else shrink_of(self.full_size, self.pixels)


def shrink_of(full_size: tuple[int, int], pixels: UInt8) -> int:
    """Return how many times smaller `pixels` (H,W,3) were decoded than the photo of `full_size` (width, height): sides
    are rounded up."""
    return max(1, round(max(full_size) / int(max(pixels.shape[:2]))))


@dataclass(frozen=True)
class Faces:
    """Detected faces, largest box first (ties by x then y).

    boxes_xyxy (N,4); detection_probs (N,), NaN where no detector ran; keypoints (N,5,2): subject's right eye, left eye,
    nose, right mouth corner, left mouth corner. searched_from: least side, in pixels of the photo, of the boxes that
    were looked for; None where nobody says.
    """

    boxes_xyxy: Float32
    detection_probs: Float32
    keypoints: Float32
    searched_from: int | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (n, 4) or self.detection_probs.shape != (n,) or self.keypoints.shape != (n, 5, 2):
            raise UsageError(
                f"Faces need boxes (N,4), probs (N,), keypoints (N,5,2); got {self.boxes_xyxy.shape}, "
                f"{self.detection_probs.shape}, {self.keypoints.shape}."
            )

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @staticmethod
    def empty() -> Faces:
        """Return no faces: what a photo without faces gives in every layer."""
        return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

    def take(self, index: npt.NDArray[np.intp]) -> Faces:
        """Return the faces at `index` (any NumPy index), in that order."""
        return Faces(self.boxes_xyxy[index], self.detection_probs[index], self.keypoints[index], self.searched_from)

    def largest_first(self) -> Faces:
        """Return the faces sorted by box area descending, ties by x1 then y1."""
        x1, y1, x2, y2 = self.boxes_xyxy.T
        return self.take(np.lexsort((y1, x1, -(x2 - x1) * (y2 - y1))))


@dataclass(frozen=True)
class Crops:
    """Aligned faces in CelebA's layout. pixels (N,3,218,178) uint8 RGB; crop_from_image (N,2,3) maps image points to
    crop points."""

    pixels: UInt8
    crop_from_image: Float32

    def __post_init__(self) -> None:
        n = len(self.pixels)
        if (
            self.pixels.ndim != 4
            or self.pixels.shape[1] != 3
            or self.pixels.dtype != np.uint8
            or self.crop_from_image.shape != (n, 2, 3)
        ):
            raise UsageError(
                f"Crops need uint8 pixels (N,3,H,W) and crop_from_image (N,2,3); got {self.pixels.dtype} "
                f"{self.pixels.shape}, "
                f"{self.crop_from_image.shape}."
            )

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class ModelOutput:
    """What a network says of N crops: logits (N,A), one column per name in `attributes`; optional maps (N,M,h,w)
    that explain it: class activations per attribute, regions or attention per group, as the card says under "maps";
    optional features (N,D), what the network pooled of each face: never written anywhere, since they could tell who a
    person is."""

    logits: Float32
    attributes: tuple[str, ...]
    maps: Float32 | None = None
    features: Float32 | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or self.logits.shape[1] != len(self.attributes):
            raise UsageError(f"logits {self.logits.shape} do not match {len(self.attributes)} attribute names.")


def fixed(value: float, decimals: int) -> float:
    """Return a number as records show it: rounded, and never minus zero.

    >>> fixed(-0.04, 1)
    0.0
    """
    return round(float(value), decimals) + 0.0


@dataclass(frozen=True)
class Quality:
    """What limits an answer: eye_distance in image pixels, sharpness 0..1, head angles in degrees (yaw > 0: subject
    turns to their left)."""

    eye_distance: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float

    def to_dict(self) -> dict[str, float]:
        return {
            "eye_distance": fixed(self.eye_distance, 1), "sharpness": fixed(self.sharpness, 2),
            "yaw": fixed(self.yaw, 1), "pitch": fixed(self.pitch, 1), "roll": fixed(self.roll, 1),
        }  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One attribute of one face: calibrated prob in 0..1, label "yes", "no" or "cannot_tell", the rule that changed the
    label, if one did, and why nothing is told: "small" (too few pixels between the eyes), "blurred", or "near" (the
    probability lies too near the threshold)."""

    prob: float
    label: str
    changed_by: str | None = None
    because: str | None = None

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {"prob": fixed(self.prob, PROB_DECIMALS), "label": self.label}
        if self.changed_by is not None:
            record["changed_by"] = self.changed_by
        if self.because is not None:
            record["because"] = self.because
        return record


@dataclass(frozen=True)
class FaceReport:
    """One face of a report. box_xyxy (4,), keypoints (5,2) in image pixels; detection_prob None where no detector
    ran."""

    box_xyxy: tuple[float, float, float, float]
    detection_prob: float | None
    keypoints: tuple[tuple[float, float], ...]
    quality: Quality
    attributes: Mapping[str, Answer]

    def to_dict(self) -> dict[str, Any]:
        return {
            "box_xyxy": [fixed(v, PIXEL_DECIMALS) for v in self.box_xyxy],
            "detection_prob": None if self.detection_prob is None else fixed(self.detection_prob, PROB_DECIMALS),
            "keypoints": [[fixed(x, PIXEL_DECIMALS), fixed(y, PIXEL_DECIMALS)] for x, y in self.keypoints],
            "quality": self.quality.to_dict(),
            "attributes": {name: answer.to_dict() for name, answer in self.attributes.items()},
        }


@dataclass(frozen=True)
class Report:
    """Everything said about one input: the record of `docs/reference/interface.md`, typed. `error` is (code, message)
    or None; `keys` what came with the input from a table ("id", "columns").

    `pixels` (H,W,3) uint8 RGB, those that were answered, are kept by `Model.analyze` so that `.draw()` and `.crops()`
    work, and dropped in streams (bounded memory). Of a huge JPEG they may be a half, quarter or eighth of `width` x
    `height`; `whole` then decodes all of it. `base_rates` are the shares of yes that the card states, if any: `.draw()`
    writes what surprises against them.
    """

    source: str
    status: str
    model: str
    profile: str
    faces: tuple[FaceReport, ...] = ()
    error: tuple[str, str] | None = None
    width: int | None = None
    height: int | None = None
    note: str | None = None
    rates: str | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    pixels: UInt8 | None = field(default=None, repr=False, compare=False)
    whole: Callable[[], DecodedImage] | None = field(default=None, repr=False, compare=False)
    base_rates: Mapping[str, float] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON record (schema_version 1), key order fixed."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            **self.keys,
            "status": self.status,
            "error": None if self.error is None else {"code": self.error[0], "message": self.error[1]},
            "image": {"width": self.width, "height": self.height, "note": self.note},
            "model": self.model,
            "profile": self.profile,
            **({} if self.rates is None else {"rates": self.rates}),
            "faces": [face.to_dict() for face in self.faces],
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Report:
        """Return the report of a JSON record, without pixels; its `to_dict` is that record again."""
        error, image = record["error"], record["image"]
        faces = tuple(
            FaceReport(
                tuple(face["box_xyxy"]),
                face["detection_prob"],
                tuple((x, y) for x, y in face["keypoints"]),
                Quality(**face["quality"]),
                {name: Answer(**answer) for name, answer in face["attributes"].items()},
            )
            for face in record["faces"]
        )
        named = {key: record[key] for key in ("source", "status", "model", "profile")}
        keys = {key: record[key] for key in ("id", "columns") if key in record}
        return Report(
            **named,
            rates=record.get("rates"),
            keys=keys,
            faces=faces,
            error=None if error is None else (error["code"], error["message"]),
            **image,
        )

    def draw(self) -> PILImage:
        """Return the photo with boxes, keypoints and the positive answers drawn on it.

        Raises: UsageError if the pixels were not kept (a streamed report).
        """
        from lineament.pipeline.draw import (
            draw_report,
        )  # the one upward call: a convenience on the result, imported when used

        return draw_report(self)

    def crops(self) -> UInt8:
        """Return the aligned faces (N,3,218,178) uint8 RGB, in the order of `faces`.

        Raises: UsageError if the pixels were not kept (a streamed report).
        """
        from lineament.geometry import align

        if self.pixels is None:
            raise UsageError(
                "This report holds no pixels: a stream lets them go. Use model.analyze(...), or stream(..., "
                "after=FUNCTION)."
            )
        keypoints = np.array([face.keypoints for face in self.faces], np.float32).reshape(-1, 5, 2)
        shrink = 1 if self.width is None or self.height is None else shrink_of((self.width, self.height), self.pixels)
        return align(self.pixels, keypoints, shrink).pixels
