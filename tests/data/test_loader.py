"""Crop cache, identity split and batch order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.data.labelled import LabelledFiles, Subset
from lineament.data.loader import CropCache, batches, decode_crop, split_by_identity
from lineament.errors import DataError


class Toy:
    """A source of n PNG crops, each of one grey level."""

    def __init__(self, n: int) -> None:
        identity = np.arange(n) // 3
        self.table = LabelledFiles(tuple(f"{i}.png" for i in range(n)), ("A", "B"), np.zeros((n, 2), np.int8), np.ones((n, 2), bool), identity)

    def read_bytes(self, row: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (178, 218), (row, 0, 255 - row)).save(buffer, "PNG")
        return buffer.getvalue()


def test_cache_holds_every_crop_once_and_is_read_back(tmp_path: Path) -> None:
    first = CropCache(Toy(7), tmp_path)
    assert first.crops.shape == (7, 3, 218, 178)
    assert [int(first.crops[i, 0, 0, 0]) for i in range(7)] == list(range(7))
    stamp = first.path.stat().st_mtime_ns
    again = CropCache(Toy(7), tmp_path)
    assert again.path.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(again.crops, first.crops)


def test_a_cache_cut_off_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    first = CropCache(Toy(3), tmp_path)
    first.path.with_suffix(".json").unlink()
    np.asarray(first.crops)
    assert int(CropCache(Toy(3), tmp_path).crops[2, 0, 5, 5]) == 2


def test_no_images_is_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path"):
        CropCache(Toy(0), tmp_path)


def test_other_sizes_are_resized_to_the_crop() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (356, 436), (9, 8, 7)).save(buffer, "PNG")
    assert decode_crop(buffer.getvalue()).shape == (3, 218, 178)


def test_no_person_is_on_both_sides() -> None:
    table = Toy(60).table
    train, held = split_by_identity(table, 10, seed=4)
    assert sorted([*train, *held]) == list(range(60))
    assert not set(table.identity[train]) & set(table.identity[held])
    assert 10 <= len(held) < 13


def test_an_epoch_shows_each_row_at_most_once_and_resumes_where_it_was() -> None:
    rows = np.arange(100)
    whole = list(batches(rows, 8, seed=1, epoch=2))
    assert len(whole) == 12
    assert len(np.unique(np.concatenate(whole))) == 96
    for left, right in zip(whole[5:], batches(rows, 8, seed=1, epoch=2, first_step=5), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(whole[0], next(batches(rows, 8, seed=1, epoch=3)))


def test_a_subset_reads_the_rows_it_names() -> None:
    subset = Subset(Toy(9), [4, 2])
    assert subset.table.files == ("4.png", "2.png")
    assert decode_crop(subset.read_bytes(1))[0, 0, 0] == 2


def test_a_file_listed_twice_is_refused() -> None:
    with pytest.raises(DataError, match="twice"):
        LabelledFiles(("a", "a"), ("A",), np.zeros((2, 1), np.int8), np.ones((2, 1), bool))
