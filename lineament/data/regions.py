"""Face regions of MGMTN's eight groups, from any landmark set or from parsing masks.

    landmarks (L,2), L in 5 | 68 | 98 | 468 -> FaceParts -> polygons per group -> region (K,h,w)
    CelebAMask-HQ classes (H,W) -> region (K,H,W), known (K,)

Source: MGMTN, arXiv 2601.01408. Read in the paper (through its reviews): eight groups by name, one binary mask each,
made from 98 keypoints; the object mask covers all face regions. Reconstructed here: every polygon (`paper` style), the
index maps of the other landmark sets, and the `tight` style, whose borders follow parsing masks so that both kinds of
label can train one network.
Convention: continuous pixels, pixel centres at +0.5; K in the order of `GROUPS`; left and right are the subject's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.errors import UsageError
from lineament.schema import MGMTN_GROUPS
from lineament.types import Bool, Float64

GROUPS: tuple[str, ...] = tuple(MGMTN_GROUPS)
STYLES = ("paper", "tight")


@dataclass(frozen=True)
class FaceParts:
    """What the polygons need, from whatever landmark set: point lists (P,2); contour runs ear to ear over the chin, 33
    points, chin at 16."""

    contour: Float64
    brow_right: Float64
    brow_left: Float64
    eye_right: Float64  # first point: outer corner; middle point: inner corner; then the lower lid
    eye_left: Float64  # first point: inner corner; middle point: outer corner
    bridge: Float64
    base: Float64  # the subject's right wing to the left one
    lips: Float64  # the first point and the middle one are the mouth corners

    @property
    def pupil_distance(self) -> float:
        return float(np.linalg.norm(self.eye_right.mean(0) - self.eye_left.mean(0)))

    @property
    def up(self) -> Float64:
        """Unit vector from the chin to the middle of the brows."""
        axis = (self.brow_right.mean(0) + self.brow_left.mean(0)) / 2 - self.contour[16]
        return np.asarray(axis / np.linalg.norm(axis), np.float64)


_MESH = {
    "contour": (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454),
    "brow_right": (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    "brow_left": (336, 296, 334, 293, 300, 276, 283, 282, 295, 285),
    "eye_right": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    "eye_left": (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
    "bridge": (168, 6, 197, 195, 5, 4),
    "base": (64, 98, 97, 2, 326, 327, 294),
    "lips": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
}
_IBUG = {
    "contour": range(17), "brow_right": range(17, 22), "brow_left": range(22, 27), "eye_right": range(36, 42),
    "eye_left": range(42, 48), "bridge": range(27, 31), "base": range(31, 36), "lips": range(48, 60),
}  # fmt: skip
_WFLW = {
    "contour": range(33), "brow_right": range(33, 42), "brow_left": range(42, 51), "eye_right": range(60, 68),
    "eye_left": range(68, 76), "bridge": range(51, 55), "base": range(55, 60), "lips": range(76, 88),
}  # fmt: skip
_INDEX: Mapping[int, Mapping[str, Sequence[int]]] = {68: _IBUG, 98: _WFLW, 468: _MESH}
LANDMARK_COUNTS: tuple[int, ...] = (5, *_INDEX)


def face_parts(landmarks: npt.ArrayLike) -> FaceParts:
    """Return the named parts of one face.

    Args: landmarks (L,2): 5 detector points, 68 iBUG, 98 WFLW or 468 mesh points. Five points are completed by the mean
        face.
    Raises: UsageError for any other count.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape == (5, 2):
        points = complete_from_five(points)
    index = _INDEX.get(len(points))
    if index is None or points.ndim != 2 or points.shape[1] != 2:
        raise UsageError(f"Landmarks must be (L,2) with L one of {LANDMARK_COUNTS}; got {points.shape}.")
    parts = {name: points[list(which)] for name, which in index.items()}
    parts["contour"] = _chin_at_16(parts["contour"])
    return FaceParts(**parts)


def complete_from_five(keypoints: npt.ArrayLike) -> Float64:
    """Return 68 points (68,2) for the detector's five: the mean face moved there by the best similarity."""
    from lineament.data.mean_face import MEAN_FACE_5, MEAN_FACE_68
    from lineament.geometry import transform_points, umeyama

    to = umeyama(MEAN_FACE_5, np.asarray(keypoints, np.float64))
    return np.asarray(transform_points(to, MEAN_FACE_68), np.float64)


def _chin_at_16(contour: Float64) -> Float64:
    """Return the contour as 33 points, each half (ear to chin) evenly spaced by arc length."""
    middle = len(contour) // 2
    right, left = _resample(contour[: middle + 1], 17), _resample(contour[middle:], 17)
    return np.concatenate([right, left[1:]])


def _resample(line: Float64, count: int) -> Float64:
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    want = np.linspace(0.0, at[-1], count)
    return np.stack([np.interp(want, at, line[:, axis]) for axis in (0, 1)], axis=1)


def hull(points: npt.ArrayLike) -> Float64:
    """Return the convex hull (P,2) of points, counter-clockwise (in x right, y up), without collinear points.

    >>> hull([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2]]).tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]
    """
    ordered = sorted({(float(x), float(y)) for x, y in np.asarray(points, np.float64)})
    if len(ordered) < 3:
        return np.array(ordered, np.float64).reshape(-1, 2)
    return np.array(_half_hull(ordered)[:-1] + _half_hull(ordered[::-1])[:-1], np.float64)


def _half_hull(ordered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    chain: list[tuple[float, float]] = []
    for x, y in ordered:
        while len(chain) > 1:
            (ax, ay), (bx, by) = chain[-2], chain[-1]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def dilated_hull(points: npt.ArrayLike, radius: float) -> Float64:
    """Return the hull of the points widened by `radius` pixels all round (16-gon corners)."""
    outline = hull(points)
    if radius <= 0:
        return outline
    angle = np.arange(16) * (2 * np.pi / 16)
    ring = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return hull((outline[:, None] + ring[None]).reshape(-1, 2))


def group_polygons(landmarks: npt.ArrayLike, style: str = "paper") -> dict[str, list[Float64]]:
    """Return the polygons of each group of one face, name -> list of (P,2); a group's region is their union.

    Args: landmarks (L,2), see `face_parts`; style `paper` (the reconstruction in wide polygons) or `tight` (no
    dilation, the eyes as one hull per side, no Ear, Hair and Object: no landmark lies there and parsing masks give
    them).
    Source: arXiv 2601.01408; all numbers reconstructed.
    """
    if style not in STYLES:
        raise UsageError(f"Unknown region style {style!r}. Use one of: {', '.join(STYLES)}.")
    parts = face_parts(landmarks)
    return _tight(parts) if style == "tight" else _paper(parts)


def _tight(p: FaceParts) -> dict[str, list[Float64]]:
    inner_right, inner_left = p.eye_right[len(p.eye_right) // 2], p.eye_left[:1][0]
    return {
        "Mouth": [hull(p.lips)],
        "Lower Face": [hull(np.concatenate([p.contour[5:28], p.base]))],
        "Cheeks": _cheeks(p),
        "Nose": [hull(np.concatenate([p.bridge, p.base, [inner_right, inner_left]]))],
        "Eyes": [hull(np.concatenate([p.brow_right, p.eye_right])), hull(np.concatenate([p.brow_left, p.eye_left]))],
    }


def _cheeks(p: FaceParts) -> list[Float64]:
    corner_right, corner_left = p.lips[0], p.lips[len(p.lips) // 2]
    lower_right, lower_left = (eye[len(eye) // 2 + 1 :].mean(0) for eye in (p.eye_right, p.eye_left))
    outer_right, outer_left = p.eye_right[0], p.eye_left[len(p.eye_left) // 2]
    return [
        hull(np.concatenate([p.contour[3:11], [corner_right, p.base[0], outer_right, lower_right]])),
        hull(np.concatenate([p.contour[22:30], [corner_left, p.base[-1], outer_left, lower_left]])),
    ]


def _paper(p: FaceParts) -> dict[str, list[Float64]]:
    d, up = p.pupil_distance, p.up
    eyes, brows = np.concatenate([p.eye_right, p.eye_left]), np.concatenate([p.brow_right, p.brow_left])
    inner = np.stack([p.eye_right[len(p.eye_right) // 2], p.eye_left[0]])
    polygons = {
        "Mouth": [dilated_hull(p.lips, 0.15 * d)],
        "Ear": _ears(p),
        "Lower Face": [hull(np.concatenate([p.contour[5:28], p.base, p.contour[10:23] - 0.25 * d * up]))],
        "Cheeks": _cheeks(p),
        "Nose": [dilated_hull(np.concatenate([p.bridge, p.base, inner]), 0.10 * d)],
        "Eyes": [dilated_hull(np.concatenate([brows, eyes, eyes - 0.35 * d * up]), 0.10 * d)],
        "Hair": [_hair(p)],
    }
    polygons["Object"] = [hull(np.concatenate([polygon for shapes in polygons.values() for polygon in shapes]))]
    return {name: polygons[name] for name in GROUPS}


def _sideways(p: FaceParts) -> Float64:
    """Unit vector towards the image's right (the subject's left side)."""
    return np.array([-p.up[1], p.up[0]])


def _ears(p: FaceParts) -> list[Float64]:
    out, down = 0.45 * p.pupil_distance * _sideways(p), -0.35 * p.pupil_distance * p.up
    boxes = []
    for points, shift in ((p.contour[:6], -out), (p.contour[27:], out)):
        both = np.concatenate([points, points + shift])
        boxes.append(hull(np.concatenate([both, both + down])))
    return boxes


def _hair(p: FaceParts) -> Float64:
    """Return the extrapolated hair band; the part over brows and eyes is removed when drawn
    (`region_from_landmarks`)."""
    base = np.concatenate([p.brow_right, p.brow_left, p.contour[[0, 32]]])
    lift, side = 1.6 * p.pupil_distance * p.up, 0.5 * p.pupil_distance * _sideways(p)
    return hull(np.concatenate([base, base + lift - side, base + lift + side]))


def rasterize(polygons: Sequence[Float64], size: tuple[int, int]) -> Bool:
    """Return the union of polygons as a mask (h,w): a pixel is in exactly when its centre is (even-odd rule, any
    polygon)."""
    mask = np.zeros(size, np.bool_)
    for polygon in polygons:
        if len(polygon) > 2:
            mask |= _fill(polygon, size)
    return mask


def _fill(polygon: Float64, size: tuple[int, int]) -> Bool:
    """Count, for every pixel centre, the edges crossed on the way from the left: odd is inside."""
    h, w = size
    (ax, ay), (bx, by) = polygon.T[..., None], np.roll(polygon, -1, 0).T[..., None]
    rows = np.arange(h) + 0.5
    crosses = (ay <= rows) != (by <= rows)  # (edges, h)
    edge, row = np.nonzero(crosses)
    slope = (bx - ax)[edge, 0] / (by - ay)[edge, 0]
    column = np.ceil(ax[edge, 0] + (rows[row] - ay[edge, 0]) * slope - 0.5)
    turns = np.zeros((h, w + 1), np.int64)
    np.add.at(turns, (row, np.clip(column, 0, w).astype(np.intp)), 1)
    return np.asarray(np.cumsum(turns, axis=1)[:, :w] % 2 == 1)


def region_from_landmarks(landmarks: npt.ArrayLike, size: tuple[int, int], style: str = "paper") -> tuple[Bool, Bool]:
    """Return region (K,h,w) and known (K,) of one face from its landmarks.

    Args: landmarks (L,2) in pixels of the frame; size (h, w) of the frame; style as in `group_polygons`.
    """
    polygons = group_polygons(landmarks, style)
    region = np.stack([rasterize(polygons.get(name, []), size) for name in GROUPS])
    if style == "paper":
        parts = face_parts(landmarks)
        window = np.concatenate([parts.brow_right, parts.brow_left, parts.eye_right, parts.eye_left])
        region[GROUPS.index("Hair")] &= ~rasterize([hull(window)], size)
    return region, np.array([name in polygons for name in GROUPS])


def mean_region(size: tuple[int, int] = (218, 178), style: str = "paper") -> Bool:
    """Return the fixed mean-shape region (K,h,w) of the aligned crop: the control that says whether learned masks
    matter.

    Args: size (h, w): the crop 178x218 is scaled to it.
    """
    from lineament.data.mean_face import MEAN_FACE_68

    scale = np.array([size[1] / 178.0, size[0] / 218.0])
    return region_from_landmarks(MEAN_FACE_68 * scale, size, style)[0]
