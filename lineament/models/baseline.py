"""The plain multi-label baseline every paper's system must beat: trunk -> global average pooling -> dropout -> one linear layer.

    x (N,3,h,w) -> features (N,C5,h/32,w/32) -> pooled (N,C5) -> logits (N,A)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput


class Baseline(nn.Module):
    """Plain multi-label network. `class_maps` gives its class-activation map (Zhou et al., CVPR 2016): the region each answer rests on."""

    def __init__(
        self, backbone: Backbone, preprocess: Preprocess, attributes: Sequence[str], groups: Mapping[str, Sequence[str]], dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.backbone, self.preprocess = backbone, preprocess
        self.attributes, self.groups = tuple(attributes), dict(groups)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.channels[-1], len(self.attributes))

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        feature = self.backbone(x)[-1]  # (N,C5,h/32,w/32)
        pooled = feature.mean((2, 3))  # (N,C5)
        return TorchOutput(self.head(self.dropout(pooled)).float())  # (N,A)

    @torch.no_grad()
    def class_maps(self, x: Tensor) -> Tensor:
        """Return class-activation maps (N,A,h/32,w/32), in logits per cell; their mean plus the bias is the logit."""
        return torch.einsum("nchw,ac->nahw", self.backbone(x)[-1].float(), self.head.weight)
