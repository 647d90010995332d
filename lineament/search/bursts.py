"""Bursts, photos of the same moment: a fingerprint per photo, bursts from fingerprints, and the best shot of each
burst.

    photo -> (64-bit difference hash, time taken) -> bursts -> ranked photos

Convention: two photos that follow each other in their folder (by time taken, else by name) belong to one burst when
their hashes differ in at most `MAX_BITS` of 64 bits and they are near: at most `MAX_SECONDS` apart where both carry a
time, else the numbers ending their otherwise equal names at most `MAX_STEPS` apart. Bursts are chains of such pairs.
Source: the difference hash is Neal Krawetz's dHash ("Kind of Like That", hackerfactor.com, 2013): grey, 9x8, bit =
right pixel brighter.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BITS = 12
MAX_SECONDS = 10.0
MAX_STEPS = 3
UNSEEN = 0.5
"""What a face counts that other photos of the burst show and this one does not, and eyes that cannot be seen: neither
yes nor no."""
BACKGROUND = 1 / 3
"""Faces with less than this part of the photo's largest eye distance are passers-by and do not count."""

_EXIF_IFD, _TAKEN, _TAKEN_SUBSEC = 0x8769, 0x9003, 0x9291


def difference_hash(pixels: npt.NDArray[np.uint8]) -> int:
    """Return the 64-bit dHash of a photo (H,W,3) uint8: grey, shrunk to 9x8, bit set where a pixel is brighter than its
    left neighbour.

    Convention: large photos are first thinned to every n-th pixel (at least 256 on the shorter side stay), then
    averaged over boxes.

    >>> difference_hash(np.full((30, 40, 3), 200, np.uint8))
    0
    """
    from PIL import Image

    every = max(1, min(pixels.shape[:2]) // 256)
    grey = Image.fromarray(pixels[::every, ::every]).convert("L")
    small = np.asarray(grey.resize((9, 8), resample=Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def when_taken(path: str) -> float | None:
    """Return when a photo was taken, in seconds, None where its file does not say.

    Convention: EXIF DateTimeOriginal with its fraction, in the camera's own zone (only differences are used). Reads the
    header only.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            return _taken(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _taken(image: Image) -> float | None:
    exif = image.getexif().get_ifd(_EXIF_IFD)
    try:
        moment = datetime.strptime(str(exif[_TAKEN]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        fraction = str(exif.get(_TAKEN_SUBSEC, "")).strip("\0 ")
        return (moment - datetime(1970, 1, 1)).total_seconds() + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True)
class Shot:
    """A photo as bursts see it. path: relative, as text; smiling, eye_distances: one per face; eyes_open:
    probabilities, one per face, None where the eyes cannot be seen."""

    file_id: int
    path: str
    scene: int
    taken: float | None
    smiling: tuple[float, ...]
    eye_distances: tuple[float, ...]
    eyes_open: tuple[float | None, ...]

    @property
    def counted(self) -> tuple[int, ...]:
        """Positions of the faces that count: not the small ones in the background."""
        least = BACKGROUND * max(self.eye_distances, default=0.0)
        return tuple(i for i, size in enumerate(self.eye_distances) if size >= least)


@dataclass(frozen=True)
class RankedShot:
    """A photo of a burst. score: smiling * eyes_open, the probabilities that everyone smiles and that everyone's eyes
    are open."""

    shot: Shot
    score: float
    faces: int
    smiling: float
    eyes_open: float

    def to_dict(self) -> dict[str, Any]:
        """Return the photo's part of the JSON record of `lineament search --best-shot --json`."""
        probs = {"score": self.score, "smiling": self.smiling, "eyes_open": self.eyes_open}
        return {"file": self.shot.path, "faces": self.faces, **{name: round(value, 6) for name, value in probs.items()}}


def bursts(shots: Iterable[Shot]) -> list[list[Shot]]:
    """Return the groups of two or more photos of one moment, in folder order."""
    ordered = sorted(
        shots, key=lambda shot: (_folder(shot.path), shot.taken is None, shot.taken or 0.0, _natural(shot.path))
    )
    groups: list[list[Shot]] = []
    for shot in ordered:
        if groups and same_moment(groups[-1][-1], shot):
            groups[-1].append(shot)
        else:
            groups.append([shot])
    return [group for group in groups if len(group) > 1]


def same_moment(a: Shot, b: Shot) -> bool:
    """Return whether two photos belong to one burst (the module's convention)."""
    if _folder(a.path) != _folder(b.path) or (a.scene ^ b.scene).bit_count() > MAX_BITS:
        return False
    if a.taken is not None and b.taken is not None:
        return abs(a.taken - b.taken) <= MAX_SECONDS
    (stem_a, number_a), (stem_b, number_b) = _numbered(a.path), _numbered(b.path)
    return stem_a == stem_b and number_a is not None and number_b is not None and abs(number_a - number_b) <= MAX_STEPS


def rank_burst(group: Sequence[Shot]) -> list[RankedShot]:
    """Return the photos of a burst, the one where everyone most likely smiles with open eyes first.

    Convention: the product of P(Smiling) * P(eyes open) over the faces that count; a face that other photos of the
    burst show and this one lacks counts 0.5 for each, and so do eyes that cannot be seen.
    """
    most = max(len(shot.counted) for shot in group)
    ranked = []
    for shot in group:
        lacking = UNSEEN ** (most - len(shot.counted))
        smiling = lacking * math.prod(shot.smiling[i] for i in shot.counted)
        eyes = [shot.eyes_open[i] for i in shot.counted]
        eyes_open = lacking * math.prod(UNSEEN if prob is None else prob for prob in eyes)
        ranked.append(RankedShot(shot, smiling * eyes_open, len(shot.counted), smiling, eyes_open))
    return sorted(ranked, key=lambda entry: (-entry.score, entry.shot.path))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _numbered(path: str) -> tuple[str, int | None]:
    """Return a name without the number that ends it, and that number: ("IMG_", 12) of IMG_0012.JPG."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    found = re.fullmatch(r"(.*?)(\d{1,18})", stem, re.DOTALL)
    return (found[1], int(found[2])) if found else (stem, None)


def _natural(path: str) -> tuple[str, int, str]:
    stem, number = _numbered(path)
    return (stem, -1 if number is None else number, path)
