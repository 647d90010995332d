"""One forward and one backward step of each system at the paper's true scale, and FAR-AMTN's parameter arithmetic on
the real network."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lineament.models.backbone import create_backbone, create_preprocess  # noqa: E402
from lineament.models.build import network_class  # noqa: E402
from lineament.schema import CELEBA_40, MGMTN_GROUPS  # noqa: E402

pytestmark = pytest.mark.slow
SYSTEMS: dict[str, tuple[str, str, tuple[int, int], dict[str, Any]]] = {
    "mgmtn": ("mgmtn", "resnest50d", (227, 227), {"region_scale": "paper"}),
    "mgmtn-joint": ("mgmtn", "resnest50d", (227, 227), {"region_scale": "paper", "region_trainable": True}),
    "far-amtn-gate": ("far-amtn", "resnet50", (224, 224), {"fusion": "gate"}),
    "far-amtn-concat": ("far-amtn", "resnet50", (224, 224), {"fusion": "concat"}),
    "dmm-cnn": ("dmm-cnn", "resnet50", (224, 224), {"landmarks": 72, "inner": 512, "hidden": 1024}),
    "transfa": ("transfa", "swin_tiny", (224, 224), {"widths": (2048, 512)}),
    "baseline": ("baseline", "resnet50", (224, 224), {}),
}


def build(case: str) -> nn.Module:
    name, trunk, size, options = SYSTEMS[case]
    backbone = create_backbone(trunk, input_size=size)
    return network_class(name)(backbone, create_preprocess(trunk, size), CELEBA_40, MGMTN_GROUPS, **options)


def millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


@pytest.mark.parametrize("case", SYSTEMS)
def test_one_step(case: str) -> None:
    torch.manual_seed(0)
    network = build(case).train()
    crops = torch.randint(0, 256, (2, 3, 218, 178), dtype=torch.uint8)
    output = network(network.preprocess(crops))
    assert output.logits.shape == (2, 40)
    loss = sum(part.square().mean() for part in (output.logits, output.landmarks, output.embedding) if part is not None)
    loss.backward()
    trained = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    before = trained[0].detach().clone()
    torch.optim.SGD(trained, lr=1e-2).step()
    assert not torch.equal(before, trained[0])


def test_far_amtn_parameter_arithmetic() -> None:
    """27.72 M with eight groups, plus fusion and heads; 128.3 M for eight conv5 copies; 54.7 M for eight last
    blocks."""
    trunk = create_backbone("resnet50")
    whole, conv5, last = millions(trunk), millions(trunk.stages[-1]), millions(trunk.stages[-1][-1])
    assert (round(whole - conv5, 3), round(conv5, 3), round(last, 3)) == (8.543, 14.965, 4.463)
    network = build("far-amtn-gate")
    gates = millions(network.gates)
    assert round(gates / 8, 3) == 0.526
    assert round(millions(network.backbone) + gates, 2) == 27.72
    assert round(millions(network.fusion), 1) == 1.6
    assert round(millions(build("far-amtn-concat").fusion), 1) == 8.4
    parts = (network.backbone, network.gates, network.fusion, network.heads)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for part in parts for p in part.parameters())
    assert round(8.543 + 8 * conv5, 1) == 128.3
    assert round(8 * last + whole - last, 1) == 54.7


def test_transfa_branches_are_the_public_code_s() -> None:
    network = build("transfa")
    assert [len(names) for names in network.locations.values()] == [9, 10, 5, 2, 9, 3, 2]
