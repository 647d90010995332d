"""Backbones (trunks), and the only importer of timm: crops -> x (N,3,h,w) -> features of stages 3, 4, 5 (strides 8, 16,
32).

Source: `mobilenetv1_100` with the HSE-FaceRes weights (Savchenko, PeerJ CS 2019; VGGFace2 identities), converted to
timm's names. Its batch norms arrive folded (mean 0, variance 1), so `fold_norms` merges them into the convolutions
exactly: faster, and nothing to keep in eval mode.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lineament.errors import ConfigError, ModelFileError
from lineament.models.layers import Preprocess
from lineament.offline import silence

silence("huggingface_hub")  # timm loads it

CAFFE_MEAN = (103.939, 116.779, 123.68)
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class BackboneSpec:
    """How a trunk wants its input and where its parts are."""

    timm_name: str | None
    timm_options: Mapping[str, Any]
    channels: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


RECIPES: Mapping[str, BackboneSpec] = {
    "mobilenetv1_100": BackboneSpec("mobilenetv1_100", {"pad_type": "same"}, "BGR", CAFFE_MEAN, (1.0, 1.0, 1.0)),
    "resnet18": BackboneSpec("resnet18", {}, "RGB", IMAGENET_MEAN, IMAGENET_STD),
    "resnet50": BackboneSpec("resnet50", {}, "RGB", IMAGENET_MEAN, IMAGENET_STD),
    "resnest50d": BackboneSpec("resnest50d", {}, "RGB", IMAGENET_MEAN, IMAGENET_STD),
    "swin_tiny": BackboneSpec("swin_tiny_patch4_window7_224", {}, "RGB", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "toy": BackboneSpec(None, {}, "RGB", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}


class Backbone(nn.Module):
    """A trunk cut into a stem and its stages; forward returns the features of the last three stages.

    `channels` are those of the last three stages. `frozen_stages` counts stages from the input (the stem is frozen with
    the first): 0 trains all.
    """

    def __init__(
        self, stem: nn.Module, stages: list[nn.Module], channels: tuple[int, int, int], frozen_stages: int = 0
    ) -> None:
        super().__init__()
        self.stem, self.stages, self.channels, self.frozen_stages = stem, nn.ModuleList(stages), channels, frozen_stages
        if not 0 <= frozen_stages <= len(stages):
            raise ConfigError(f"frozen_stages must be 0..{len(stages)}, not {frozen_stages}.")
        for part in [stem, *stages[:frozen_stages]] if frozen_stages else []:
            part.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)  # (N,C0,h/2,w/2)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[-3:]  # (N,C3,h/8,w/8), (N,C4,h/16,w/16), (N,C5,h/32,w/32)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode; frozen parts stay in eval mode so that their norms do not drift."""
        super().train(mode)
        for part in [self.stem, *self.stages[: self.frozen_stages]] if self.frozen_stages else []:
            part.eval()
        return self

    def detach_last_block(self) -> nn.Module:
        """Remove and return the last block of the last stage; forward then ends with that block's input (FAR-AMTN's
        WSGSA takes its place).

        Raises: ConfigError if the last stage has a single block.
        """
        last = self.stages[-1]
        if not isinstance(last, nn.Sequential) or len(last) < 2:
            raise ConfigError(
                "This trunk's last stage has no separate last block; use mobilenetv1_100, resnet18, resnet50, "
                "resnest50d or toy."
            )
        block = last[-1]
        self.stages[-1] = last[:-1]
        return block


def _fold(module: nn.Module) -> None:
    """Merge every norm into the convolution before it, in place; the norm's activation stays."""
    previous: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if (
            isinstance(child, nn.BatchNorm2d)
            and previous is not None
            and child.running_mean is not None
            and child.running_var is not None
        ):
            weight, bias = fuse_conv_bn_weights(
                previous.weight,
                previous.bias,
                child.running_mean,
                child.running_var,
                child.eps,
                child.weight,
                child.bias,
            )
            previous.weight, previous.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            _fold(child)
        previous = child if isinstance(child, nn.Conv2d) else None


def _toy(_: BackboneSpec) -> tuple[nn.Module, list[nn.Module], tuple[int, int, int]]:
    def block(cin: int, cout: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1), nn.ReLU())

    stages = [nn.Sequential(block(8, 8, 2)), nn.Sequential(block(8, 16, 2)), nn.Sequential(block(16, 24, 2))]
    return block(3, 8, 2), [*stages, nn.Sequential(block(24, 32, 2), block(32, 32, 1))], (16, 24, 32)


def _timm(recipe: BackboneSpec) -> nn.Module:
    import timm

    return timm.create_model(str(recipe.timm_name), pretrained=False, num_classes=0, **recipe.timm_options)


IMAGENET = "imagenet"
"""In place of a file: timm's own ImageNet weights of the trunk."""


def trunk_file(name: str, weights: str | Path, *, allow_download: bool = False) -> Path:
    """Return the safetensors file that `model.weights` means: the file itself, or for `imagenet` timm's own weights in
    the local hub cache.

    Args: allow_download: fetch them where the cache lacks them; without it nothing here touches the network.
    Raises: ConfigError where they are not in the cache, naming both ways to get them; ModelFileError where the download
        fails.
    """
    if str(weights) != IMAGENET:
        return Path(weights)
    import timm
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    recipe = RECIPES.get(name)
    known = None if recipe is None or recipe.timm_name is None else timm.get_pretrained_cfg(recipe.timm_name)
    repository = None if known is None else known.hf_hub_id
    if not repository:
        raise ConfigError(
            f"model.weights: imagenet means timm's weights, and timm has none of {name!r}. Name a file, or set it to "
            "null."
        )
    found = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(found, str):
        return Path(found)
    if not allow_download:
        raise ConfigError(
            f"model.weights: imagenet means timm's weights of {name} ({repository}), which are not on this machine. "
            "Add --allow-download to fetch them once (about 100 MB), or give a file: --set "
            "model.weights=FILE.safetensors."
        )
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # what the hub's client raises is its transport's
        raise ModelFileError(
            f"{repository} could not be fetched ({error}). Give a file: --set model.weights=FILE.safetensors."
        ) from error


def _load(net: nn.Module, weights: str | Path) -> None:
    """Fill a timm network from its safetensors file. Tensors of its classifier, by timm's name for it, are left out: it
    has none here."""
    from safetensors.torch import load_file

    path = Path(weights)
    if not path.is_file():
        raise ModelFileError(
            f"No trunk weights at {path}. Give the file's path in the config (model.weights) or set it to null."
        )
    state = _without_classifier(net, load_file(path))
    missing, unexpected = net.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ModelFileError(
            f"{path} does not fit the trunk: {len(missing)} tensors missing ({missing[:2]}), {len(unexpected)} unknown."
        )


def _without_classifier(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's tensors in the names of today's timm, without the classifier's."""
    renamed = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if renamed is not None:
        state = renamed(state, net)
    said = getattr(net, "pretrained_cfg", {}).get("classifier") or ()
    names = (said,) if isinstance(said, str) else tuple(said)
    return {key: tensor for key, tensor in state.items() if not any(key.startswith(f"{name}.") for name in names)}


def _mobilenet(net: nn.Module) -> tuple[nn.Module, list[nn.Module], tuple[int, int, int]]:
    return nn.Sequential(net.conv_stem, net.bn1), list(net.blocks), (256, 512, 1024)  # type: ignore[arg-type]


def _resnet(net: nn.Module) -> tuple[nn.Module, list[nn.Module], tuple[int, int, int]]:
    stem = nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool)  # type: ignore[arg-type]
    stages = [net.layer1, net.layer2, net.layer3, net.layer4]
    channels = tuple(int(info["num_chs"]) for info in net.feature_info[-3:])  # type: ignore[index]
    return stem, stages, channels  # type: ignore[return-value]


class _SwinStage(nn.Module):
    """A Swin stage that speaks channels-first."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return self.stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class _SwinStem(_SwinStage):
    def forward(self, x: Tensor) -> Tensor:
        return self.stage(x).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _swin(net: nn.Module) -> tuple[nn.Module, list[nn.Module], tuple[int, int, int]]:
    return _SwinStem(net.patch_embed), [_SwinStage(stage) for stage in net.layers], (192, 384, 768)  # type: ignore[union-attr, arg-type]


_CUTS: Mapping[str, Callable[[nn.Module], tuple[nn.Module, list[nn.Module], tuple[int, int, int]]]] = {
    "mobilenetv1_100": _mobilenet, "resnet18": _resnet, "resnet50": _resnet, "resnest50d": _resnet, "swin_tiny": _swin,
}  # fmt: skip


def create_backbone(
    name: str,
    weights: str | Path | None = None,
    frozen_stages: int = 0,
    fold_norms: bool | None = None,
    input_size: tuple[int, int] | None = None,
) -> Backbone:
    """Build a trunk.

    Args:
        name: one of `RECIPES`. weights: a safetensors file of the timm network, `imagenet` for timm's own from the hub
            cache or None for random weights.
        fold_norms: merge batch norms into convolutions; by default exactly where `weights` are the face-pretrained
        MobileNetV1.
        input_size: (h, w), needed by `swin_tiny` only.

    Raises: ConfigError for an unknown name; ModelFileError if the weights do not fit.
    """
    if name not in RECIPES:
        raise ConfigError(f"Unknown backbone {name!r}. Use one of: {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    if name == "toy":
        stem, stages, channels = _toy(recipe)
        return Backbone(stem, stages, channels, frozen_stages)
    if name == "swin_tiny" and input_size is not None:
        recipe = BackboneSpec(recipe.timm_name, {"img_size": input_size}, recipe.channels, recipe.mean, recipe.std)
    net = _timm(recipe)
    if weights is not None:
        _load(net, trunk_file(name, weights))
    if fold_norms if fold_norms is not None else (name == "mobilenetv1_100" and weights not in (None, IMAGENET)):
        net.eval()
        with torch.no_grad():
            _fold(net)
    stem, stages, channels = _CUTS[name](net)
    return Backbone(stem, stages, channels, frozen_stages)


def create_preprocess(name: str, size: tuple[int, int]) -> Preprocess:
    """Return the preprocessing that the trunk `name` was trained with, for a network input of `size` (h, w)."""
    recipe = RECIPES[name]
    return Preprocess(size, recipe.channels, recipe.mean, recipe.std)
