"""Attention overlays: the maps of a network over example faces, and the share of their energy inside the region an
attribute belongs to.

    crops -> network -> maps (N,M,h,w) -> positive part, resized to the crop -> share inside the expected region

Convention: a class-activation map is cut at 0 (what speaks for yes); a region mask is taken as it is. The expected
region is MGMTN's group of the attribute, drawn from the template's five points (`data.regions`): reconstructed, the
same for every face. Source of the measure: Guenther et al., arXiv 2403.14435 (their acceptable mask ratio); what
differs is the regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from lineament import geometry
from lineament.data.regions import GROUPS, region_from_landmarks
from lineament.schema import MGMTN_GROUPS
from lineament.types import Crops, Float64, ModelOutput, UInt8


@dataclass(frozen=True)
class Overlays:
    """For one attribute: the mean share of energy inside its region (NaN without examples), and the chance share, the
    region's area."""

    share: float
    chance: float
    examples: int
    overlay: UInt8 | None


@lru_cache(maxsize=1)
def _regions() -> npt.NDArray[np.bool_]:
    return region_from_landmarks(geometry.TEMPLATE, geometry.CROP_SIZE)[0]


def expected_region(attribute: str) -> npt.NDArray[np.bool_] | None:
    """Return where an attribute is expected in the crop, (218,178) bool; None for names of no group."""
    for group, members in MGMTN_GROUPS.items():
        if attribute in members:
            return np.asarray(_regions()[list(GROUPS).index(group)])
    return None


def energy(single_map: npt.ArrayLike) -> Float64:
    """Return a map (h,w) as non-negative energy on the crop, (218,178)."""
    positive = np.maximum(np.asarray(single_map, np.float32), 0)
    height, width = geometry.CROP_SIZE
    return np.asarray(Image.fromarray(positive).resize((width, height), Image.Resampling.BILINEAR), np.float64)


def share_inside(energies: Float64, region: npt.NDArray[np.bool_]) -> float:
    """Return the share of energy (218,178) that lies inside a region; NaN without energy.

    >>> share_inside(np.ones((218, 178)), np.ones((218, 178), bool))
    1.0
    """
    total = float(energies.sum())
    return float(energies[region].sum()) / total if total > 0 else float("nan")


_LEVELS = (0.25, 0.5, 0.75)
_RAMP = np.array([[59, 76, 152], [38, 150, 148], [248, 215, 90], [222, 84, 45]], np.float64)
"""Colours of a map from little to much: blue, teal, yellow, red; told apart in grey too, since each is drawn stronger
than the one before."""


def overlay(pixels: UInt8, energies: Float64) -> UInt8:
    """Return a crop (3,218,178) with its energy drawn over it as a map, (218,178,3).

    Convention: colour and strength grow with the share of the largest energy; lines stand at a quarter, a half and
    three quarters of it. Under a tenth nothing is drawn. Cells of a coarse map are smoothed, so that what is seen is
    where, not the grid.
    """
    heat = _smooth(energies)
    heat = heat / max(float(heat.max()), 1e-9)
    place = np.clip(heat, 0, 1) * (len(_RAMP) - 1)
    lower = np.minimum(place.astype(np.intp), len(_RAMP) - 2)
    part = (place - lower)[..., None]
    paint = _RAMP[lower] * (1 - part) + _RAMP[lower + 1] * part
    strength = np.clip((heat - 0.1) / 0.9, 0, 1)[..., None] ** 0.7 * 0.62
    painted = pixels.transpose(1, 2, 0) * (1 - strength) + paint * strength
    for level in _LEVELS:
        painted[_edge(heat >= level)] = 255
    return np.asarray(painted, np.uint8)


def _smooth(energies: Float64, radius: float = 7) -> Float64:
    """Return energies (H,W) blurred by a Gaussian of `radius` pixels."""
    most = max(float(energies.max()), 1e-9)
    blurred = Image.fromarray((energies / most * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, np.float64) * most / 255


def _edge(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels (H,W) inside an area that have a neighbour outside it."""
    padded = np.pad(inside, 1, constant_values=True)
    return inside & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


def overlays_of(
    crops: Sequence[Crops], network: Callable[[Crops], ModelOutput], of: Sequence[str], attributes: Sequence[str]
) -> dict[str, Overlays]:
    """Return for each attribute where the network looks on the crops it says yes to.

    Args: network: one that gives maps; of: what they are of (the card's `maps.of`): attributes, or groups, whose map
        then serves each member.
    """
    outputs = [(one.pixels[0], network(one)) for one in crops]
    found = {}
    for column, name in enumerate(attributes):
        region = expected_region(name)
        groups = [group for group, members in MGMTN_GROUPS.items() if name in members]
        place = next((list(of).index(key) for key in (name, *groups) if key in of), None)
        if region is None or place is None:
            continue
        said_yes = [(pixels, out) for pixels, out in outputs if out.maps is not None and out.logits[0, column] >= 0]
        yes = [
            (float(out.logits[0, column]), pixels, energy(out.maps[0, place]))
            for pixels, out in said_yes
            if out.maps is not None
        ]
        shares = [share for _, _, energies in yes if not np.isnan(share := share_inside(energies, region))]
        best = max(yes, key=lambda one: one[0], default=None)
        mean = float(np.mean(shares)) if shares else float("nan")
        found[name] = Overlays(mean, float(region.mean()), len(shares), overlay(best[1], best[2]) if best else None)
    return found
