"""Every network through the contract suite: with the toy trunk here, at paper scale when slow tests are asked for."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from lineament import testing  # noqa: E402
from lineament.errors import ConfigError, UsageError  # noqa: E402
from lineament.models.backbone import create_backbone, create_preprocess  # noqa: E402
from lineament.models.build import groups_for, network_class  # noqa: E402
from lineament.models.layers import TorchOutput  # noqa: E402
from lineament.schema import CELEBA_40, MGMTN_GROUPS  # noqa: E402

TOY_SIZE = (110, 90)
MGMTN_TOY = {"region_scale": "toy", "width": 16, "hidden": 32, "dropout": 0.0}
BRANCHES: dict[str, Any] = {
    "shared": 2,
    "branches": [
        {"name": "baseline", "options": {"dropout": 0.0}},
        {"name": "mgmtn", "options": MGMTN_TOY | {"mask": "mean"}},
    ],
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("baseline", {"dropout": 0.0}),
    "mgmtn": ("mgmtn", MGMTN_TOY),
    "far-amtn": ("far-amtn", {"dropout": 0.0, "fusion_size": 16, "reduction": 2}),
    "dmm-cnn": ("dmm-cnn", {"inner": 16, "hidden": 32, "dropout": 0.0}),
    "transfa": ("transfa", {"widths": (32, 16), "size": 32, "heads": 2, "identity": 8, "dropout": 0.0}),
    "mgrr": ("mgrr", {"size": 32, "heads": 2, "dropout": 0.0}),
    "branched": ("branched", BRANCHES),
}
SWITCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "mgmtn-mean": ("mgmtn", MGMTN_TOY | {"mask": "mean"}),
    "mgmtn-none": ("mgmtn", MGMTN_TOY | {"mask": "none"}),
    "mgmtn-hard": ("mgmtn", MGMTN_TOY | {"soft": False}),
    "mgmtn-group": ("mgmtn", MGMTN_TOY | {"use": "group"}),
    "mgmtn-global": ("mgmtn", MGMTN_TOY | {"use": "global"}),
    "mgmtn-last": ("mgmtn", MGMTN_TOY | {"last_stage_only": True}),
    "mgmtn-plain": ("mgmtn", MGMTN_TOY | {"plain_pooling": True}),
    "mgmtn-closed": ("mgmtn", MGMTN_TOY | {"open_object": False}),
    "mgmtn-joint": ("mgmtn", MGMTN_TOY | {"region_trainable": True}),
    "far-concat": ("far-amtn", {"fusion": "concat", "fusion_size": 16, "reduction": 2}),
    "far-none": ("far-amtn", {"fusion": "none", "reduction": 2}),
    "far-whole": (
        "far-amtn",
        {"linear": False, "learned_skip": False, "fusion_tokens": "plain", "fusion_size": 16, "reduction": 2},
    ),
    "far-bare": ("far-amtn", {"residual": False, "fusion": "none", "reduction": 2}),
    "dmm-swap": ("dmm-cnn", {"inner": 16, "hidden": 32, "swap": True}),
    "dmm-pyramid-alone": ("dmm-cnn", {"inner": 16, "hidden": 32, "beside": False}),
    "dmm-grid": ("dmm-cnn", {"inner": 16, "hidden": 32, "landmark_grid": 3}),
    "dmm-deep": (
        "dmm-cnn",
        {"inner": 16, "hidden": 32, "judging": "deep", "judging_stages": 1, "landmark_stage": 5, "landmark_grid": 1},
    ),
    "dmm-stages": ("dmm-cnn", {"inner": 16, "hidden": 32, "stages": 3, "pool": "mean"}),
    "dmm-68": ("dmm-cnn", {"inner": 16, "hidden": 32, "landmarks": 68}),
    "dmm-no-landmarks": ("dmm-cnn", {"inner": 16, "hidden": 32, "landmarks": 0}),
    "transfa-pooled": ("transfa", {"reads": "pooled", "widths": (32, 16)}),
    "transfa-anonymous": ("transfa", {"widths": (32, 16), "size": 32, "identity": 0}),
    "mgrr-no-graph": ("mgrr", {"size": 32, "heads": 2, "use_graph": False}),
    "branched-dmm": (
        "branched",
        {"branches": [{"name": "dmm-cnn", "options": {"inner": 16, "hidden": 32}}, {"name": "baseline"}]},
    ),
    "branched-far": (
        "branched",
        {"branches": [{"name": "baseline"}, {"name": "far-amtn", "options": {"fusion": "none", "reduction": 2}}]},
    ),
    "dmm-one-branch": ("dmm-cnn", {"inner": 16, "hidden": 32, "split": False}),
}
QUICK = ("declaration", "shapes", "gradients", "batch")


def factory(name: str, options: dict[str, Any], attributes: tuple[str, ...] = CELEBA_40) -> testing.Factory:
    def build() -> nn.Module:
        return network_class(name)(
            create_backbone("toy"), create_preprocess("toy", TOY_SIZE), attributes, groups_for(attributes), **options
        )

    return build


@pytest.mark.parametrize("check", testing.CHECKS)
@pytest.mark.parametrize("case", CASES)
def test_contract(case: str, check: str) -> None:
    testing.CHECKS[check](factory(*CASES[case]))


@pytest.mark.parametrize("check", QUICK)
@pytest.mark.parametrize("case", SWITCHES)
def test_switches(case: str, check: str) -> None:
    testing.CHECKS[check](factory(*SWITCHES[case]))


@pytest.mark.parametrize("case", CASES)
def test_own_attributes(case: str) -> None:
    """A subset of CelebA's names with one of the user's own: answers come in the order given."""
    attributes = ("Young", "Wears_Mask", "Smiling", "Bald")
    for check in QUICK:
        testing.CHECKS[check](factory(*CASES[case], attributes))


class _Broken(nn.Module):
    """A network with one fault at a time, to show that each check can fail."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.preprocess = fault, create_preprocess("toy", TOY_SIZE)
        self.attributes, self.groups = CELEBA_40, dict(MGMTN_GROUPS)
        if fault == "declaration":
            self.groups = dict(MGMTN_GROUPS) | {"Nose": ("Big_Nose",)}
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 40)
        self.unused = nn.Parameter(torch.zeros(1)) if fault == "gradients" else None
        self.hidden = torch.randn(40)

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        logits = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        if self.fault == "shapes":
            logits = logits[:, :39]
        if self.fault == "batch":
            logits = logits - logits.mean(0)
        if self.fault == "permutation":
            logits = logits + torch.arange(len(x))[:, None]
        if self.fault == "determinism":
            logits = logits + torch.rand_like(logits)
        if self.fault == "checkpoint":
            logits = logits + self.hidden
        if self.fault == "overfit":
            logits = logits.detach() + 0 * self.head.bias.sum()
        return TorchOutput(logits)


@pytest.mark.parametrize("fault", [name for name in testing.CHECKS if name != "onnx"])
def test_each_check_can_fail(fault: str) -> None:
    with pytest.raises(AssertionError):
        testing.CHECKS[fault](lambda: _Broken(fault))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("check", ["batch", "permutation"])
def test_a_small_leak_between_faces_is_found_in_an_untrained_network(case: str, check: str) -> None:
    """A tenth of the batch's mean, or of the face before: less than 2e-4 logits here, and wrong all the same."""

    class Leaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = factory(*CASES[case])()
            self.preprocess, self.attributes, self.groups = (
                self.inner.preprocess,
                self.inner.attributes,
                self.inner.groups,
            )

        def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
            logits = self.inner(x, region=region).logits
            other = logits.mean(0) if check == "batch" else logits.roll(1, 0)
            return TorchOutput(0.9 * logits + 0.1 * other)

    with pytest.raises(AssertionError, match="answers change"):
        testing.CHECKS[check](Leaking)


def test_check_model_runs_all_and_names_unknown_checks() -> None:
    with pytest.raises(UsageError, match="No check is called"):
        testing.check_model(lambda: _Broken(""), skip=["nothing"])
    testing.check_model(lambda: _Broken(""), skip=["onnx", "overfit"])
    with pytest.raises(AssertionError, match="gradient"):
        testing.check_model(lambda: _Broken("gradients"), skip=["onnx", "overfit"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mgmtn", {"mask": "no such"}),
        ("mgmtn", {"use": "x"}),
        ("far-amtn", {"fusion": "x"}),
        ("far-amtn", {"fusion_tokens": "x"}),
        ("dmm-cnn", {"landmarks": 7}),
        ("dmm-cnn", {"stages": 4}),
        ("dmm-cnn", {"pool": "x"}),
        ("dmm-cnn", {"judging": "x"}),
        ("transfa", {"reads": "x"}),
        ("dmm-cnn", {"judging_stages": 0}),
        ("dmm-cnn", {"landmark_stage": 2}),
    ],
)
def test_unknown_switch_is_an_error(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        factory(name, options)()
