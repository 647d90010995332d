"""Tiles: every small box lies whole in one, at the photo's own scale; bounded work; plain ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.detection import tiles
from lineament.detection.tiles import PLAIN, SIDE, Tile, cut, is_plain, spans


def whole_somewhere(box: tuple[int, int, int, int], parts: list[Tile]) -> bool:
    """The oracle: does any tile hold the whole box?"""
    x1, y1, x2, y2 = box
    return any(part.x1 <= x1 and part.y1 <= y1 and x2 <= part.x2 and y2 <= part.y2 for part in parts)


@settings(max_examples=200, deadline=None)
@given(st.integers(20, 30_000), st.integers(20, 30_000), st.integers(32, 600), st.data())
def test_every_box_up_to_the_overlap_lies_whole_in_a_tile(
    height: int, width: int, overlap: int, data: st.DataObject
) -> None:
    parts = cut((height, width), overlap)
    side_x, side_y = (data.draw(st.integers(20, min(overlap, length))) for length in (width, height))
    x, y = data.draw(st.integers(0, width - side_x)), data.draw(st.integers(0, height - side_y))
    assert whole_somewhere((x, y, x + side_x, y + side_y), parts)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(2, 400), st.data())
def test_every_place_on_a_line_is_covered(length: int, side: int, data: st.DataObject) -> None:
    """All places, not some: every stretch of `overlap` pixels lies in one span, none of them too long."""
    overlap = data.draw(st.integers(1, side - 1))
    found = spans(length, side, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(0 < last - first <= side for first, last in found)
    stretch = min(overlap, length)
    held = np.zeros(length - stretch + 1, bool)
    for first, last in found:
        held[first : last - stretch + 1] = True
    assert held.all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(20, 600))
def test_tiles_lie_in_the_photo_and_do_not_multiply_the_work(height: int, width: int, overlap: int) -> None:
    parts = cut((height, width), overlap)
    assert all(0 <= part.x1 < part.x2 <= width and 0 <= part.y1 < part.y2 <= height for part in parts)
    assert max(max(part.x2 - part.x1, part.y2 - part.y1) for part in parts) <= max(SIDE, 2 * overlap)
    area = sum((part.x2 - part.x1) * (part.y2 - part.y1) for part in parts)
    assert area <= 4.1 * height * width


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.integers(2, 400), st.data())
def test_there_are_as_few_spans_as_can_be(length: int, side: int, data: st.DataObject) -> None:
    """The oracle adds spans, each sharing the overlap with the one before, until they reach."""
    overlap = data.draw(st.integers(1, side - 1))
    fewest, reach = 1, side
    while reach < length:
        fewest, reach = fewest + 1, reach + side - overlap
    assert len(spans(length, side, overlap)) == fewest


def test_no_more_tiles_than_needed() -> None:
    assert spans(100, 100, 20) == [(0, 100)]
    assert spans(101, 100, 20) == [(0, 61), (40, 101)]
    assert len(cut((1000, 12000), 300)) == 10
    assert len(cut((4000, 6000), 150)) == 15


def test_a_tile_is_a_view_of_the_photo() -> None:
    photo = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    part = Tile(2, 1, 5, 7).of(photo)
    assert part.shape == (6, 3, 3)
    assert np.shares_memory(part, photo)
    np.testing.assert_array_equal(part[0, 0], photo[1, 2])


def test_only_one_colour_is_plain() -> None:
    photo = np.full((40, 50, 3), 100, np.uint8)
    assert is_plain(photo)
    photo[20, 30, 1] += PLAIN
    assert is_plain(photo)
    photo[20, 30, 1] += 1
    assert not is_plain(photo)
    photo[:] = (0, 128, 255)
    assert is_plain(photo), "one colour, however far apart its channels"
    assert tiles.SIDE % 32 == 0
