"""What trained files of earlier formats mean: options whose defaults have changed since, written out, so that old
weights answer as they did.

a checkpoint's config and format -> the config that builds the network it was
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lineament.config import ModelConfig

FORMAT = 3
"""The format of files written now. 1 (or none stated): before masks were resized by area and the heads of the other
systems were rebuilt. 2: before DMM-CNN's pyramid stood beside the plain network's answer."""

_UP_TO: Mapping[int, Mapping[str, Mapping[str, Any]]] = {
    1: {
        "mgmtn": {"mask_resize": "bilinear", "floor": 0.0, "open_object": True},
        "dmm-cnn": {"judging": "deep", "judging_stages": 1, "landmark_grid": 1, "landmark_stage": 5},
        "transfa": {"reads": "pooled"},
        "far-amtn": {"learned_skip": False, "linear": False, "fusion_tokens": "plain"},
    },
    2: {"dmm-cnn": {"beside": False}},
}
"""What formats up to this one did where their config is silent."""


def as_it_was(model: ModelConfig, written: int) -> ModelConfig:
    """Return the model section of a file of format `written` with every default of its time said aloud."""
    if written >= FORMAT:
        return model
    return replace(model, options=_options(model.name, model.options, written))


def _options(name: str, options: Mapping[str, Any], written: int) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for last, said in _UP_TO.items():
        if written <= last:
            filled |= said.get(name, {})
    filled |= options
    if name == "branched":
        filled["branches"] = [
            dict(branch) | {"options": _options(branch["name"], branch.get("options", {}), written)}
            for branch in options["branches"]
        ]
    return filled
