"""MGRR-Net's idea as an attribute head (arXiv 2204.01349; Ge, Jose, Xu, Liu, Han; ACM TIST 2024): regions, the whole, a
graph of attributes.

    x -> F_4, F_5 -> region nodes (N,K,D) and a global node (N,1,D), which ask each other -> attribute nodes (N,A,D) ask
        them
    -> attribute nodes ask each other over a learned graph, gated -> logits (N,A) = linear of GAP(F_5) + what each node
            says

| paper's term | our name |
|---|---|
| regional graph | `between_regions` |
| graph attention | `graph`, the learned bias (A,A) of `between_attributes` |
| gated fusion cell | `gate` |

Read in the paper: it detects facial action units, not attributes; in each layer features are learned at the level of
regions (a graph network over local patches) and of the whole map (graph attention over pixels and channels), and gated
cells fuse them.
Ours: what its units are here (the 40 attributes), nodes pooled from the mean face's eight regions, attention in place
of both graph networks, one layer. No accuracy of the paper speaks of attributes, so there is none to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.data.regions import GROUPS, mean_region
from lineament.errors import ConfigError
from lineament.models.attention import Attention, Layer
from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput
from lineament.models.region_pooling import masked_average, on_grid


class MGRR(nn.Module):
    """Region and global nodes, and attributes that ask them and each other.

    Args: size, heads: of nodes and attention. floor: see `region_pooling.py`. use_graph: attributes ask each other (the
        control without).

    Source: arXiv 2204.01349, see the file header.
    Raises: ConfigError for a group that has no region.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        size: int = 256,
        heads: int = 4,
        floor: float = 0.1,
        use_graph: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.backbone, self.preprocess, self.floor = backbone, preprocess, floor
        self.attributes, self.groups = tuple(attributes), {name: tuple(members) for name, members in groups.items()}
        unknown = [name for name in self.groups if name not in GROUPS]
        if unknown:
            raise ConfigError(f"mgrr has no region for the group {unknown[0]!r}. Use groups among {GROUPS}.")
        self.region_rows = [GROUPS.index(name) for name in self.groups]
        self.mean_mask: Tensor
        self.register_buffer(
            "mean_mask", torch.from_numpy(mean_region(style="paper")).float().unsqueeze(0), persistent=False
        )
        count, nodes, channels = len(self.attributes), len(self.groups) + 1, backbone.channels
        self.project = nn.ModuleList(nn.Sequential(nn.Linear(c, size), nn.LayerNorm(size)) for c in channels[-2:])
        self.project_whole = nn.Sequential(nn.Linear(channels[-1], size), nn.LayerNorm(size))
        self.whose = nn.Parameter(0.1 * torch.randn(nodes, size))
        self.between_regions = Layer(size, heads)
        self.node = nn.Parameter(0.5 * torch.randn(count, size))
        self.asking = Layer(size, heads, asks=True)
        self.near = nn.Parameter(self._own_region(nodes))
        self.between_attributes = Attention(size, heads) if use_graph else None
        self.graph = nn.Parameter(torch.zeros(count, count)) if use_graph else None
        self.norm, self.gate = nn.LayerNorm(size), nn.Linear(2 * size, size) if use_graph else None
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(channels[-1], count)
        self.says = nn.Parameter(0.02 * torch.randn(count, size))

    def _own_region(self, nodes: int) -> Tensor:
        """Return the bias (A,nodes) with which an attribute begins: towards its own group's region and the whole."""
        bias = torch.zeros(len(self.attributes), nodes)
        bias[:, -1] = 1.0
        for place, members in enumerate(self.groups.values()):
            bias[[self.attributes.index(name) for name in members], place] = 1.0
        return bias

    def whole_frame_region(self, n: int) -> Tensor:
        """Return the masks (n,8,h',w') that hold for every uncropped face: training moves them with the image."""
        return self.mean_mask.expand(n, -1, -1, -1)

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        features = self.backbone(x)[-2:]  # F_4, F_5
        pooled = features[-1].mean((2, 3))  # (N,C)
        nodes = self.nodes(features, pooled, (self.mean_mask if region is None else region)[:, self.region_rows])
        asked, _ = self.asking(self.node.to(nodes.dtype).repeat(x.shape[0], 1, 1), nodes, self.near)  # (N,A,D)
        asked = self.relate(asked)
        spoken = (self.dropout(asked) * self.says.to(asked.dtype)).sum(2)
        logits = (self.head(self.dropout(pooled)) + spoken).float()  # (N,A)
        if self.training:
            return TorchOutput(logits)
        return TorchOutput(logits, features[-1].mean(1, keepdim=True).float(), features=pooled.float())

    def nodes(self, features: Sequence[Tensor], pooled: Tensor, masks: Tensor) -> Tensor:
        """Return region nodes and the global node (N,K+1,D) after they asked each other; masks (N,K,h',w'), or one for
        all."""
        parts = [
            project(masked_average(feature, on_grid(masks, feature), floor=self.floor))
            for project, feature in zip(self.project, features, strict=True)
        ]
        regions = torch.stack(parts).mean(0)  # (N,K,D)
        nodes = torch.cat([regions, self.project_whole(pooled).unsqueeze(1)], 1)
        related, _ = self.between_regions(nodes + self.whose.to(nodes.dtype))
        return related  # type: ignore[no-any-return]

    def relate(self, asked: Tensor) -> Tensor:
        """Return attribute nodes (N,A,D) after they asked each other over the learned graph, old and new mixed by a
        gate."""
        asked = self.norm(asked)
        if self.between_attributes is None or self.gate is None:
            return asked
        told: Tensor = self.between_attributes(asked, asked, self.graph)[0]
        kept: Tensor = torch.sigmoid(self.gate(torch.cat([asked, told], 2)))
        return kept * asked + (1 - kept) * told

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card: one map, the trunk's mean activation."""
        return {"kind": "activation", "of": ["face"]}
