"""Toy configs of the training tests, and how a run is killed and resumed in one process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lineament.config import TrainConfig, from_dict


def toy(tmp_path: Path, **changes: object) -> TrainConfig:
    record = {
        "name": "toy",
        "model": {"backbone": "toy", "input_size": [64, 52]},
        "data": {"layout": "synthetic", "limit": 48, "holdout": 8, "cache": str(tmp_path / "cache")},
        "augment": {"crop": [58, 48]},
        "optimiser": {"epochs": 2, "batch": 8, "precision": "fp32", "warmup_steps": 2, "lr": 1e-2, "threads": 1},
    }
    return from_dict(record | changes)


def toy_model(name: str, **options: object) -> dict[str, object]:
    """A config's model section with a toy trunk."""
    return {"name": name, "backbone": "toy", "input_size": [64, 52], "options": options}


def optimiser(tmp_path: Path, **changes: object) -> dict[str, object]:
    """The toy's optimiser section with some values changed."""
    return toy(tmp_path).to_dict()["optimiser"] | changes


def finished(config: TrainConfig, out: Path, stop_after: int | None = None):
    """Train to the end, return the weights; with `stop_after`, throw the process state away after that step, keeping
    what the checkpoint holds."""
    from lineament.models.checkpoint import load_tensors
    from lineament.training.trainer import Trainer

    class Killed(Exception):
        pass

    def watch(at: object) -> None:
        if at.step == stop_after:  # type: ignore[attr-defined]
            raise Killed

    if stop_after is not None:
        config = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, checkpoint_minutes=0.0))
        with pytest.raises(Killed):
            Trainer(config, out).run(watch)
    return load_tensors(Trainer(config, out, resume=True).run())[0]
