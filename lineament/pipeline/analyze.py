"""The sentence: one photo to one report, one line per arrow.

    image -> faces -> crops -> logits -> probs -> labels -> report
    (H,W,3)   N     (N,3,218,178) (N,A)   (N,A)    (N,A)

`analyze` is the sentence; what follows it are its words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament import geometry
from lineament.decision.consistency import decode_consistent
from lineament.decision.layer import Decision
from lineament.errors import UnsupportedError, UsageError
from lineament.images import MAX_PIXELS, Channels, load_image, read_photo
from lineament.pipeline.quality import measure
from lineament.pipeline.reduced_jpeg import Read, find_in_reduced
from lineament.schema import CELEBA_40, in_profile, resolve
from lineament.types import (
    PROB_DECIMALS,
    SMALLEST_FACE,
    Answer,
    Crops,
    DecodedImage,
    FaceReport,
    Faces,
    Float64,
    ModelOutput,
    Quality,
    Report,
    UInt8,
)

FindFaces = Callable[[UInt8, str], Faces]
"""(pixels (H,W,3), source) -> Faces: a detector, or boxes that somebody else found."""


@dataclass(frozen=True)
class Settings:
    """What the user chose. keep: "all", "largest" or a count; faces: "detect" or "aligned" (the photo *is* a crop in
    CelebA's layout);
    attributes: names to answer, every one of the profile where None; max_pixels: the cap before decoding; small_faces:
    "never", "auto" or "always" searches at the photo's own scale (see `detection.retinaface`)."""

    profile: str = "default"
    attributes: tuple[str, ...] | None = None
    abstain: bool = False
    consistent: bool = False
    keep: str | int = "all"
    faces: str = "detect"
    max_pixels: int = MAX_PIXELS
    small_faces: str = "auto"

    def __post_init__(self) -> None:
        in_profile(self.profile)
        if self.faces not in ("detect", "aligned"):
            raise UsageError(f"faces must be detect or aligned, not {self.faces!r}.")
        if self.keep not in ("all", "largest") and (not isinstance(self.keep, int) or self.keep < 1):
            raise UsageError(f"keep must be all, largest or a count of at least 1, not {self.keep!r}.")
        if self.small_faces not in ("never", "auto", "always"):
            raise UsageError(f"small_faces must be never, auto or always, not {self.small_faces!r}.")
        if self.max_pixels < 1:
            raise UsageError(f"max_pixels must be at least 1, not {self.max_pixels}.")

    def visible(self, known: Sequence[str] = CELEBA_40) -> tuple[str, ...]:
        """Return the attributes to answer, in the model's order. Raises: UnknownAttributeError; UsageError for one the
        profile leaves out."""
        shown = in_profile(self.profile, known)
        if self.attributes is None:
            return shown
        asked = {resolve(name, known) for name in self.attributes}
        hidden = sorted(asked - set(shown))
        if hidden:
            raise UsageError(
                f"The profile {self.profile!r} leaves out {', '.join(hidden)}. Use --profile all to see them."
            )
        return tuple(name for name in known if name in asked)


@dataclass(frozen=True)
class Tools:
    """What the sentence works with: where faces come from, the network, its decision layer and the id that records
    show.

    glance: a cheaper `find` for large faces; None where `find` may not be shown a huge JPEG in a smaller decode (see
    `pipeline.reduced_jpeg`).
    """

    find: FindFaces
    network: Callable[[Crops], ModelOutput]
    decision: Decision
    model: str
    glance: FindFaces | None = None


def analyze(
    source: Any, tools: Tools, settings: Settings, *, source_name: str, channels: Channels | None = None
) -> Report:
    """Answer the attributes of every face of one photo.

    Args: source: path, bytes, file object, PIL image, or array (H,W,3) with `channels` "RGB" or "BGR" ((H,W) with "L").
    Returns: a report that keeps its pixels. No face is status "no_face" with no faces.
    Raises: ImageError subclasses where the photo gives no pixels.
    """
    given = read_photo(source) if channels is None else source
    return answer(
        partial(load_image, given, channels=channels, max_pixels=settings.max_pixels),
        tools,
        settings,
        source_name=source_name,
    )


def answer(read: Read, tools: Tools, settings: Settings, *, source_name: str) -> Report:
    """Answer the attributes of every face of one photo that `read` decodes."""
    image, faces = find_faces(read, tools, source_name)  # (H,W,3) uint8 RGB, N
    faces = keep_largest(faces, settings.keep)  # N
    crops, *notes = cut(image, faces, settings.faces)  # (N,3,218,178) uint8 RGB
    output = tools.network(crops)  # (N,A) logits
    quality = measure(image.pixels, faces, crops)  # N
    sizes = [one.to_dict()["eye_distance"] for one in quality]  # N, as records show them
    probs = tools.decision.probs(output.logits, output.attributes, eye_distance=sizes)  # (N,A) calibrated
    answers = decide(probs, output.attributes, quality, tools.decision, settings)  # N x visible attributes
    return Report(
        source=source_name,
        status="ok" if len(faces) else "no_face",
        model=tools.model,
        profile=settings.profile,
        faces=tuple(_face(faces, i, quality[i], answers[i]) for i in range(len(faces))),
        width=(image.full_size or (image.width, image.height))[0],
        height=(image.full_size or (image.width, image.height))[1],
        note=joined_notes(*notes, unsearched(faces)),
        rates=tools.decision.rates_id,
        pixels=image.pixels,
        whole=None if image.full_size is None else partial(read, max_side=None),
        base_rates=tools.decision.rates or None,
    )


def unsearched(faces: Faces) -> str | None:
    """Return the note of a photo in which smaller faces than the detector's least were not looked for; None where they
    were."""
    return f"not searched below {faces.searched_from} pixels" if (faces.searched_from or 0) > SMALLEST_FACE else None


def joined_notes(*notes: str | None) -> str | None:
    """Return the notes there are as one; None where there is none."""
    return "; ".join(note for note in notes if note) or None


def find_faces(read: Read, tools: Tools, source: str) -> tuple[DecodedImage, Faces]:
    """Return the decoded photo, of a huge JPEG a smaller decode where that is enough, and the faces in pixels of the
    whole."""
    if tools.glance is not None:
        return find_in_reduced(read, tools.glance, tools.find, source)
    image = read(max_side=None)
    return image, tools.find(image.pixels, source)


def keep_largest(faces: Faces, keep: str | int) -> Faces:
    """Return all faces, the largest, or the N largest; largest first in every case."""
    faces = faces.largest_first()
    if keep == "all":
        return faces
    return faces.take(np.arange(min(len(faces), 1 if keep == "largest" else int(keep))))


def cut(image: DecodedImage, faces: Faces, mode: str) -> tuple[Crops, str | None]:
    """Return the aligned crops of the faces, or the picture itself where it is a crop already; and the record's
    note."""
    if mode == "detect":
        return geometry.align(image.pixels, faces.keypoints, image.shrink), image.note
    height, width = geometry.CROP_SIZE
    scale = np.array([[width / image.width, 0, 0], [0, height / image.height, 0]], np.float32)
    if (image.height, image.width) == geometry.CROP_SIZE:
        return Crops(np.ascontiguousarray(image.pixels.transpose(2, 0, 1)[None]), scale[None]), image.note
    crop = geometry.warp(image.pixels, scale).transpose(2, 0, 1)
    note = f"resized from {image.width}x{image.height} to {width}x{height}"
    return Crops(np.ascontiguousarray(crop[None]), scale[None]), joined_notes(image.note, note)


def whole_picture(pixels: UInt8, source: str) -> Faces:
    """Return the one face of a picture that is itself a crop in CelebA's aligned layout: the whole picture, keypoints
    on the template.

    Raises: UnsupportedError where the picture does not have the layout's proportions.
    """
    height, width = pixels.shape[:2]
    crop_height, crop_width = geometry.CROP_SIZE
    if width * crop_height != height * crop_width:
        raise UnsupportedError(
            f"An aligned crop is {crop_width}x{crop_height} or an exact multiple of its proportions; this picture is "
            f"{width}x{height}. "
            "Leave --faces aligned out to have its faces found."
        )
    keypoints = (geometry.TEMPLATE * (width / crop_width)).astype(np.float32)
    return Faces(np.array([[0, 0, width, height]], np.float32), np.full(1, np.nan, np.float32), keypoints[None])


def decide(
    probs: Float64, attributes: tuple[str, ...], quality: Sequence[Quality], decision: Decision, settings: Settings
) -> list[dict[str, Answer]]:
    """Return, per face, the visible attributes' probabilities and labels.

    Convention: a label is decided on the probability and the quality as records show them, so that anybody can check
    it. Rules of consistency see the visible attributes only, so that nothing left out shows through `changed_by`; where
    the card says "cannot_tell" no rule decides instead.
    """
    visible = settings.visible(attributes)
    columns = np.array([attributes.index(name) for name in visible], np.intp)
    shown = np.round(probs[:, columns], PROB_DECIMALS)  # (N,V)
    sizes, sharp = (
        [one.to_dict()[key] for one in quality] for key in ("eye_distance", "sharpness")
    )  # as records show them
    labels = decision.labels(shown, visible, abstain=settings.abstain, eye_distance=sizes, sharpness=sharp)  # (N,V) str
    reasons = decision.reasons(
        shown, visible, eye_distance=sizes, sharpness=sharp
    )  # (N,V) str, of those that cannot be told
    changed: Sequence[Mapping[str, str]] = [{}] * len(shown)
    if settings.consistent:
        yes, changed = decode_consistent(
            shown, decision.threshold_vector(visible), visible, precedence=decision.precedence
        )
        labels = np.where(labels == "cannot_tell", labels, np.where(yes, "yes", "no"))
    return [_answers(visible, shown[i], labels[i], changed[i], reasons[i]) for i in range(len(shown))]


def _answers(
    visible: tuple[str, ...],
    probs: Float64,
    labels: npt.NDArray[np.str_],
    changed: Mapping[str, str],
    reasons: npt.NDArray[np.str_],
) -> dict[str, Answer]:
    answers = {}
    for name, prob, label, reason in zip(visible, probs, labels, reasons, strict=True):
        untold = label == "cannot_tell"
        answers[name] = Answer(
            float(prob), str(label), None if untold else changed.get(name), str(reason) if untold else None
        )
    return answers


def _face(faces: Faces, index: int, quality: Quality, answers: Mapping[str, Answer]) -> FaceReport:
    prob = float(faces.detection_probs[index])
    x1, y1, x2, y2 = (float(v) for v in faces.boxes_xyxy[index])
    points = tuple((float(x), float(y)) for x, y in faces.keypoints[index])
    return FaceReport((x1, y1, x2, y2), None if math.isnan(prob) else prob, points, quality, answers)
