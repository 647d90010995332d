"""Configs: unknown keys, wrong types and unset variables are errors that name their place; every shipped config is a
claim that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lineament.config import TrainConfig, expand, from_dict, load_config
from lineament.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "lineament" / "configs"


def test_defaults_fill_what_is_not_said() -> None:
    config = from_dict({"name": "x", "model": {"name": "mgmtn", "input_size": [64, 48]}})
    assert (config.model.name, config.model.input_size, config.optimiser.batch) == ("mgmtn", (64, 48), 64)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "Missing key name"),
        ({"name": "x", "modell": {}}, "modell"),
        ({"name": "x", "model": {"nam": "y"}}, "model.nam"),
        ({"name": "x", "model": {"input_size": [1]}}, "model.input_size: expected a list of 2"),
        ({"name": "x", "optimiser": {"epochs": "five"}}, "optimiser.epochs: expected int"),
        ({"name": "x", "optimiser": {"epochs": True}}, "optimiser.epochs: expected int"),
        ({"name": "x", "optimiser": {"lr": "quick"}}, "optimiser.lr: expected a number"),
        ({"name": "x", "augment": {"flip": 1}}, "augment.flip: expected bool"),
        ({"name": "x", "data": "folder"}, "data.: expected a mapping"),
    ],
)
def test_a_wrong_config_names_its_place(record: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        from_dict(record)


def test_a_config_survives_the_round_trip() -> None:
    config = from_dict({"name": "x", "seed": 3, "augment": {"crop": None}, "loss": {"options": {"gamma": 2.0}}})
    assert from_dict(config.to_dict()) == config


def test_paths_take_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAMENT_DATA", "/somewhere")
    assert expand("$LINEAMENT_DATA/a") == expand("${LINEAMENT_DATA}/a") == Path("/somewhere/a")
    monkeypatch.delenv("LINEAMENT_NOWHERE", raising=False)
    with pytest.raises(ConfigError, match="LINEAMENT_NOWHERE"):
        expand("$LINEAMENT_NOWHERE/a")


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "torn.yaml").write_text("name: [")
    for name, words in (("list.yaml", "mapping"), ("torn.yaml", "not YAML"), ("none.yaml", "No config")):
        with pytest.raises(ConfigError, match=words):
            load_config(tmp_path / name)


def test_the_default_config_is_a_whole_claim() -> None:
    config = load_config(CONFIGS / "shipped" / "v0.yaml")
    assert isinstance(config, TrainConfig)
    assert all(
        [config.claim.source, config.claim.command, config.claim.cost, config.claim.expected, config.claim.licence]
    )
    assert "research only" in config.claim.licence


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("optimiser", {"lr": 0}, "optimiser.lr must be above 0.0, not 0.0"),
        ("optimiser", {"lr": float("nan")}, "optimiser.lr must be above"),
        ("optimiser", {"batch": 0}, "optimiser.batch must be at least 1"),
        ("optimiser", {"epochs": 0}, "optimiser.epochs must be at least 1"),
        ("optimiser", {"ema": 1.0}, "optimiser.ema must be below 1.0"),
        ("optimiser", {"name": "adam"}, "optimiser.name must be one of adamw, sgd, not 'adam'"),
        ("optimiser", {"precision": "fp8"}, "optimiser.precision must be one of fp32, bf16, fp16"),
        ("optimiser", {"patience": 0}, "optimiser.patience must be at least 1"),
        ("data", {"limit": 0}, "data.limit must be at least 1"),
        ("data", {"balance": -1}, "data.balance must be at least 0.0"),
        ("augment", {"crop": [0, 5]}, "augment.crop must be at least 1"),
        ("augment", {"brightness": 1.0}, "augment.brightness must be below 1.0"),
        ("loss", {"distill": 1.5}, "loss.distill must be at most 1.0"),
        ("weighting", {"windows": 0}, "weighting.windows must be at least 1"),
        ("model", {"frozen_stages": -1}, "model.frozen_stages must be at least 0"),
    ],
)
def test_a_value_out_of_bounds_names_its_place(section: str, values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        from_dict({"name": "x", section: values})


def test_patience_needs_images_to_watch() -> None:
    with pytest.raises(ConfigError, match="held-out"):
        from_dict({"name": "x", "data": {"holdout": 0}, "optimiser": {"patience": 2}})
    with pytest.raises(ConfigError, match="seed must be at least 0"):
        from_dict({"name": "x", "seed": -1})
