"""CelebAMask-HQ's 19 classes as the eight regions, and the key points that put such an image into the crop frame.

    classes (H,W) -> region (K,H,W), known (K,);   classes (H,W) -> keypoints (4,2)

Source: CelebAMask-HQ (Lee et al., CVPR 2020), class numbers in `CLASSES`. Reconstructed here: which classes make a
group.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.data.regions import GROUPS, hull, rasterize
from lineament.errors import DataError
from lineament.types import Bool

CLASSES: tuple[str, ...] = (
    "background", "skin", "nose", "eyeglasses", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth",
    "u_lip", "l_lip", "hair", "hat", "earring", "necklace", "neck", "cloth",
)  # fmt: skip
FACE = ("skin", "nose", "eyeglasses", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip")
_MEMBERS = {
    "Mouth": ("mouth", "u_lip", "l_lip"),
    "Ear": ("l_ear", "r_ear", "earring"),
    "Nose": ("nose",),
    "Hair": ("hair", "hat"),
    "Object": (*FACE, "hair", "hat"),
}


def _of(classes: npt.NDArray[np.uint8], names: tuple[str, ...]) -> Bool:
    return np.isin(classes, [CLASSES.index(name) for name in names])


def region_from_parsing(classes: npt.NDArray[np.uint8]) -> tuple[Bool, Bool]:
    """Return region (K,H,W) and known (K,) from a class map; Lower Face and Cheeks have no class, Eyes need both eyes
    and brows visible.

    Args: classes (H,W) uint8, numbers as in `CLASSES`.
    """
    region = np.zeros((len(GROUPS), *classes.shape), np.bool_)
    known = np.zeros(len(GROUPS), np.bool_)
    for name, members in _MEMBERS.items():
        region[GROUPS.index(name)], known[GROUPS.index(name)] = _of(classes, members), True
    sides = _eye_hulls(classes)
    if sides is not None:
        region[GROUPS.index("Eyes")], known[GROUPS.index("Eyes")] = sides, True
    return region, known


def background_of(classes: npt.NDArray[np.uint8]) -> Bool:
    """Return the pixels (H,W) that surely lie outside every group made from landmarks: background, hat and cloth."""
    return _of(classes, ("background", "hat", "cloth"))


def _eye_hulls(classes: npt.NDArray[np.uint8]) -> Bool | None:
    """Return the hull of eye and brow of each side, (H,W); None where one of the four is hidden. Sides by position:
    some files swap names."""
    middle = (
        _points(_of(classes, ("nose", "mouth", "u_lip", "l_lip")))[:, 0].mean()
        if _of(classes, ("nose",)).any()
        else None
    )
    if middle is None:
        return None
    out = np.zeros(classes.shape, np.bool_)
    eyes, brows = _points(_of(classes, ("l_eye", "r_eye"))), _points(_of(classes, ("l_brow", "r_brow")))
    for sign in (-1, 1):
        eye, brow = (p[sign * (p[:, 0] - middle) > 0] for p in (eyes, brows))
        if len(eye) < 8 or len(brow) < 8:
            return None
        out |= rasterize([hull(_corners(np.concatenate([eye, brow])))], (classes.shape[0], classes.shape[1]))
    return out


def _corners(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the corners (4P,2) of the pixels with these centres (P,2), so that a hull holds whole pixels."""
    around = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    corners: npt.NDArray[np.float64] = (centres[:, None] + around).reshape(-1, 2)
    return corners


def _points(mask: Bool) -> npt.NDArray[np.float64]:
    """Return the pixel centres (P,2) of a mask as (x, y)."""
    rows, columns = np.nonzero(mask)
    return np.stack([columns + 0.5, rows + 0.5], axis=1).astype(np.float64)


def keypoints_from_parsing(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return four key points (4,2) of a class map: the subject's right eye, left eye, right mouth corner, left mouth
    corner.

    Convention: pixels of the map; an eye hidden by glasses or hair takes CelebA-HQ's fixed eye place, which varies by
    about a pixel.
    Raises: DataError when the map shows no mouth.
    """
    height, width = classes.shape
    lips = _points(_of(classes, ("mouth", "u_lip", "l_lip")))
    if len(lips) < 8:
        raise DataError("This parsing map shows no mouth, so it cannot be aligned. Leave the image out.")
    eyes, middle = _points(_of(classes, ("l_eye", "r_eye"))), lips[:, 0].mean()
    fixed = {-1: (0.378 * width, 0.477 * height), 1: (0.622 * width, 0.477 * height)}
    found = []
    for sign in (-1, 1):
        side = eyes[sign * (eyes[:, 0] - middle) > 0]
        found.append(side.mean(0) if len(side) >= 8 else np.array(fixed[sign]))
    corners = [lips[lips[:, 0] == edge].mean(0) for edge in (lips[:, 0].min(), lips[:, 0].max())]
    return np.stack([*found, *corners])
