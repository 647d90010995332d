"""TransFA-style network (arXiv 2207.05456; Liu et al., 2022): one branch per location of the face on pooled transformer features.

    x -> trunk -> GAP (N,C) -> per location: FC, BN, ReLU, dropout, FC, BN, ReLU, dropout, FC -> logits (N,A)

Read in the public code (lorry30/TransFA): Swin-T trunk at 224, seven branches C -> 2048 -> 512 -> n with BN, ReLU and dropout 0.5, the seven
groups by location, SGD 0.9 at 1e-2. Left out here, and said so: the identity and contrastive terms of its loss (they need identities in the
batch), and the rotation by up to 30 degrees of its augmentation. Any trunk serves; widths are switches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput

LOCATIONS: Mapping[str, tuple[str, ...]] = {
    "whole": ("Attractive", "Blurry", "Chubby", "Heavy_Makeup", "Male", "Oval_Face", "Pale_Skin", "Smiling", "Young"),
    "hair": (
        "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Straight_Hair", "Wavy_Hair",
        "Wearing_Hat",
    ),
    "eyes": ("Arched_Eyebrows", "Bushy_Eyebrows", "Bags_Under_Eyes", "Eyeglasses", "Narrow_Eyes"),
    "nose": ("Big_Nose", "Pointy_Nose"),
    "lower": (
        "5_o_Clock_Shadow", "Big_Lips", "Mouth_Slightly_Open", "Mustache", "Wearing_Lipstick", "Double_Chin", "Goatee", "No_Beard",
        "Sideburns",
    ),
    "cheeks": ("High_Cheekbones", "Rosy_Cheeks", "Wearing_Earrings"),
    "neck": ("Wearing_Necklace", "Wearing_Necktie"),
}  # fmt: skip
"""The seven groups by location, sizes 9, 10, 5, 2, 9, 3, 2; names outside them join `whole`."""


def _branch(channels: int, widths: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin, cout in zip((channels, *widths[:-1]), widths, strict=True):
        layers += [nn.Linear(cin, cout, bias=False), nn.BatchNorm1d(cout), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class TransFA(nn.Module):
    """Seven location branches on one pooled feature.

    Args: widths: hidden sizes of a branch (2048, 512 in the public code); dropout 0.5 there.

    Source: arXiv 2207.05456, see the file header for what is left out.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        widths: Sequence[int] = (512, 256),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.backbone, self.preprocess = backbone, preprocess
        self.attributes, self.groups = tuple(attributes), dict(groups)
        placed = {name for members in LOCATIONS.values() for name in members}
        members = {place: [n for n in self.attributes if n in names] for place, names in LOCATIONS.items()}
        members["whole"] += [name for name in self.attributes if name not in placed]
        self.locations = {place: tuple(names) for place, names in members.items() if names}
        self.branches = nn.ModuleList(_branch(backbone.channels[-1], widths, len(names), dropout) for names in self.locations.values())
        flat = [name for names in self.locations.values() for name in names]
        self.order: Tensor
        self.register_buffer("order", torch.tensor([flat.index(name) for name in self.attributes]), persistent=False)

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        feature = self.backbone(x)[-1]  # (N,C,h/32,w/32)
        pooled = feature.mean((2, 3))  # (N,C)
        logits = torch.cat([branch(pooled) for branch in self.branches], dim=1)  # (N,A) by location
        return TorchOutput(logits.index_select(1, self.order).float(), None if self.training else feature.mean(1, keepdim=True).float())

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card: one map, the trunk's mean activation."""
        return {"kind": "activation", "of": ["face"]}
