"""Features are made comparable by how they spread over many faces, where that is known; else by the examples."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lineament.runtime.card import Card
from lineament.teach import feature_spread
from lineament.teach.feature_spread import read_spread, scale_of
from lineament.teach.logistic import Scale


def network(sha256: str) -> SimpleNamespace:
    return SimpleNamespace(card=Card({"name": "toy", "trained_file_sha256": sha256}))


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A file that knows one network's features: mean and spread (2,6), the last never varies."""
    spread = np.array([[1.0, -2.0, 0.0, 5.0, 0.5, 3.0], [2.0, 0.5, 4.0, 1.0, 10.0, 0.0]], np.float32)
    np.savez_compressed(tmp_path / "spread.npz", **{"a" * 64: spread})
    monkeypatch.setattr(feature_spread, "FILE", tmp_path / "spread.npz")
    return spread


def test_rows_are_scaled_by_the_spread_over_many_faces(known: np.ndarray) -> None:
    x = np.random.default_rng(0).normal(3, 7, (20, 6))
    rows = scale_of(network("a" * 64), x)(x)
    wanted = (x[:, :5] - known[0, :5]) / known[1, :5] / np.sqrt(5)
    np.testing.assert_allclose(rows[:, :5], wanted, rtol=1e-6)
    assert (rows[:, 5] == 0).all(), "what never varies says nothing"
    many = known[0] + known[1] * np.random.default_rng(1).normal(size=(20000, 6))
    assert (scale_of(network("a" * 64), many)(many) ** 2).sum(1).mean() == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize(("sha256", "width"), [("b" * 64, 6), ("", 6), ("a" * 64, 7)])
def test_of_another_network_the_examples_say_it(known: np.ndarray, sha256: str, width: int) -> None:
    x = np.random.default_rng(0).normal(3, 7, (20, width))
    np.testing.assert_array_equal(scale_of(network(sha256), x)(x), Scale.fit(x)(x))


def test_the_file_is_of_the_shipped_networks(default_weights: Path) -> None:
    for name in ("default", "fast"):
        card = json.loads(default_weights.with_name(f"{name}.card.json").read_text("utf-8"))
        spread = read_spread(card["trained_file_sha256"])
        assert spread is not None, "run python scripts/measure_feature_spread.py"
        assert spread.shape == (2, card["features"]["size"] if "features" in card else spread.shape[1])
        assert np.isfinite(spread).all()
        assert (spread[1] >= 0).all()
        assert (spread[1] > 0).mean() > 0.9


def test_a_missing_file_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_spread, "FILE", tmp_path / "none.npz")
    assert read_spread("a" * 64) is None
