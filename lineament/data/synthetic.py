"""Faces drawn by code with exact attributes, landmarks and regions: the whole journey with no data set.

    seed -> people -> attributes -> portraits -> crops (N,3,218,178), targets (N,40), landmarks (N,68,2), regions
        (N,8,218,178)

What a drawing cannot show (`NOT_DRAWN`: three judgements) is unknown, never guessed. Attributes keep CelebA's logic:
one hair colour, no beard where there is one, lipstick under heavy make-up.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.data.labelled import LabelledFiles
from lineament.data.mean_face import five_of_68
from lineament.data.portrait import HAIR, portrait
from lineament.schema import CELEBA_40

NOT_DRAWN: tuple[str, ...] = ("Attractive", "Male", "Young")
_COLUMN = {name: i for i, name in enumerate(CELEBA_40)}
_OF_PERSON = (
    "Bald", "Big_Lips", "Big_Nose", "Bushy_Eyebrows", "Arched_Eyebrows", "Chubby", "Double_Chin", "High_Cheekbones",
    "Narrow_Eyes", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
)  # fmt: skip
_OF_IMAGE = (
    "5_o_Clock_Shadow", "Bags_Under_Eyes", "Bangs", "Blurry", "Eyeglasses", "Goatee", "Heavy_Makeup",
    "Mouth_Slightly_Open", "Mustache", "Rosy_Cheeks", "Sideburns", "Smiling", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie",
)  # fmt: skip
_RARE = {
    "Bald": 0.1,
    "Blurry": 0.1,
    "Wearing_Hat": 0.15,
    "Sideburns": 0.15,
    "Goatee": 0.2,
    "Mustache": 0.2,
    "5_o_Clock_Shadow": 0.2,
}
_COMMON = {"Smiling": 0.5, "Mouth_Slightly_Open": 0.5}
_EACH_PERSON = 3


@dataclass(frozen=True)
class SyntheticFaces:
    """Drawn faces. crops (N,3,218,178) uint8 RGB; targets (N,40) int8; known (N,40) bool; landmarks (N,68,2), keypoints
    (N,5,2) crop pixels; regions (N,8,218,178) bool in the order of `data.regions.GROUPS`; identity (N,) int64; files
    (N,)."""

    crops: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int8]
    known: npt.NDArray[np.bool_]
    landmarks: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]
    regions: npt.NDArray[np.bool_]
    identity: npt.NDArray[np.int64]
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


def attributes_of(row: int, seed: int) -> dict[str, bool]:
    """Return what face `row` has, name -> bool, for all 40 names; the three of `NOT_DRAWN` are False and mean
    nothing."""
    person, image = np.random.default_rng([seed, 1, row // _EACH_PERSON]), np.random.default_rng([seed, 2, row])
    has = dict.fromkeys(CELEBA_40, False)
    for names, rng in ((_OF_PERSON, person), (_OF_IMAGE, image)):
        for name in names:
            has[name] = bool(rng.random() < _RARE.get(name, _COMMON.get(name, 0.3)))
    colour = (*HAIR, None)[int(person.integers(len(HAIR) + 1))]
    style = ("Straight_Hair", "Wavy_Hair", None)[int(person.integers(3))]
    has.update({name: True for name in (colour, style) if name is not None})
    return _consistent(has)


def _consistent(has: dict[str, bool]) -> dict[str, bool]:
    """Return the attributes with what one picture cannot show at once removed."""
    if has["Wearing_Hat"]:
        _drop(has, "Bald", "Bangs", "Receding_Hairline")
    if has["Bald"]:
        _drop(has, *HAIR, "Bangs", "Straight_Hair", "Wavy_Hair", "Receding_Hairline")
    if has["Bangs"]:
        _drop(has, "Receding_Hairline")
    if has["Chubby"]:
        _drop(has, "Oval_Face")
    if has["Heavy_Makeup"]:
        has["Wearing_Lipstick"] = True
        _drop(has, "5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns", "Bald")
    if has["Straight_Hair"] or has["Wavy_Hair"]:
        _drop(has, "Sideburns")
    has["No_Beard"] = not any(has[name] for name in ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns"))
    return has


def _drop(has: dict[str, bool], *names: str) -> None:
    has.update(dict.fromkeys(names, False))


def make(n: int, seed: int = 0) -> SyntheticFaces:
    """Draw `n` faces, three per person. Face i of a seed is the same whatever `n` is.

    >>> make(2).crops.shape
    (2, 3, 218, 178)
    """
    drawn = [portrait(attributes_of(row, seed), (seed, 3, row)) for row in range(n)]
    landmarks = np.array([points for _, points, _ in drawn], np.float64).reshape(n, 68, 2)
    table = synthetic_table(n, seed)
    assert table.identity is not None
    return SyntheticFaces(
        crops=np.array([image.transpose(2, 0, 1) for image, _, _ in drawn], np.uint8).reshape(n, 3, 218, 178),
        targets=table.targets,
        known=table.known,
        landmarks=landmarks.astype(np.float32),
        keypoints=np.array([five_of_68(points) for points in landmarks], np.float32).reshape(n, 5, 2),
        regions=np.array([region for _, _, region in drawn], np.bool_).reshape(n, 8, 218, 178),
        identity=table.identity,
        files=table.files,
    )


def synthetic_table(n: int, seed: int = 0) -> LabelledFiles:
    """Return the labels of `make(n, seed)` without drawing; split by person: four of five train, one val."""
    targets = np.zeros((n, len(CELEBA_40)), np.int8)
    for row in range(n):
        for name, value in attributes_of(row, seed).items():
            targets[row, _COLUMN[name]] = value
    known = np.ones(targets.shape, np.bool_)
    known[:, [_COLUMN[name] for name in NOT_DRAWN]] = False
    identity = np.arange(n, dtype=np.int64) // _EACH_PERSON
    split = np.where(identity % 5 == 4, "val", "train")
    return LabelledFiles(tuple(f"{row:06d}.png" for row in range(n)), CELEBA_40, targets, known, identity, split)


class SyntheticSource:
    """Drawn faces as a data source: rows are drawn when read, so a set of any size costs nothing until used."""

    def __init__(self, n: int, seed: int = 0, split: str = "all") -> None:
        self._seed = seed
        whole = synthetic_table(n, seed)
        assert whole.split is not None
        self._rows = np.flatnonzero((whole.split == split) | (split == "all"))
        self.table = whole.take(self._rows)

    def read_bytes(self, row: int) -> bytes:
        """Return the PNG of row `row`."""
        number = int(self._rows[row])
        image, _, _ = portrait(attributes_of(number, self._seed), (self._seed, 3, number))
        return encode(image)


def encode(image: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """Return an image (H,W,3) as PNG or JPEG (quality 95) bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=95)
    return buffer.getvalue()
