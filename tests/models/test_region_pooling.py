"""Masks on a stage's grid: a slow NumPy oracle, what must stay (area), and that small parts really are there where
trainings look."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lineament.data.regions import mean_region  # noqa: E402
from lineament.models.region_pooling import by_area, masked_average, on_grid, pooling_shares  # noqa: E402

Float = npt.NDArray[np.float64]
GRIDS = ((30, 24), (15, 12), (8, 6), (27, 22), (14, 11), (7, 6), (22, 18), (11, 9), (6, 5), (4, 4))
"""Stages 3 to 5 at 235x192, 216x176 and 176x144, and the last stage of the old ablations."""


def area_slowly(mask: Float, grid: tuple[int, int]) -> Float:
    """Cell means of a mask (H,W) by its integral: summed up along each axis, read between samples, differences
    taken."""
    for axis, cells in enumerate(grid):
        along = np.moveaxis(mask, axis, 0)
        integral = np.concatenate([np.zeros((1, along.shape[1])), np.cumsum(along, 0)])
        at = np.linspace(0, len(along), cells + 1)
        read = np.stack([np.interp(at, np.arange(len(along) + 1), column) for column in integral.T], 1)
        mask = np.moveaxis(np.diff(read, axis=0) / (len(along) / cells), 0, axis)
    return mask


@pytest.mark.parametrize("grid", [(8, 6), (3, 5), (30, 24), (17, 13), (1, 1), (55, 45)])
@pytest.mark.parametrize("given", [(55, 45), (9, 7), (109, 89)])
def test_a_cell_is_the_mean_of_what_it_covers(given: tuple[int, int], grid: tuple[int, int]) -> None:
    masks = np.random.default_rng(0).random((2, 3, *given))
    got = by_area(torch.from_numpy(masks), grid).numpy()
    expected = np.array([[area_slowly(mask, grid) for mask in face] for face in masks])
    np.testing.assert_allclose(got, expected, atol=1e-5)


@given(st.tuples(*[st.integers(1, 40)] * 4), st.integers(0, 1000))
def test_no_area_is_lost_or_made(sizes: tuple[int, int, int, int], seed: int) -> None:
    masks = torch.rand(1, 2, *sizes[:2], generator=torch.Generator().manual_seed(seed))
    small = by_area(masks, sizes[2:])
    torch.testing.assert_close(small.mean((2, 3)), masks.mean((2, 3)), rtol=1e-4, atol=1e-6)
    assert float(small.min()) >= 0
    assert float(small.max()) <= 1 + 1e-5


@pytest.mark.parametrize("grid", GRIDS)
def test_every_group_s_mass_on_a_stage_s_grid_is_its_area(grid: tuple[int, int]) -> None:
    """In cells: what the group's area comes to on this grid. Sampled at points, small parts were lost; it is shown that
    they were."""
    region = torch.from_numpy(mean_region()).float().unsqueeze(0)
    feature = torch.zeros(1, 1, *grid)
    area = region.mean((2, 3)) * grid[0] * grid[1]
    torch.testing.assert_close(on_grid(region, feature).sum((2, 3)), area, rtol=1e-4, atol=1e-4)
    assert float(area.min()) > 0.15, "even the smallest part has a place"
    if grid in ((8, 6), (7, 6), (4, 4)):
        sampled = on_grid(region, feature, "bilinear").sum((2, 3))
        lost = (area - sampled).abs() / area > 0.5
        assert lost.any(), "a part that sampling at points loses by more than half"


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_autocast_does_not_round_areas(kind: str) -> None:
    masks = torch.rand(2, 8, 55, 45)
    with torch.autocast("cpu", getattr(torch, kind)):
        assert torch.equal(by_area(masks, (8, 6)), by_area(masks.float(), (8, 6)))
        under = by_area(masks, (8, 6))
    assert under.dtype == torch.float32
    assert torch.equal(under, by_area(masks, (8, 6)))


def test_the_floor_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    feature, masks, floor = rng.normal(size=(2, 3, 4, 5)), rng.random((2, 6, 4, 5)), 0.7
    expected = [
        [[((m * f).sum() + floor * f.mean()) / (m.sum() + floor) for f in face] for m in regions]
        for face, regions in zip(feature, masks, strict=True)
    ]
    got = masked_average(torch.tensor(feature), torch.tensor(masks), floor=floor)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4)
    shares = pooling_shares(torch.tensor(masks), floor=floor)
    torch.testing.assert_close(shares.sum((2, 3)), torch.ones(2, 6))


def test_a_part_that_is_not_there_falls_back_to_the_whole() -> None:
    """With a sigmoid's tails in place of a part the average without a floor is of noise; with one it is nearly that of
    the whole map."""
    feature = torch.rand(1, 3, 8, 6)
    whole = feature.mean((2, 3))
    torch.testing.assert_close(masked_average(feature, torch.zeros(1, 1, 8, 6), floor=0.1)[:, 0], whole)
    tails = torch.zeros(1, 1, 8, 6)
    tails[..., 0, 0] = 2e-4
    far, near = (masked_average(feature, tails, floor=floor)[:, 0] for floor in (0.0, 0.1))
    assert (near - whole).abs().max() < 0.01 < (far - whole).abs().max()
