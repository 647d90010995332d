"""The plain multi-label baseline every paper's system must beat: trunk -> global average pooling -> dropout -> one
linear layer.

x (N,3,h,w) -> features (N,C5,h/32,w/32) -> pooled (N,C5) -> logits (N,A)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput


class Baseline(nn.Module):
    """Plain multi-label network. In eval mode its output carries class-activation maps (Zhou et al., CVPR 2016): what
    each answer rests on."""

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.backbone, self.preprocess = backbone, preprocess
        self.attributes, self.groups = tuple(attributes), dict(groups)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.channels[-1], len(self.attributes))

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        feature = self.backbone(x)[-1]  # (N,C5,h/32,w/32)
        pooled = feature.mean((2, 3))  # (N,C5)
        logits = self.head(self.dropout(pooled)).float()  # (N,A)
        if self.training:
            return TorchOutput(logits)
        return TorchOutput(logits, self.class_maps(feature), features=pooled.float())

    def class_maps(self, feature: Tensor) -> Tensor:
        """Return the class-activation maps (N,A,h,w) of a feature (N,C5,h,w), in logits per cell; their mean plus the
        bias is the logit."""
        weight = self.head.weight.to(feature.dtype)
        return nn.functional.conv2d(feature, weight[:, :, None, None]).float()

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card."""
        return {"kind": "class_activation", "of": list(self.attributes)}
