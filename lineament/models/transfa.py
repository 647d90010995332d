"""TransFA (arXiv 2207.05456; Liu, He, Peng, Wang, Li, Gao, 2022): a transformer over the trunk's tokens, a query and a
branch per location.

    x -> trunk -> F_4, F_5 -> tokens T (N,M,D) -> encoder -> Q_l asks T -> u (N,L,D) -> [u_l ; GAP(F_5)] -> branch l ->
        logits (N,A)
                                                                    u -> identity features (N,1+L,E), in training

| paper's term | our name |
|---|---|
| semantic region group | `LOCATIONS` |
| branch of a group | `branches` |
| hierarchical identity constraint | `objectives/identity.py` |

Read in the abstract: transformer features, attributes grouped by semantic region with a branch each, a hierarchical
identity-constraint loss. Read in the public code (lorry30/TransFA): Swin-T trunk at 224, the seven groups by location
(sizes 9, 10, 5, 2, 9, 3, 2), branches C -> 2048 -> 512 -> n with BN, ReLU and dropout 0.5, identity terms on the whole
face and on each branch, SGD 0.9 at 1e-2, rotation by up to 30 degrees.
Reconstructed here: where a trunk has no attention of its own (MobileNetV1, ResNet), tokens of its last two stages pass
through a small encoder, and a learned query per location reads its branch's feature from them (in the public code all
branches read the same pooled feature, here `reads: pooled`); centres of identities in place of pairs within a batch;
all widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.models.attention import Layer, Tokens
from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput

LOCATIONS: Mapping[str, tuple[str, ...]] = {
    "whole": ("Attractive", "Blurry", "Chubby", "Heavy_Makeup", "Male", "Oval_Face", "Pale_Skin", "Smiling", "Young"),
    "hair": (
        "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Straight_Hair",
        "Wavy_Hair", "Wearing_Hat",
    ),
    "eyes": ("Arched_Eyebrows", "Bushy_Eyebrows", "Bags_Under_Eyes", "Eyeglasses", "Narrow_Eyes"),
    "nose": ("Big_Nose", "Pointy_Nose"),
    "lower": (
        "5_o_Clock_Shadow", "Big_Lips", "Mouth_Slightly_Open", "Mustache", "Wearing_Lipstick", "Double_Chin", "Goatee",
        "No_Beard", "Sideburns",
    ),
    "cheeks": ("High_Cheekbones", "Rosy_Cheeks", "Wearing_Earrings"),
    "neck": ("Wearing_Necklace", "Wearing_Necktie"),
}  # fmt: skip
"""The seven groups by location, sizes 9, 10, 5, 2, 9, 3, 2; names outside them join `whole`."""


READS = ("tokens", "pooled")


def _branch(channels: int, widths: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin, cout in zip((channels, *widths[:-1]), widths, strict=True):
        layers += [nn.Linear(cin, cout, bias=False), nn.BatchNorm1d(cout), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class Locations(nn.Module):
    """What each location of the face shows: tokens of the last two stages -> encoder -> one learned query per location.
    -> (N,L,D), (N,L,h,w)."""

    def __init__(
        self, channels: Sequence[int], locations: int, size: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = nn.ModuleList(Tokens(c, size) for c in channels)
        self.encoder = nn.ModuleList(Layer(size, heads, dropout=dropout) for _ in range(layers))
        self.query = nn.Parameter(0.5 * torch.randn(locations, size))
        self.asking, self.norm = Layer(size, heads, asks=True, dropout=dropout), nn.LayerNorm(size)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        memory = torch.cat(
            [tokens(feature) for tokens, feature in zip(self.tokens, features, strict=True)], 1
        )  # (N,M,D)
        for layer in self.encoder:
            memory, _ = layer(memory)
        asked, weights = self.asking(self.query.to(memory.dtype).repeat(memory.shape[0], 1, 1), memory)
        h, w = int(features[0].shape[2]), int(features[0].shape[3])
        return self.norm(asked), weights[:, :, : h * w].reshape(asked.shape[0], asked.shape[1], h, w)


class TransFA(nn.Module):
    """A branch per location, each reading its own part of the face.

    Args:
        reads: `tokens` (a query per location over a transformer) or `pooled` (all branches read the pooled feature, as
        the public code's heads do).
        size, layers, heads: of the transformer. widths: hidden sizes of a branch (2048, 512 in the public code);
        dropout 0.5 there, in branches.
        identity: size of the features that the identity-centred loss compares (`loss.identity`), 0 for none.

    Source: arXiv 2207.05456, see the file header for what is reconstructed.
    Raises: ConfigError for an unknown `reads`.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        reads: str = "tokens",
        size: int = 256,
        layers: int = 1,
        heads: int = 4,
        widths: Sequence[int] = (512, 256),
        identity: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if reads not in READS:
            raise ConfigError(f"transfa: reads must be one of {READS}, not {reads!r}.")
        self.backbone, self.preprocess = backbone, preprocess
        self.attributes, self.groups = tuple(attributes), dict(groups)
        placed = {name for members in LOCATIONS.values() for name in members}
        members = {place: [n for n in self.attributes if n in names] for place, names in LOCATIONS.items()}
        members["whole"] += [name for name in self.attributes if name not in placed]
        self.locations = {place: tuple(names) for place, names in members.items() if names}
        channels = backbone.channels[-1]
        self.looks = (
            Locations(backbone.channels[-2:], len(self.locations), size, layers, heads, 0.1)
            if reads == "tokens"
            else None
        )
        wide = channels if self.looks is None else channels + size
        self.branches = nn.ModuleList(_branch(wide, widths, len(names), dropout) for names in self.locations.values())
        self.identify = (
            nn.ModuleList(nn.Linear(c, identity) for c in (channels, size))
            if identity and self.looks is not None
            else None
        )
        flat = [name for names in self.locations.values() for name in names]
        self.order: Tensor
        self.register_buffer("order", torch.tensor([flat.index(name) for name in self.attributes]), persistent=False)

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        features = self.backbone(x)[-2:]  # F_4, F_5
        pooled = features[-1].mean((2, 3))  # (N,C)
        if self.looks is None:
            seen, maps = [pooled] * len(self.locations), features[-1].mean(1, keepdim=True)
            embedding = None
        else:
            told, maps = self.looks(features)  # u (N,L,D), (N,L,h/16,w/16)
            seen = [torch.cat([told[:, place], pooled], 1) for place in range(len(self.locations))]
            embedding = self._identity(pooled, told) if self.training else None
        logits = torch.cat(
            [branch(feature) for branch, feature in zip(self.branches, seen, strict=True)], dim=1
        )  # (N,A) by location
        logits = logits.index_select(1, self.order).float()
        if self.training:
            return TorchOutput(logits, embedding=embedding)
        return TorchOutput(logits, maps.float(), features=pooled.float())

    def _identity(self, pooled: Tensor, told: Tensor) -> Tensor | None:
        """Return the features that say who is shown (N,1+L,E): of the whole face, then of each location. None where
        none are asked for."""
        if self.identify is None:
            return None
        whole, located = self.identify
        return torch.cat([whole(pooled).unsqueeze(1), located(told)], 1).float()

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card: where each location's query looks, or the trunk's mean activation."""
        if self.looks is None:
            return {"kind": "activation", "of": ["face"]}
        return {"kind": "group_attention", "of": list(self.locations)}
