"""The people no training sees: the same in every copy, whole, and really left out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from lineament.data.reserved import SHARE, is_reserved, reserved
from lineament.data.synthetic import make
from lineament.data.synthetic_files import write_official
from lineament.errors import DataError
from lineament.evaluation.evaluate import open_source


def test_the_people_are_those_that_were_chosen_once() -> None:
    assert [person for person in range(1, 200) if is_reserved(person)] == [
        5,
        7,
        9,
        15,
        43,
        75,
        84,
        104,
        108,
        115,
        146,
        174,
        175,
        178,
    ]
    everyone = np.arange(1, 10_178)  # CelebA's numbers
    chosen = reserved(everyone.astype(np.int64), len(everyone))
    assert chosen.sum() == 733
    assert abs(chosen.mean() - SHARE) < 0.005
    by_hand = [
        int(hashlib.sha256(f"lineament-16:{person}".encode()).hexdigest()[:16], 16) < 0.073 * 2**64
        for person in everyone
    ]
    assert chosen.tolist() == by_hand


def test_people_stay_whole_and_unknown_ones_are_never_reserved() -> None:
    identity = np.array([7, 8, -1, 7, 5, -1], np.int64)
    assert reserved(identity, 6).tolist() == [True, False, False, True, True, False]
    assert not reserved(None, 3).any()


def test_training_and_the_reserved_split_are_the_two_halves(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from lineament.config import DataConfig, TrainConfig
    from lineament.errors import ConfigError
    from lineament.training.dataset import load_rows

    write_official(tmp_path, make(120, seed=3))
    data = {"layout": "official", "path": str(tmp_path), "split": "train"}
    kept, whole = (
        load_rows(TrainConfig("x", data=DataConfig(**data, people=people))).table for people in ("training", "all")
    )
    held = open_source(str(tmp_path), "official", "reserved").table
    assert 0 < len(held) < len(whole)
    assert sorted([*kept.files, *held.files]) == sorted(whole.files)
    assert not set(kept.identity.tolist()) & set(held.identity.tolist())
    table = tmp_path / "labels.csv"
    table.write_text("file,Smiling\na.jpg,1\n")
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="who is who"):
        load_rows(TrainConfig("x", data=DataConfig(layout="table", path=str(table), people="training")))
    with pytest.raises(DataError, match="none of the people reserved"):
        open_source(str(table), "table", "reserved")


def test_the_slice_of_the_shards_is_as_large_as_is_said(data_dir: Path) -> None:
    shards = data_dir / "celeba" / "train-parquet"
    pytest.importorskip("pyarrow")
    held = open_source(str(shards), "parquet", "reserved").table
    whole = open_source(str(shards), "parquet", "all").table
    if len(whole) != 56_330:
        pytest.skip(f"{len(whole)} images here, not the 56,330 of all shards")
    assert (len(held), len(set(held.identity.tolist()))) == (4007, 551)
