"""The papers' modules against slow NumPy, and the switches that must (or must not) change the answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.config import ModelConfig, TrainConfig  # noqa: E402
from lineament.data.regions import GROUPS  # noqa: E402
from lineament.errors import ConfigError  # noqa: E402
from lineament.geometry import CROP_SIZE  # noqa: E402
from lineament.models.backbone import create_backbone, create_preprocess  # noqa: E402
from lineament.models.build import build_network, network_class  # noqa: E402
from lineament.models.checkpoint import begin, copy_matching, save_network  # noqa: E402
from lineament.models.dmm_cnn import PyramidPooling  # noqa: E402
from lineament.models.far_amtn import ConcatFusion, GateFusion, GroupGates, residual_branch  # noqa: E402
from lineament.models.region_pooling import masked_average  # noqa: E402
from lineament.models.region_unet import region_unet, rgb_of  # noqa: E402
from lineament.schema import CELEBA_40, MGMTN_GROUPS, OBJECTIVE_23, SUBJECTIVE_17  # noqa: E402

SIZE = (110, 90)


def toy(name: str, **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return network_class(name)(
        create_backbone("toy"), create_preprocess("toy", SIZE), CELEBA_40, MGMTN_GROUPS, **options
    ).eval()


def crops(n: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 3, 218, 178), np.uint8))


@pytest.mark.parametrize("trunk", ["toy", "mobilenetv1_100"])
@pytest.mark.parametrize("size", [(235, 192), (110, 90), (218, 178)])
def test_preprocessing_for_runtimes_is_resizing_and_normalising(trunk: str, size: tuple[int, int]) -> None:
    preprocess = create_preprocess(trunk, size)
    given = crops(3)
    torch.testing.assert_close(
        preprocess(given), preprocess.normalise(preprocess.resize(given)), rtol=0, atol=5e-3
    )  # of 255: places in float32
    other = given[:, :, :100, :90]
    torch.testing.assert_close(preprocess(other), preprocess.normalise(preprocess.resize(other)))


BRANCHES = (
    {"name": "baseline", "options": {"dropout": 0.0}},
    {"name": "mgmtn", "options": {"mask": "mean", "width": 16, "hidden": 32, "dropout": 0.0}},
)


@pytest.mark.parametrize("shared", [1, 2, 3])
def test_a_branched_network_is_the_mean_of_the_networks_it_shares_a_trunk_with(shared: int) -> None:
    network = toy("branched", branches=BRANCHES, shared=shared)
    x, answers = network.preprocess(crops(2)), []
    for place, branch in enumerate(BRANCHES):
        alone = toy(branch["name"], **branch["options"])  # type: ignore[arg-type]
        missed = copy_matching(alone, network.state_dict())  # the shared stages by their own names
        own = network.branches[place].state_dict()
        assert set(missed) <= set(own)
        copy_matching(alone, {name: own.get(name, tensor) for name, tensor in alone.state_dict().items()})
        with torch.no_grad():
            answers.append(alone(x).logits)
    with torch.no_grad():
        torch.testing.assert_close(network(x).logits, sum(answers) / 2)
        assert (answers[0] - answers[1]).abs().max() > 1e-3
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                module.eval()
        output = network(x)
    torch.testing.assert_close(output.branches, torch.stack(answers))


def test_branched_maps_add_up_to_what_the_image_says() -> None:
    """Class-activation maps of a mean are the mean of the maps: mean over cells plus a rest that no image changes for
    the plain branch."""
    plain = [{"name": "baseline", "options": {"dropout": 0.0}}] * 2
    network = toy("branched", branches=plain, shared=2)
    with torch.no_grad():
        output = network(network.preprocess(crops(3)))
    rest = torch.stack([branch.head.bias for branch in network.branches]).mean(0)
    torch.testing.assert_close(output.region.mean((2, 3)) + rest, output.logits, rtol=1e-4, atol=1e-5)


def test_branched_refuses_what_it_cannot_share() -> None:
    with pytest.raises(ConfigError, match="at least two branches"):
        toy("branched", branches=BRANCHES[:1])
    with pytest.raises(ConfigError, match="at least two branches"):
        toy("branched", branches=BRANCHES, shared=4)
    with pytest.raises(ConfigError, match="mask: mean"):
        toy("branched", branches=[BRANCHES[0], {"name": "mgmtn", "options": {"region_scale": "toy"}}])


def test_masked_average_is_the_weighted_mean() -> None:
    rng = np.random.default_rng(0)
    feature, masks = rng.normal(size=(2, 3, 4, 5)), rng.random((2, 6, 4, 5))
    expected = np.array(
        [
            [[(f * m).sum() / m.sum() for f in face] for m in regions]
            for face, regions in zip(feature, masks, strict=True)
        ]
    )
    got = masked_average(torch.tensor(feature), torch.tensor(masks))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4)
    plain = masked_average(torch.tensor(feature), torch.tensor(masks), plain=True)
    np.testing.assert_allclose(plain.numpy(), expected * masks.sum((2, 3))[..., None] / 20, rtol=1e-4)


def test_masked_average_does_not_depend_on_area_and_empty_masks_are_zero() -> None:
    feature = torch.rand(1, 3, 4, 4)
    masks = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(
        masked_average(feature, masks), masked_average(feature, masks * 0.01), rtol=1e-3, atol=1e-5
    )
    assert (masked_average(feature, masks * 0) == 0).all()


def test_a_group_sees_only_its_mask() -> None:
    """Moving a group's mask changes that group's answers and no other's (use: group, no open Object)."""
    network = toy("mgmtn", region_scale="toy", use="group", open_object=False, width=16, hidden=32)
    x = network.preprocess(crops(1))
    region = torch.zeros(1, 8, 28, 23)
    region[:, :, :14] = 1
    moved = region.clone()
    nose = GROUPS.index("Nose")
    moved[:, nose] = 1 - moved[:, nose]
    with torch.no_grad():
        changed = (network(x, region=region).logits != network(x, region=moved).logits)[0].numpy()
    assert {name for name, differs in zip(CELEBA_40, changed, strict=True) if differs} == set(MGMTN_GROUPS["Nose"])


def test_open_object_ignores_its_mask() -> None:
    region = torch.rand(1, 8, 28, 23)
    other = region.clone()
    other[:, GROUPS.index("Object")] = torch.rand(1, 28, 23)
    for open_object in (True, False):
        network = toy("mgmtn", region_scale="toy", open_object=open_object, width=16, hidden=32)
        x = network.preprocess(crops(1))
        with torch.no_grad():
            assert torch.equal(network(x, region=region).logits, network(x, region=other).logits) == open_object


def test_hard_masks_are_the_soft_ones_binarised() -> None:
    soft, hard = (toy("mgmtn", region_scale="toy", soft=soft, width=16, hidden=32) for soft in (True, False))
    x, region = soft.preprocess(crops()), torch.rand(2, 8, 28, 23)
    with torch.no_grad():
        assert torch.equal(hard(x, region=region).logits, soft(x, region=(region >= 0.5).float()).logits)


def test_region_network_is_frozen_unless_asked() -> None:
    frozen, joint = (
        toy("mgmtn", region_scale="toy").train(),
        toy("mgmtn", region_scale="toy", region_trainable=True).train(),
    )
    assert not any(p.requires_grad for p in frozen.region_net.parameters())
    assert not frozen.region_net.training, "norms of the frozen region network must not drift"
    assert all(p.requires_grad for p in joint.region_net.parameters())
    assert joint.region_net.training


def test_region_network_sees_the_crop_at_its_own_scale() -> None:
    preprocess = create_preprocess("mobilenetv1_100", (235, 192))
    rgb = torch.rand(1, 3, *CROP_SIZE) * 255
    seen = rgb_of(preprocess(rgb), preprocess)
    assert seen.shape[-2:] == CROP_SIZE
    assert (seen - (rgb / 127.5 - 1)).abs().mean() < 0.35  # resized there and back, so noise is smoothed
    smooth = torch.linspace(0, 255, 178).expand(1, 3, 218, 178) * torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1)
    torch.testing.assert_close(rgb_of(preprocess(smooth), preprocess), smooth / 127.5 - 1, atol=0.02, rtol=0)
    window = preprocess(smooth)[..., 10:226, 8:184]
    assert rgb_of(window, preprocess).shape[-2:] == (200, 163)


def test_region_network_sizes() -> None:
    """The CPU-scale net's limits of the plan: at most 1 M parameters and 0.3 GMAC per crop; the paper-scale net has
    widths 32 to 512."""
    from torch.utils.flop_counter import FlopCounterMode

    network = region_unet(GROUPS).eval()
    assert sum(p.numel() for p in network.parameters()) <= 1_000_000
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert network(torch.zeros(1, 3, *CROP_SIZE)).shape == (1, 8, 109, 89)
    assert counter.get_total_flops() / 2 <= 0.3e9
    assert 7.5e6 < sum(p.numel() for p in region_unet(GROUPS, "paper").parameters()) < 8.5e6


def test_gates_are_the_paper_s_formula() -> None:
    torch.manual_seed(0)
    gates, z = GroupGates(32, 3, reduction=4), torch.randn(2, 32)
    for g in range(3):
        expected = torch.sigmoid(gates.up[g](torch.relu(gates.down[g](z))))
        torch.testing.assert_close(gates(z)[:, g], expected)
    assert gates.down[0].weight.shape == (8, 32)


@pytest.mark.parametrize("tokens", ["normalised", "plain"])
def test_gate_fusion_attends_to_other_groups_only(tokens: str) -> None:
    torch.manual_seed(0)
    fusion, v = GateFusion(16, 4, size=8, tokens=tokens), torch.randn(1, 4, 16)
    out = fusion(v).detach().numpy()[0]
    shown = v[0].numpy().astype(np.float64)
    if tokens == "normalised":
        shown = (shown - shown.mean(1, keepdims=True)) / np.sqrt(
            shown.var(1, keepdims=True) + 1e-5
        ) + fusion.tokens.whose.detach().numpy()
    q, k, u = (shown @ layer.weight.detach().numpy().T for layer in (fusion.query, fusion.key, fusion.value))
    for g in range(4):
        others = [h for h in range(4) if h != g]
        score = np.array([q[g] @ k[h] / np.sqrt(8) for h in others])
        weight = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
        np.testing.assert_allclose(out[g, 16:], (weight[:, None] * u[others]).sum(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(out[g, :16], v[0, g].numpy())


def test_groups_with_the_same_feature_are_still_told_apart() -> None:
    """What pooled features nearly are: the same for all groups. Plain attention is then uniform; the embedding makes it
    a choice."""
    torch.manual_seed(0)
    v = torch.randn(1, 1, 16).expand(1, 4, 16)
    with torch.no_grad():
        plain, told = GateFusion(16, 4, size=8, tokens="plain")(v)[0, :, 16:], GateFusion(16, 4, size=8)(v)[0, :, 16:]
    assert (plain - plain[0]).abs().max() < 1e-6
    assert (told - told[0]).abs().max() > 1e-3


def test_concat_fusion_gives_one_mixture_to_all() -> None:
    fusion = ConcatFusion(16, 4, size=8).eval()
    out = fusion(torch.randn(2, 4, 16))
    assert out.shape == (2, 4, 24)
    assert all(torch.equal(out[:, 0, 16:], out[:, g, 16:]) for g in range(4))


@pytest.mark.parametrize(
    ("options", "scaled_only"),
    [
        ({"residual": False, "linear": False}, True),
        (
            {"residual": True, "linear": False},
            True,
        ),  # a trunk without skips: X and f(X) are never negative, and the ReLU cuts nothing
        ({"residual": True, "linear": True}, False),
    ],
    ids=["bare", "whole block", "linear"],
)
def test_groups_differ_by_a_channel_scaling_only_unless_the_relu_cuts(
    options: dict[str, bool], scaled_only: bool
) -> None:
    """The remark of the notes, on features as the trunk makes them: v_g = GAP(X) + Psi_g GAP(f(X)), or GAP(X) left out
    without the residual."""
    network = toy("far-amtn", fusion="none", reduction=2, learned_skip=False, **options)
    with torch.no_grad():
        feature = network.backbone(torch.randn(1, 3, 110, 90))[-1]
        v, _ = network.attend(feature)
        scaled = network.gates(feature.mean((2, 3))) * network.shared(feature).mean((2, 3)).unsqueeze(1)
        scaled = scaled + feature.mean((2, 3)).unsqueeze(1) if options["residual"] else scaled
    assert feature.min() >= 0
    assert torch.allclose(v, scaled, atol=1e-6, rtol=1e-5) == scaled_only


def test_a_trunk_without_skips_learns_one_from_nothing() -> None:
    """relu(a X + Psi f(X)) by hand; at a = 0, where training begins, it is the trunk's own block under the gate."""
    network = toy("far-amtn", fusion="none", reduction=2)
    assert network.linear
    assert network.skip.item() == 0
    with torch.no_grad():
        x = torch.randn(1, 3, 110, 90)
        feature = network.backbone(x)[-1]
        whole = toy("far-amtn", fusion="none", reduction=2, linear=False).shared(feature)
        v, _ = network.attend(feature)
        gates = network.gates(feature.mean((2, 3)))
        torch.testing.assert_close(v, gates * whole.mean((2, 3)).unsqueeze(1), rtol=1e-4, atol=1e-6)
        network.skip.fill_(-0.3)
        v, _ = network.attend(feature)
        signed = network.shared(feature)
        slow = [
            np.maximum(-0.3 * feature[0].numpy() + gates[0, g].numpy()[:, None, None] * signed[0].numpy(), 0).mean(
                (1, 2)
            )
            for g in range(8)
        ]
        np.testing.assert_allclose(v[0].numpy(), slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trunk", ["resnet18", "resnest50d", "mobilenetv1_100", "toy"])
def test_far_amtn_starts_from_a_baseline_of_its_trunk_whole(trunk: str, tmp_path: Path) -> None:
    """Every convolution of the baseline finds its place, the shared block's too; only what the baseline lacks is
    fresh."""
    config = ModelConfig("baseline", backbone=trunk, input_size=(64, 64))
    baseline = build_network(config, CELEBA_40)
    save_network(tmp_path / "b.safetensors", baseline, TrainConfig("b", model=config), half=False)
    network = build_network(dataclasses.replace(config, name="far-amtn"), CELEBA_40)
    fresh = begin(network, str(tmp_path / "b.safetensors"))
    assert not [name for name in fresh if name.startswith("backbone.")]
    assert {name.split(".")[0] for name in fresh} == {"gates", "fusion", "heads"} | (
        {"skip"} if network.skip is not None else set()
    )
    assert (network.skip is None) == trunk.startswith("resne")
    last = list(baseline.backbone.stages)[-1][-1].state_dict()
    for name, tensor in network.backbone.shared.state_dict().items():
        assert torch.equal(tensor, last[name]), name


def test_a_block_without_its_last_activation_keeps_its_weights_and_its_positive_part() -> None:
    for trunk, folded in (("toy", False), ("mobilenetv1_100", False), ("mobilenetv1_100", True)):
        torch.manual_seed(0)
        whole = create_backbone(trunk, fold_norms=folded).detach_last_block().eval()
        linear = residual_branch(whole, linear=True)
        assert linear.state_dict().keys() == whole.state_dict().keys()
        x = torch.rand(2, 32 if trunk == "toy" else 1024, 5, 4)
        with torch.no_grad():
            signed = linear(x)
            torch.testing.assert_close(torch.relu(signed), whole(x).clamp(min=0), rtol=1e-4, atol=1e-5)
        assert signed.min() < 0
    with pytest.raises(ConfigError, match="ends in an activation"):
        residual_branch(torch.nn.Conv2d(3, 3, 1), linear=True)


def test_residual_branch_rebuilds_the_trunk_s_own_block() -> None:
    """relu(X + f(X)) is the original bottleneck: nothing pretrained is lost."""
    for name in ("resnet18", "resnet50", "resnest50d"):
        torch.manual_seed(0)
        block = create_backbone(name).detach_last_block().eval()
        channels = {"resnet18": 512}.get(name, 2048)
        x = torch.rand(1, channels, 4, 4)
        with torch.no_grad():
            torch.testing.assert_close(torch.relu(x + residual_branch(block)(x)), block(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 7), (8, 6), (3, 2), (1, 1)])
def test_pyramid_pooling(size: tuple[int, int]) -> None:
    feature = torch.randn(2, 3, *size)
    for kind, pool in (
        ("max", torch.nn.functional.adaptive_max_pool2d),
        ("mean", torch.nn.functional.adaptive_avg_pool2d),
    ):
        got = PyramidPooling(pool=kind)(feature)
        assert got.shape == (2, 21 * 3)
        expected = torch.cat([pool(feature, n).flatten(2).transpose(1, 2).flatten(1) for n in (1, 2, 4)], 1)
        torch.testing.assert_close(got, expected)


def test_objective_and_subjective_answers_come_from_their_branches() -> None:
    network = toy("dmm-cnn", inner=16, hidden=32)
    x = network.preprocess(crops(1))
    with torch.no_grad():
        before = network(x).logits
        network.branches["subjective"].answer[-1].bias += 1
        changed = (network(x).logits != before)[0].numpy()
    assert {name for name, differs in zip(CELEBA_40, changed, strict=True) if differs} == set(SUBJECTIVE_17)
    assert set(OBJECTIVE_23) | set(SUBJECTIVE_17) == set(CELEBA_40)


def test_landmarks_start_in_the_middle() -> None:
    network = toy("dmm-cnn", inner=16, hidden=32, landmarks=68)
    landmarks = network(network.preprocess(crops())).landmarks
    assert landmarks.shape == (2, 68, 2)
    assert (landmarks - 0.5).abs().max() < 0.1


def test_judgements_begin_with_what_the_trunk_pools() -> None:
    """F + r(F) is F at first, in every stage; with a last layer that is not small it is what r computes."""
    network = toy("dmm-cnn", inner=16, hidden=32)
    branch = network.branches["subjective"]
    with torch.no_grad():
        features = network.backbone(network.preprocess(crops(1)))
        for refine, feature in zip(branch.refine, features, strict=True):
            assert (refine(feature) - feature).abs().max() < 0.1 * feature.abs().max()
            torch.nn.init.normal_(refine.change[-1].weight)
            torch.testing.assert_close(refine(feature) - feature, refine.change(feature), rtol=1e-4, atol=1e-5)
            assert (refine(feature) - feature).abs().max() > 0.1 * feature.abs().max()
    assert branch.answer[0].in_features == 16 + 24 + 32


def test_things_begin_with_the_plain_networks_answer() -> None:
    """The objective branch is one linear layer on the last stage's mean, plus a pyramid that begins small and is not
    nothing; alone it is the pyramid."""
    network = toy("dmm-cnn", inner=16, hidden=32)
    network.eval()
    branch = network.branches["objective"]
    with torch.no_grad():
        last = network.backbone(network.preprocess(crops(2)))[-1]
        plain = last.mean((2, 3)) @ branch.plain[-1].weight.T + branch.plain[-1].bias
        logits, _ = branch([last])
        added = (logits - plain).abs().max()
        assert 0 < added < 0.3 * plain.std()
        torch.nn.init.normal_(branch.answer[-1].weight)
        torch.testing.assert_close(branch([last])[0] - plain, branch.answer(branch.pyramid(branch.look(last))))
    alone = toy("dmm-cnn", inner=16, hidden=32, beside=False).branches["objective"]
    assert alone.plain is None
    with torch.no_grad():
        torch.testing.assert_close(alone([last])[0], alone.answer(alone.pyramid(alone.look(last))))


def test_the_landmark_head_sees_where_things_are() -> None:
    """A feature mirrored is another picture for a head with a grid, and the same for the mean of the map."""
    for grid, same in ((1, True), (7, False)):
        network = toy("dmm-cnn", inner=16, hidden=32, landmark_grid=grid, landmark_stage=4)
        feature = torch.rand(1, 24, 14, 12)
        with torch.no_grad():
            straight, turned = network.landmark_head(feature), network.landmark_head(feature.flip(-1))
        assert torch.allclose(straight, turned, atol=1e-7) == same
