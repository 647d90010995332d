"""FAR-AMTN: Attention Multi-Task Network (arXiv 2601.01537; Gao et al., CVIU 2025, article 104426): WSGSA, CGFF, DWS.

    x -> trunk without its last block -> X (N,C,h,w) -> f(X), one convolution block for all groups
    GAP(X) -> Psi_g, one gate per group -> X'_g = relu(a X + Psi_g f(X)) -> GAP -> v (N,K,C) -> CGFF -> logits (N,A)

| paper symbol | our name |
|---|---|
| X | `feature` |
| f(X), shared weights | `shared` |
| Z | the argument of `gates` |
| Psi_g | `gates` |
| X'_g | `group_feature` |

Read in the paper (through its reviews): ResNet-50, conv1 to conv4 shared; Weight-Shared Group-Specific Attention
replaces the last residual block of conv5; squeeze by GAP of X, two fully connected layers per group with reduction 16,
sigmoid; f shared by all groups; the group's feature is the element-wise product; group features interact before K
independent fully connected heads; losses are weighted dynamically.
Reconstructed here: the order of the two layers (the only one whose dimensions match), the skip a X and the ReLU, both
CGFF forms and what their tokens are, K = 8 and the groups. DWS: `objectives/weighting.py`.

Why the ReLU matters, and where it does not: GAP(Psi f(X)) = Psi GAP(f(X)), so without it groups differ by a channel
scaling only. It cuts where f is negative, as f of a ResNet block is (its last activation comes after the skip): there a
is 1 and a gate of 1 is the block itself. A block without a skip (MobileNetV1, toy) ends in an activation: taken whole,
X and f(X) are never negative and the ReLU cuts nothing. It is taken without that activation (`linear`), and its skip,
which the trunk never had, begins at a = 0 and is learned (`learned_skip`): the network then starts from what the trunk
computes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput

FUSIONS = ("gate", "concat", "none")
TOKENS = ("normalised", "plain")
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)


class GroupGates(nn.Module):
    """Psi_g = sigmoid(B_g relu(A_g Z)), a pair of layers per group. Z (N,C) -> (N,K,C)."""

    def __init__(self, channels: int, groups: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.down = nn.ModuleList(nn.Linear(channels, inner) for _ in range(groups))
        self.up = nn.ModuleList(nn.Linear(inner, channels) for _ in range(groups))

    def forward(self, squeezed: Tensor) -> Tensor:
        return torch.stack(
            [torch.sigmoid(up(torch.relu(down(squeezed)))) for down, up in zip(self.down, self.up, strict=True)], dim=1
        )


class GroupTokens(nn.Module):
    """What groups show each other: their features (N,K,C), each normalised over its channels, plus what says whose it
    is.

    Pooled features of one face are nearly the same for all groups (gates scale channels), so attention over them plain
    is uniform. Reconstructed.

    Args: told: add a learned embedding per group; without, the place in a concatenation says whose a token is.
    """

    def __init__(self, channels: int, groups: int, *, told: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.whose = nn.Parameter(0.1 * torch.randn(groups, channels)) if told else None

    def forward(self, v: Tensor) -> Tensor:
        token: Tensor = self.norm(v)
        return token if self.whose is None else token + self.whose.to(token.dtype)


class GateFusion(nn.Module):
    """CGFF (a): single-head attention of each group over the *other* groups. v (N,K,C) -> u (N,K,C+d)."""

    def __init__(self, channels: int, groups: int, size: int = 256, tokens: str = "normalised") -> None:
        super().__init__()
        self.tokens = GroupTokens(channels, groups) if tokens == "normalised" else nn.Identity()
        self.query, self.key, self.value = (nn.Linear(channels, size, bias=False) for _ in range(3))
        self.scale, self.out = size**-0.5, channels + size
        self.itself: Tensor
        self.register_buffer("itself", torch.eye(groups) * -1e4, persistent=False)

    def forward(self, v: Tensor) -> Tensor:
        token = self.tokens(v)
        scores = self.query(token) @ self.key(token).transpose(1, 2) * self.scale  # (N,K,K)
        attention = torch.softmax(scores.float() + self.itself, dim=2).to(v.dtype)
        return torch.cat([v, (attention @ self.value(token)).to(v.dtype)], dim=2)


class ConcatFusion(nn.Module):
    """CGFF (b): one mixture of all groups, given to each. v (N,K,C) -> u (N,K,C+d)."""

    def __init__(self, channels: int, groups: int, size: int = 512, tokens: str = "normalised") -> None:
        super().__init__()
        self.tokens = GroupTokens(channels, groups, told=False) if tokens == "normalised" else nn.Identity()
        self.mix = nn.Sequential(nn.Linear(channels * groups, size, bias=False), nn.BatchNorm1d(size), nn.ReLU())
        self.out = channels + size

    def forward(self, v: Tensor) -> Tensor:
        mixture: Tensor = self.mix(self.tokens(v).flatten(1))
        return torch.cat([v, mixture.to(v.dtype).unsqueeze(1).expand(-1, v.shape[1], -1)], dim=2)


def has_skip(block: nn.Module) -> bool:
    """Whether a trunk's block adds its input to what it computes (ResNet and its kin), so that X + Psi f(X) is the
    block again for Psi = 1."""
    return hasattr(block, "conv2")


def without_last_activation(block: nn.Module) -> nn.Module:
    """Return a copy of a block whose last activation is the identity. Raises: ConfigError if it has none."""
    block = copy.deepcopy(block)
    names = [name for name, module in block.named_modules() if isinstance(module, ACTIVATIONS)]
    if not names:
        raise ConfigError("far-amtn: linear needs a last block that ends in an activation; this trunk's has none.")
    owner, _, last = names[-1].rpartition(".")
    setattr(block.get_submodule(owner), last, nn.Identity())
    return block


def residual_branch(block: nn.Module, *, linear: bool = False) -> nn.Module:
    """Return f of a trunk's last block: its convolutions without the skip and the last activation, so that X + Psi f(X)
    is the block again.

    Convention: a block without a skip of its own (MobileNetV1, toy) is taken whole, or with `linear` without its last
    activation. The names of its tensors stay in either case, so that trained trunks fill them.
    """
    if not has_skip(block):
        return without_last_activation(block) if linear else block
    names = ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "avd_last", "conv3", "bn3")
    last = "bn3" if hasattr(block, "conv3") else "bn2"
    found = ((name, getattr(block, name, None)) for name in names[: names.index(last) + 1])
    return nn.Sequential(OrderedDict((name, part) for name, part in found if part is not None))


class FarAmtn(nn.Module):
    """Shared trunk, one shared last block, one gate per group.

    Args: residual: relu(a X + Psi f(X)), else Psi f(X) (the control that shows the remark in the header). learned_skip:
    a is learned, from 0, else 1; linear: f without its last activation; both by default (None) where the trunk's last
    block has no skip. fusion: `gate`, `concat` or `none`;
    fusion_tokens: `normalised` (and told apart, `GroupTokens`) or `plain`.

    Source: arXiv 2601.01537, see the file header for what is reconstructed.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        residual: bool = True,
        learned_skip: bool | None = None,
        linear: bool | None = None,
        fusion: str = "gate",
        fusion_tokens: str = "normalised",
        fusion_size: int | None = None,
        reduction: int = 16,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ConfigError(f"far-amtn: fusion must be one of {FUSIONS}, not {fusion!r}.")
        if fusion_tokens not in TOKENS:
            raise ConfigError(f"far-amtn: fusion_tokens must be one of {TOKENS}, not {fusion_tokens!r}.")
        self.preprocess, self.residual = preprocess, residual
        self.attributes, self.groups = tuple(attributes), {name: tuple(members) for name, members in groups.items()}
        last = len(backbone.stages) - 1
        self.moved = {"backbone.shared.": f"backbone.stages.{last}.{len(backbone.stages[last]) - 1}."}  # type: ignore[arg-type]
        block = backbone.detach_last_block()
        self.linear = not has_skip(block) if linear is None else linear
        learned = not has_skip(block) if learned_skip is None else learned_skip
        self.skip = nn.Parameter(torch.zeros(())) if residual and learned else None  # a; 1 where there is none to learn
        # Inside the trunk's name space, because it holds pretrained weights and learns at the trunk's rate.
        backbone.add_module("shared", residual_branch(block, linear=self.linear))
        self.backbone = backbone
        channels, k = backbone.channels[-1], len(self.groups)
        self.gates = GroupGates(channels, k, reduction)
        self.fusion = self._fusion(fusion, channels, k, fusion_size, fusion_tokens)
        size = channels if self.fusion is None else int(self.fusion.out)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(size, len(members)) for members in self.groups.values())
        flat = [name for members in self.groups.values() for name in members]
        self.order: Tensor
        self.register_buffer("order", torch.tensor([flat.index(name) for name in self.attributes]), persistent=False)

    @staticmethod
    def _fusion(kind: str, channels: int, k: int, size: int | None, tokens: str) -> nn.Module | None:
        """Build CGFF; with a single group there is nothing to fuse."""
        if kind == "none" or k == 1:
            return None
        made = GateFusion if kind == "gate" else ConcatFusion
        return made(channels, k, tokens=tokens) if size is None else made(channels, k, size, tokens)

    def shared(self, feature: Tensor) -> Tensor:
        """Return f(X) (N,C,h,w), the same convolutions for every group."""
        made: Tensor = self.backbone.get_submodule("shared")(feature)
        return made

    def attend(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return v (N,K,C), the pooled features of each group, and attention (N,K,h,w), the mean over channels of each
        group's map."""
        shared = self.shared(feature)  # f(X) (N,C,h,w)
        gates = self.gates(feature.mean((2, 3)))  # Psi (N,K,C) of Z
        kept = feature if self.skip is None else self.skip.to(feature.dtype) * feature  # a X
        pooled, maps = [], []
        for g in range(len(self.groups)):
            gated = gates[:, g, :, None, None] * shared
            group_feature = kept + gated if self.residual else gated
            group_feature = (
                torch.relu(group_feature) if self.residual or self.linear else group_feature
            )  # X'_g (N,C,h,w)
            pooled.append(group_feature.mean((2, 3)))
            maps.append(group_feature.mean(1))
        return torch.stack(pooled, dim=1), torch.stack(maps, dim=1).float()

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        feature = self.backbone(x)[-1]  # X (N,C,h/32,w/32)
        v, maps = self.attend(feature)  # (N,K,C), (N,K,h/32,w/32)
        u = self.dropout(v if self.fusion is None else self.fusion(v))  # (N,K,D)
        logits = torch.cat([head(u[:, g]) for g, head in enumerate(self.heads)], dim=1)  # (N,A) in group order
        logits = logits.index_select(1, self.order).float()  # (N,A)
        if self.training:
            return TorchOutput(logits)
        return TorchOutput(logits, maps, features=v.mean(1).float())  # what the groups pooled, on average (N,C)

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card."""
        return {"kind": "group_attention", "of": list(self.groups)}
