"""Trained comparison systems of Lineament, found through the entry point group `lineament.models`."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the folder of the models: NAME/model.onnx, NAME/model.safetensors, NAME/model.card.json."""
    return Path(__file__).resolve().parent / "models"
