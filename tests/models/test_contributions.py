"""MGMTN's class-activation maps against a slow NumPy head whose gates and norm spreads are held: each cell's part is
what it adds there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.models.backbone import create_backbone, create_preprocess  # noqa: E402
from lineament.models.build import network_class  # noqa: E402
from lineament.models.contributions import onto  # noqa: E402
from lineament.models.region_pooling import deal  # noqa: E402
from lineament.schema import CELEBA_40, MGMTN_GROUPS  # noqa: E402
from lineament.types import Float64  # noqa: E402


def area_slowly(mask: Float64, grid: tuple[int, int]) -> Float64:
    """Cell means of a mask (H,W), on a grid so fine that every cell's border is one of its own."""
    fine = np.kron(mask, np.ones(grid))
    return fine.reshape(grid[0], mask.shape[0], grid[1], mask.shape[1]).mean((1, 3))


def toy(**options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    made = network_class("mgmtn")(
        create_backbone("toy"),
        create_preprocess("toy", (110, 90)),
        CELEBA_40,
        MGMTN_GROUPS,
        width=16,
        hidden=32,
        **options,
    ).eval()
    norm = made.fuse[1]
    for tensor, low, high in (
        (norm.running_mean, -1, 1),
        (norm.running_var, 0.5, 2),
        (norm.weight, 0.5, 2),
        (norm.bias, -1, 1),
    ):
        torch.nn.init.uniform_(tensor, low, high)
    return made


def inputs(network: torch.nn.Module) -> torch.Tensor:
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 218, 178), np.uint8))
    return network.preprocess(crops)  # type: ignore[no-any-return, operator]


def array(tensor: torch.Tensor) -> Float64:
    return tensor.detach().double().numpy()


def head_with_spreads_held(network: Any, features: list[Float64], at: list[Float64], masks: Float64 | None) -> Float64:
    """Return the logits (N,A) for `features`, with the ReLUs open and the norms spread as they are for the features
    `at`."""

    def tokens(now: list[Float64]) -> Float64:
        parts = []
        for project, stage in zip(network.project, network.stages, strict=True):
            pooled = []
            for feature in (now[stage], at[stage]):
                if masks is None:
                    weights = np.ones((len(feature), len(network.groups), *feature.shape[2:]))
                else:
                    grid = (feature.shape[2], feature.shape[3])
                    small = np.array([[area_slowly(mask, grid) for mask in face] for face in masks])
                    weights = small + network.floor / (grid[0] * grid[1])
                weights = weights / weights.sum((2, 3), keepdims=True)
                pooled.append(
                    np.einsum("nkhw,nchw->nkc", weights, feature) @ array(project[0].weight).T + array(project[0].bias)
                )
            spread = np.sqrt(pooled[1].var(-1, keepdims=True) + project[1].eps)
            centred = pooled[0] - pooled[0].mean(-1, keepdims=True)
            parts.append(centred / spread * array(project[1].weight) + array(project[1].bias))
        if network.use != "group":
            whole = now[-1].mean((2, 3)) @ array(network.project_whole.weight).T + array(network.project_whole.bias)
            parts.append(np.repeat(whole[:, None], len(network.groups), 1))
        return np.concatenate(parts, 2)

    def unfolded(now: list[Float64]) -> Float64:
        linear, norm = network.fuse[0], network.fuse[1]
        before = tokens(now) @ array(linear.weight).T
        scaled = (before - array(norm.running_mean)) / np.sqrt(array(norm.running_var) + norm.eps)
        return scaled * array(norm.weight) + array(norm.bias)

    gate = unfolded(at) > 0
    fused = unfolded(features) * gate
    flat = np.concatenate(
        [fused[:, j] @ array(head.weight).T + array(head.bias) for j, head in enumerate(network.heads)], 1
    )
    return flat[:, array(network.order).astype(int)]


@pytest.mark.parametrize(
    "options",
    [{"mask": "mean"}, {"mask": "none"}, {"mask": "mean", "use": "group"}, {"mask": "mean", "last_stage_only": True}],
)
def test_the_maps_mean_and_what_no_cell_owns_are_the_logit(options: dict[str, Any]) -> None:
    network = toy(**options)
    x = inputs(network)
    with torch.no_grad():
        output, features = network(x), [array(feature) for feature in network.backbone(x)]
        masks = network.masks(x)
    masks = None if masks is None else array(masks)
    logits = head_with_spreads_held(network, features, features, masks)
    np.testing.assert_allclose(output.logits.numpy(), logits, atol=1e-4)
    rest = head_with_spreads_held(network, [0 * feature for feature in features], features, masks)
    assert output.region.shape[:2] == (2, 40)
    np.testing.assert_allclose(array(output.region).mean((2, 3)), logits - rest, atol=2e-4)


def test_each_cell_is_what_it_adds_alone() -> None:
    network = toy(mask="mean", last_stage_only=True)
    x = inputs(network)
    with torch.no_grad():
        maps, features, masks = (
            array(network(x).region),
            [array(feature) for feature in network.backbone(x)],
            array(network.masks(x)),
        )
    rest = head_with_spreads_held(network, [0 * feature for feature in features], features, masks)
    for row, column in ((0, 0), (1, 2), (maps.shape[2] - 1, maps.shape[3] - 1)):
        alone = [0 * feature for feature in features]
        alone[-1][:, :, row, column] = features[-1][:, :, row, column]
        added = head_with_spreads_held(network, alone, features, masks) - rest
        np.testing.assert_allclose(maps[:, :, row, column] / (maps.shape[2] * maps.shape[3]), added, atol=1e-4)


def test_learned_masks_stay_the_maps() -> None:
    network = toy(mask="learned", region_scale="toy")
    assert network.maps_of() == {"kind": "region", "of": list(MGMTN_GROUPS)}
    with torch.no_grad():
        assert network(inputs(network)).region.shape[1] == len(MGMTN_GROUPS)


@pytest.mark.parametrize(("now", "then"), [(3, 3), (2, 4), (15, 8), (8, 15), (1, 7)])
def test_dealing_out_keeps_the_sum_and_the_place(now: int, then: int) -> None:
    shares = deal(now, then).numpy()
    np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-5)
    assert (shares >= 0).all()
    middles = (np.arange(then) + 0.5) / then
    cell = max(1 / now, 1 / then)
    np.testing.assert_allclose(middles @ shares, (np.arange(now) + 0.5) / now, atol=cell / 2)
    cells = torch.rand(2, 3, now, now)
    torch.testing.assert_close(onto((then, then), cells).sum((2, 3)), cells.sum((2, 3)))
