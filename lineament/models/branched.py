"""Branched network: several systems on one trunk; early stages shared, late stages and heads per branch, answers
averaged.

    x (N,3,h,w) -> shared stages -> F (N,C,h',w') -> branch m: own stages, own head -> logits_m (N,A) ;  logits = mean
        over m

Networks that were trained apart err apart, and their mean errs less than either; what they cost together is mostly the
early stages, which are alike in all of them. In training every branch answers for itself (`TorchOutput.branches`), so
that the mean stays one of different opinions.
Source: TreeNets, Lee et al., "Why M heads are better than one", arXiv 1511.06314: sharing early layers, a loss per
branch. Which systems the branches are, and where they part, is ours.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.models.backbone import Backbone
from lineament.models.build import called
from lineament.models.contributions import total
from lineament.models.layers import Preprocess, TorchOutput


class Rest(Backbone):
    """The stages of a trunk after the first `shared`: features so far -> features of the last three stages. Names are
    the whole trunk's."""

    def __init__(self, backbone: Backbone, shared: int) -> None:
        own = [copy.deepcopy(stage) for stage in list(backbone.stages)[shared:]]
        super().__init__(
            nn.Identity(), [*(nn.Identity() for _ in range(shared)), *own], backbone.channels, backbone.frozen_stages
        )
        self.first = shared

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:  # type: ignore[override]
        features = list(features)
        for stage in list(self.stages)[self.first :]:
            features.append(stage(features[-1]))
        return features[-3:]


class Branched(nn.Module):
    """Branches on shared early stages.

    Args:
        branches: one mapping each: `name` of a system (`baseline`, `mgmtn`, ...), its `options`, and `start`, trained
            weights (shipped name, run folder or file) from which its own part begins; the shared stages begin with the
            config's `model.start`.
        shared: stages computed once, counted from the input.

    Raises: ConfigError for fewer than two branches, for a number of stages that leaves a branch none of its own, and
    for a branch that predicts masks from the image, which only the shared stages see.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        branches: Sequence[Mapping[str, Any]],
        shared: int = 3,
    ) -> None:
        super().__init__()
        if any(
            not isinstance(branch, Mapping) or "name" not in branch or set(branch) - {"name", "options", "start"}
            for branch in branches
        ):
            raise ConfigError(
                "branched: each of `branches` is a mapping with `name` and, if wanted, `options` and `start`."
            )
        if len(branches) < 2 or not 1 <= shared < len(backbone.stages):
            raise ConfigError(
                f"branched: give at least two branches and shared stages within 1..{len(backbone.stages) - 1}; got "
                f"{len(branches)} and {shared}."
            )
        self.preprocess, self.attributes, self.groups = preprocess, tuple(attributes), dict(groups)
        self.branches = nn.ModuleList(
            called(branch["name"], Rest(backbone, shared), preprocess, attributes, groups, **branch.get("options", {}))
            for branch in branches
        )
        if any(getattr(branch, "region_net", None) is not None for branch in self.branches):
            raise ConfigError(
                "branched: a branch of mgmtn needs `mask: mean` or `mask: none`; learned masks are predicted from the "
                "image."
            )
        backbone.stages = backbone.stages[:shared]
        self.backbone = backbone
        self.starts = [
            (branch, str(given["start"]))
            for branch, given in zip(self.branches, branches, strict=True)
            if given.get("start") is not None
        ]
        """Parts that begin with trained weights of their own."""

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        features = self.backbone(x)  # the last of them (N,C,h',w')
        said = [branch(features, region) for branch in self.branches]
        branches = torch.stack([output.logits for output in said])  # (M,N,A)
        landmarks = next((output.landmarks for output in said if output.landmarks is not None), None)
        if self.training:
            return TorchOutput(branches.mean(0), None, landmarks, branches)
        pooled = [output.features for output in said if output.features is not None]  # (N,D) of each branch that pools
        features = torch.cat(pooled, dim=1) if pooled else None
        return TorchOutput(
            branches.mean(0), self._mean_maps([output.region for output in said]), landmarks, features=features
        )

    def whole_frame_region(self, n: int) -> Tensor | None:
        """Return the masks (n,8,h',w') that a branch holds for every uncropped face, None where none does."""
        asked = (getattr(branch, "whole_frame_region", None) for branch in self.branches)
        return next((masks for ask in asked if ask is not None and (masks := ask(n)) is not None), None)

    def _mean_maps(self, maps: Sequence[Tensor | None]) -> Tensor | None:
        """Return the mean of the branches' class-activation maps on the finest of their grids (N,A,h,w), in logits per
        cell."""
        known = [map for map in maps if map is not None]
        if len(known) < len(maps) or not all(self._explains_answers(branch) for branch in self.branches):
            return None
        grid = max((int(map.shape[-2]), int(map.shape[-1])) for map in known)
        return total([map / (map.shape[-2] * map.shape[-1] * len(known)) for map in known], grid)

    def _explains_answers(self, branch: nn.Module) -> bool:
        return bool(branch.maps_of().get("kind") == "class_activation")  # type: ignore[operator]

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card."""
        return {"kind": "class_activation", "of": list(self.attributes)}
