"""Lineament: photos in, and for every face 40 named answers with probabilities that mean what they say.

>>> import lineament
>>> lineament.__version__.count(".")
2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lineament import errors, offline

offline.silence(
    "onnxruntime"
)  # it asks when its library loads, which is later: whatever of ours is used, this module comes first

__version__ = "0.1.0"
__all__ = ["Model", "Report", "__version__", "errors", "load"]

if TYPE_CHECKING:
    from lineament.api import Model, load
    from lineament.types import Report

_HOMES = {"load": "lineament.api", "Model": "lineament.api", "Report": "lineament.types"}


def __getattr__(name: str) -> Any:
    """Import the front door when it is first used, so that `import lineament` costs milliseconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lineament' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
