"""Crop cache, identity split and batch order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.data.labelled import LabelledFiles, Subset
from lineament.data.loader import CropCache, balancing, batches, decode_crop, epoch_order, split_by_identity
from lineament.errors import DataError


class Toy:
    """A source of n PNG crops, each of one grey level."""

    def __init__(self, n: int) -> None:
        identity = np.arange(n) // 3
        self.table = LabelledFiles(
            tuple(f"{i}.png" for i in range(n)), ("A", "B"), np.zeros((n, 2), np.int8), np.ones((n, 2), bool), identity
        )

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
    order = epoch_order(rows, seed=1, epoch=2)
    whole = list(batches(order, 8))
    assert len(whole) == 12
    assert len(np.unique(np.concatenate(whole))) == 96
    for left, right in zip(whole[5:], batches(order, 8, first_step=5), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(whole[0], next(batches(epoch_order(rows, seed=1, epoch=3), 8)))


def test_the_order_of_an_epoch_is_what_runs_already_made_with_it_know() -> None:
    np.testing.assert_array_equal(
        epoch_order(np.arange(50), 7, 3), np.random.default_rng([7, 3]).permutation(np.arange(50))
    )


def test_a_stream_reads_few_blocks_at_a_time_and_every_row_once() -> None:
    rows, blocks = np.arange(100), np.arange(100) // 10
    order = epoch_order(rows, 1, 0, blocks=blocks)
    assert sorted(order.tolist()) == rows.tolist()
    for part in np.split(blocks[order], 5):  # two blocks of ten rows are mixed
        assert len(set(part.tolist())) == 2
        assert np.abs(np.diff(part)).sum() > abs(int(part[-1]) - int(part[0])), "not one block after the other"
    assert not np.array_equal(order, epoch_order(rows, 1, 1, blocks=blocks))


def test_balance_shows_rare_classes_as_often_as_it_says() -> None:
    targets = np.zeros((200, 1), np.int8)
    targets[:20] = 1
    table = LabelledFiles(tuple(map(str, range(200))), ("A",), targets, np.ones((200, 1), bool))
    rows = np.arange(200)
    assert balancing(table, rows, 0) is None
    weight = balancing(table, rows, 1.0)
    assert weight is not None
    assert weight.mean() == pytest.approx(1)
    order = epoch_order(rows, 0, 0, weight=weight)
    assert len(order) == 200
    assert (
        abs(int(targets[order].sum()) - 100) <= 20
    )  # half of what is seen has it, within the rounding of systematic resampling
    seen = np.mean([targets[epoch_order(rows, 0, epoch, weight=weight)].sum() for epoch in range(30)])
    assert seen == pytest.approx(100, abs=3)
    streamed = epoch_order(rows, 0, 0, weight=weight, blocks=rows // 50)
    assert sorted(streamed.tolist()) == sorted(order.tolist())


def test_balance_ignores_unknown_labels() -> None:
    known = np.ones((10, 2), bool)
    known[3] = False
    table = LabelledFiles(tuple(map(str, range(10))), ("A", "B"), np.eye(10, 2, dtype=np.int8), known)
    weight = balancing(table, np.arange(10), 1.0)
    assert weight is not None
    assert np.isfinite(weight).all()
    assert weight[3] == pytest.approx(weight[[*range(3), *range(4, 10)]].mean())


def test_a_subset_reads_the_rows_it_names() -> None:
    subset = Subset(Toy(9), [4, 2])
    assert subset.table.files == ("4.png", "2.png")
    assert decode_crop(subset.read_bytes(1))[0, 0, 0] == 2


def test_a_file_listed_twice_is_refused() -> None:
    with pytest.raises(DataError, match="twice"):
        LabelledFiles(("a", "a"), ("A",), np.zeros((2, 1), np.int8), np.ones((2, 1), bool))
