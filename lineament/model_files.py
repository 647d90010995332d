"""Where model files lie: one search path for networks by name, trainable weights, region networks and pretrained
trunks.

1. the package itself  2. the folders in LINEAMENT_MODELS  3. installed data-only packages (entry point group
   `lineament.models`)  4. a checkout

In a folder a model called NAME is `NAME/model.onnx` (or `NAME.onnx`), its trainable weights `NAME/model.safetensors`
(or `NAME.safetensors`), else the ONNX file itself. The first place that holds a name is taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

VARIABLE = "LINEAMENT_MODELS"
ENTRY_POINTS = "lineament.models"
"""A package says where its model files are by an entry point of this group: a function without arguments that returns
the folder."""


SAME_AS = {"branched": "default"}
"""Names of weights that are kept once, under another name."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder on the search path, and in words how it came there."""

    path: Path
    origin: str


def checkout_systems() -> Path:
    """Return `results/systems` of a source checkout, where the trained comparison systems lie (it may not exist)."""
    return Path(__file__).resolve().parent.parent / "results" / "systems"


def model_folders() -> Iterator[ModelFolder]:
    """Yield the folders of the search path after the package's own, in order: those of LINEAMENT_MODELS, of data-only
    packages, of a checkout."""
    for name in os.environ.get(VARIABLE, "").split(os.pathsep):
        if name:
            yield ModelFolder(Path(name).expanduser(), VARIABLE)
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        folder = point.load()()
        yield ModelFolder(Path(folder), point.dist.name if point.dist is not None else point.name)
    if checkout_systems().is_dir():
        yield ModelFolder(checkout_systems(), "checkout")
