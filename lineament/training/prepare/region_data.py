"""Training data of the region network: CelebAMask-HQ images and 68-point photos, all on one canvas around the aligned
crop.

    image + classes | landmarks -> aligned canvas (image, labels, known) -> random similarity -> sample (3,h,w), region
        (K,h',w'), known

Convention: the canvas is the 178x218 crop with `MARGIN` pixels more on every side. Labels are packed: bit j of a pixel
is group j of `GROUPS`; a pixel outside the photo is unknown for every group that parsing would have named.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.data.mean_face import five_of_68
from lineament.data.parsing import background_of, keypoints_from_parsing, region_from_parsing
from lineament.data.regions import GROUPS, region_from_landmarks
from lineament.errors import DataError
from lineament.geometry import CROP_SIZE, TEMPLATE, invert, transform_points, umeyama, warp
from lineament.images import load_image
from lineament.types import UInt8

MARGIN = 64
CANVAS = (CROP_SIZE[0] + 2 * MARGIN, CROP_SIZE[1] + 2 * MARGIN)
LANDMARK_GROUPS = ("Mouth", "Lower Face", "Cheeks", "Eyes")
"""Groups learned from landmark photos; the nose hull of landmarks differs too much from parsing's nose."""
NAMED_GROUPS = ("Mouth", "Ear", "Nose", "Eyes", "Hair", "Object")
"""Groups that parsing names."""
INNER_GROUPS = ("Mouth", "Ear", "Nose", "Eyes")
"""Groups that lie wholly inside a CelebAMask-HQ photo."""


@dataclass(frozen=True)
class RegionFace:
    """One labelled face on the canvas. image (H,W,3); labels, known (H,W) with one bit per group.

    `scored`, also one bit per group, is the part of `known` that a score counts: what a person labelled, inside the
    photo.
    """

    name: str
    image: UInt8
    labels: UInt8
    known: UInt8
    scored: UInt8


Annotator = Callable[[UInt8], npt.NDArray[Any]]
"""A crop (3,218,178) uint8 -> its landmarks (L,2) in its pixels."""


@dataclass(frozen=True)
class Jitter:
    """The random similarity and light of a sample; zeros give the plain crop."""

    scale: tuple[float, float] = (0.8, 1.3)
    shift: float = 0.12
    rotate: float = 12.0
    light: float = 0.3
    blur: float = 0.3


PLAIN = Jitter((1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


def _pack(region: npt.NDArray[np.bool_]) -> UInt8:
    packed: UInt8 = np.packbits(region, axis=0, bitorder="little")[0]
    return packed


def unpack(labels: UInt8) -> npt.NDArray[np.bool_]:
    """Return (...,K,h,w) bool from packed labels (...,h,w)."""
    return np.stack([(labels >> bit) & 1 for bit in range(len(GROUPS))], axis=-3).astype(np.bool_)


def _nearest(plane: UInt8, canvas_from_image: npt.NDArray[np.float64], fill: int) -> UInt8:
    inverse = invert(canvas_from_image)
    moved = Image.fromarray(plane).transform(
        (CANVAS[1], CANVAS[0]), Image.Transform.AFFINE, tuple(inverse.ravel()), Image.Resampling.NEAREST, fillcolor=fill
    )
    return np.asarray(moved)


def parsed_face(name: str, image: UInt8, classes: UInt8) -> RegionFace:
    """Return a CelebAMask-HQ image on the canvas, aligned by eyes and mouth corners found in its class map.

    Convention: beside what parsing names, two things are known: no facial part lies outside the photo, and no landmark
    group on the background.
    """
    target = TEMPLATE[[0, 1, 3, 4]] + MARGIN
    matrix = umeyama(keypoints_from_parsing(classes), target)
    region, known = region_from_parsing(classes)
    named, inner = _bits(known), _bits(known & np.isin(GROUPS, INNER_GROUPS))
    inside = _nearest(np.full(classes.shape, 255, np.uint8), matrix, 0)
    known_parts = np.where(inside == 0, inner, named)
    empty = _nearest(background_of(classes).astype(np.uint8), matrix, 0) * _bits(~np.isin(GROUPS, NAMED_GROUPS))
    labels = _nearest(_pack(region), matrix, 0)
    return RegionFace(name, warp(image, matrix, CANVAS), labels, (known_parts | empty).astype(np.uint8), inside & named)


def _bits(groups: npt.NDArray[np.bool_]) -> np.uint8:
    return np.uint8(_pack(groups[:, None, None])[0, 0])


def landmark_face(name: str, image: UInt8, landmarks: npt.NDArray[np.float64]) -> RegionFace:
    """Return a 68-point photo on the canvas with the polygons of `LANDMARK_GROUPS`."""
    matrix = umeyama(five_of_68(landmarks), TEMPLATE + MARGIN)
    region, _ = region_from_landmarks(transform_points(matrix, landmarks), CANVAS, "tight")
    known = np.array([group in LANDMARK_GROUPS for group in GROUPS])
    plane = np.broadcast_to(_pack(known[:, None, None]), CANVAS)
    return RegionFace(name, warp(image, matrix, CANVAS), _pack(region), plane, plane)


def load_parsed(folder: Path) -> list[RegionFace]:
    """Return every CelebAMask-HQ face under `folder` (images/, masks/), by name; images without a visible mouth are
    left out.

    Raises: DataError if the folder holds none.
    """
    faces = []
    for path in sorted((folder / "masks").glob("*.png")):
        classes = np.asarray(Image.open(path))
        try:
            faces.append(parsed_face(path.stem, load_image(folder / "images" / f"{path.stem}.jpg").pixels, classes))
        except DataError:
            continue
    if not faces:
        raise DataError(f"No masks under {folder / 'masks'}. Set regions.parsing to a folder with images/ and masks/.")
    return faces


def load_landmarked(folder: Path, split: str) -> list[RegionFace]:
    """Return the 68-point photos of a split ("train" or "test") under `folder` (landmarks.csv, images/)."""
    with (folder / "landmarks.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    faces = []
    for row in rows:
        points = np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)])
        faces.append(landmark_face(row["file"], load_image(folder / "images" / row["file"]).pixels, points))
    return faces


def annotated_beside(face: RegionFace, groups: Sequence[str], annotate: Annotator, style: str) -> RegionFace:
    """Return a parsed face that keeps its own labels of `groups` and has the annotator's polygons for the rest, inside
    the photo.

    Without them the network meets parsed images with two groups alone, learns to tell them from the others and answers
    nothing else on them.

    Args: annotate: crop (3,218,178) uint8 -> points (L,2) in its pixels; style: of the polygons (data/regions.py).
    """
    window = (slice(MARGIN, MARGIN + CROP_SIZE[0]), slice(MARGIN, MARGIN + CROP_SIZE[1]))
    points = np.asarray(annotate(face.image[window].transpose(2, 0, 1)), np.float64) + MARGIN
    kept = _bits(np.isin(GROUPS, groups))
    drawn = _pack(annotated_region(points, CANVAS, style)) & ~kept
    there = np.where(face.scored > 0, ~kept, 0)
    return replace(face, labels=(face.labels & kept) | drawn, known=((face.known & kept) | there).astype(np.uint8))


class AnnotatedFaces(Sequence[RegionFace]):
    """Training images on the canvas, labelled from the annotator's points when asked for: twenty thousand canvases
    would not fit into memory.

    crops (N,3,218,178) uint8; points (N,L,2) in pixels of the crop, L as `data/regions.py` takes them; without: groups
    that the polygons leave unknown. Outside the crop nothing is known.

    Source: MGMTN, arXiv 2601.01408: a pretrained annotator's key points, polygons, a U-Net that learns them. Its
    annotator gives 98 points.
    """

    def __init__(
        self, crops: UInt8, points: npt.NDArray[np.float32], style: str = "tight", without: Sequence[str] = ()
    ) -> None:
        self._crops, self._points, self._style = crops, points, style
        self._known = _bits(~np.isin(GROUPS, without))

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        image, inside = np.zeros((*CANVAS, 3), np.uint8), np.zeros(CANVAS, np.uint8)
        window = (slice(MARGIN, MARGIN + CROP_SIZE[0]), slice(MARGIN, MARGIN + CROP_SIZE[1]))
        image[window] = np.asarray(self._crops[index]).transpose(1, 2, 0)
        inside[window] = self._known
        region = annotated_region(np.asarray(self._points[index], np.float64) + MARGIN, CANVAS, self._style)
        return RegionFace(str(index), image, _pack(region), inside, np.zeros(CANVAS, np.uint8))


def annotated_region(
    points: npt.NDArray[np.float64], size: tuple[int, int], style: str = "tight"
) -> npt.NDArray[np.bool_]:
    """Return the masks (K,h,w) of all eight groups from one face's points (L,2) in pixels.

    `paper`: the reconstruction's wide polygons throughout. `tight`: borders that follow parsing masks where such
    polygons exist, the wide ones for Ear, Hair and Object; Object covers all face regions, as read.
    """
    region, known = region_from_landmarks(points, size, style)
    if style == "paper":
        return region
    wide, _ = region_from_landmarks(points, size, "paper")
    return np.where(known[:, None, None], region, wide)


def hold_out(faces: Sequence[RegionFace], count: int, seed: int = 0) -> tuple[list[RegionFace], list[RegionFace]]:
    """Return (train, held out) with `count` held out by a seeded permutation of the names."""
    order = np.random.default_rng(seed).permutation(len(faces))
    held = {int(i) for i in order[:count]}
    return [f for i, f in enumerate(faces) if i not in held], [f for i, f in enumerate(faces) if i in held]


def _canvas_from_sample(
    jitter: Jitter, rng: np.random.Generator, size: tuple[int, int], flip: bool
) -> npt.NDArray[np.float64]:
    """Return the affine map of a sample's pixels (in crop pixels) to the canvas."""
    h, w = size
    scale, angle = np.exp(rng.uniform(*np.log(jitter.scale))), np.deg2rad(rng.uniform(-1, 1) * jitter.rotate)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    linear = np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    middle = np.array([w, h]) / 2 + rng.uniform(-1, 1, 2) * jitter.shift * np.array([w, h])
    return np.column_stack([linear, middle + MARGIN - linear @ (np.array([w, h]) / 2)])


def sample(face: RegionFace, rng: np.random.Generator, jitter: Jitter, reduce: int = 2) -> tuple[UInt8, UInt8, UInt8]:
    """Return image (218,178,3), packed labels and packed known at 1/`reduce` of that, seen through one random
    similarity.

    Convention: half of the samples are mirrored when there is any jitter; all groups are symmetric, so no group changes
    place.
    """
    h, w = CROP_SIZE
    flip = jitter is not PLAIN and bool(rng.random() < 0.5)
    matrix = _canvas_from_sample(jitter, rng, CROP_SIZE, flip)
    image = Image.fromarray(face.image)
    if rng.random() < jitter.blur:
        small = rng.uniform(0.4, 1.0)
        image = image.resize((int(CANVAS[1] * small), int(CANVAS[0] * small)), Image.Resampling.BOX).resize(
            (CANVAS[1], CANVAS[0])
        )
    image = image.transform((w, h), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR)
    coarse = matrix @ np.diag([reduce, reduce, 1.0])
    planes = [
        np.asarray(
            Image.fromarray(plane).transform((w // reduce, h // reduce), Image.Transform.AFFINE, tuple(coarse.ravel()))
        )
        for plane in (face.labels, np.ascontiguousarray(face.known))
    ]
    return _relight(np.asarray(image), rng, jitter.light), planes[0], planes[1]


def _relight(image: UInt8, rng: np.random.Generator, amount: float) -> UInt8:
    """Return the image with brightness, contrast and colour balance varied by up to `amount`."""
    if not amount:
        return image
    pixels = image.astype(np.float32)
    gains = (1 + amount * rng.uniform(-1, 1)) * (1 + 0.3 * amount * rng.uniform(-1, 1, 3))
    mean = pixels.mean()
    pixels = (pixels - mean) * (1 + amount * rng.uniform(-1, 1)) + mean
    lit: UInt8 = np.clip(pixels * gains, 0, 255).astype(np.uint8)
    return lit
