"""Network construction from a config: the papers' systems by name, a user's own by `module.path:Class`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from lineament.config import ModelConfig, expand
from lineament.errors import ConfigError
from lineament.models.backbone import IMAGENET, create_backbone, create_preprocess, trunk_file
from lineament.schema import CELEBA_40, MGMTN_GROUPS

NETWORKS: Mapping[str, str] = {
    "baseline": "lineament.models.baseline:Baseline",
    "mgmtn": "lineament.models.mgmtn:MGMTN",
    "far-amtn": "lineament.models.far_amtn:FarAmtn",
    "dmm-cnn": "lineament.models.dmm_cnn:DmmCnn",
    "transfa": "lineament.models.transfa:TransFA",
    "mgrr": "lineament.models.mgrr:MGRR",
    "branched": "lineament.models.branched:Branched",
}


def groups_for(attributes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the eight groups restricted to `attributes`; names outside CelebA's 40 join the group Object."""
    groups = {group: tuple(name for name in members if name in attributes) for group, members in MGMTN_GROUPS.items()}
    groups["Object"] += tuple(name for name in attributes if name not in CELEBA_40)
    return {group: members for group, members in groups.items() if members}


def network_class(name: str) -> type[nn.Module]:
    """Return the class of a network name, or of `module.path:Class`. Raises: ConfigError naming what could not be
    imported."""
    where = NETWORKS.get(name, name)
    module, _, attribute = where.partition(":")
    if not attribute:
        raise ConfigError(
            f"Unknown model {name!r}. Use one of {', '.join(NETWORKS)}, or `module.path:Class` for your own network."
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"model.name {name!r} cannot be imported: {error}. Is its folder on PYTHONPATH?") from error
    return found  # type: ignore[no-any-return]


def called(name: str, *given: Any, **options: Any) -> nn.Module:
    """Return the network `name` called with trunk, preprocessing, names and groups, and its options.

    Raises: ConfigError for an option it does not have, or one it needs and does not get.
    """
    found = network_class(name)
    try:
        inspect.signature(found).bind(*given, **options)
    except TypeError as error:
        known = list(inspect.signature(found).parameters)[len(given) :]
        raise ConfigError(f"model.options of {name}: {error}. It takes: {', '.join(known) or 'none'}.") from error
    return found(*given, **options)


def trunk_weights(config: ModelConfig, *, allow_download: bool = False) -> Path | None:
    """Return the file of the pretrained trunk that a config names, None for none. Raises: as `backbone.trunk_file`;
    ConfigError of a variable."""
    if config.weights is None:
        return None
    return trunk_file(
        config.backbone,
        IMAGENET if config.weights == IMAGENET else expand(config.weights),
        allow_download=allow_download,
    )


def build_network(config: ModelConfig, attributes: Sequence[str], *, random_trunk: bool = False) -> nn.Module:
    """Build the network a config describes.

    Args: random_trunk: skip the trunk's pretrained file (its tensors are about to be overwritten by a checkpoint),
        folding norms all the same.
    """
    weights = None if config.weights is None or random_trunk else trunk_weights(config)
    folded = config.backbone == "mobilenetv1_100" and config.weights not in (None, IMAGENET)
    backbone = create_backbone(
        config.backbone, weights, config.frozen_stages, fold_norms=folded, input_size=config.input_size
    )
    preprocess = create_preprocess(config.backbone, config.input_size)
    return called(config.name, backbone, preprocess, tuple(attributes), groups_for(attributes), **config.options)
