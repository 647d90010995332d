"""Attention in the form the heads share: several heads, norms before, a bias per pair where one is learned. Exported as
plain matrix products.

    query (N,Q,D), memory (N,M,D), bias (Q,M) -> softmax(q k / sqrt(d) + bias) v -> (N,Q,D), weights (N,Q,M)

Source: Vaswani et al., 2017 (arXiv 1706.03762), norms before each part as in Xiong et al., 2020 (arXiv 2002.04745).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lineament.errors import ConfigError

_FREQUENCIES = 4


class Attention(nn.Module):
    """Multi-head attention of a query over a memory.

    Args: size: D, a multiple of `heads`.
    Raises: ConfigError if it is not.
    """

    def __init__(self, size: int, heads: int = 4) -> None:
        super().__init__()
        if size % heads:
            raise ConfigError(
                f"An attention of size {size} cannot have {heads} heads: the size must be a multiple of them."
            )
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))

    def forward(self, query: Tensor, memory: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the answers (N,Q,D) and, averaged over heads, how much of each memory they hold (N,Q,M)."""
        q, k, v = (
            self._split(part) for part in (self.query(query), self.key(memory), self.value(memory))
        )  # (N,heads,.,d)
        scores = (q @ k.transpose(2, 3)).float() / math.sqrt(q.shape[3])
        weights = torch.softmax(scores if bias is None else scores + bias.float(), dim=3)  # (N,heads,Q,M)
        answer = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        return self.out(answer), weights.mean(1)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class Layer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x). Where it `asks` a memory, x asks that; else x asks itself."""

    def __init__(self, size: int, heads: int = 4, *, asks: bool = False, widen: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(size), nn.LayerNorm(size)
        self.norm_memory = nn.LayerNorm(size) if asks else None
        self.attention, self.dropout = Attention(size, heads), nn.Dropout(dropout)
        self.mlp = nn.Sequential(nn.Linear(size, widen * size), nn.GELU(), nn.Linear(widen * size, size))

    def forward(self, x: Tensor, memory: Tensor | None = None, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x after the layer (N,Q,D), and its attention (N,Q,M)."""
        asked = self.norm(x)
        answer, weights = self.attention(
            asked, asked if memory is None or self.norm_memory is None else self.norm_memory(memory), bias
        )
        x = x + self.dropout(answer)
        return x + self.dropout(self.mlp(self.norm_mlp(x))), weights


class Tokens(nn.Module):
    """A stage's feature as tokens: (N,C,h,w) -> (N,hw,D), each cell told where it lies in the picture, on any grid."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.project, self.norm = nn.Linear(channels, size), nn.LayerNorm(size)
        self.place = nn.Linear(4 * _FREQUENCIES, size)

    def forward(self, feature: Tensor) -> Tensor:
        cells = self.project(feature.permute(0, 2, 3, 1).flatten(1, 2))  # (N,hw,D)
        token: Tensor = self.norm(cells) + self.place(places(int(feature.shape[2]), int(feature.shape[3])).to(feature))
        return token


def places(h: int, w: int) -> Tensor:
    """Return what tells the cells of a grid apart (hw,16): sines and cosines of 1, 2, 4, 8 half turns over each side,
    at cell centres."""
    turns = 2.0 ** torch.arange(_FREQUENCIES) * math.pi
    y, x = ((torch.arange(n) + 0.5)[:, None] / n * turns for n in (h, w))
    rows = torch.cat([torch.sin(y), torch.cos(y)], 1)[:, None].expand(h, w, -1)
    columns = torch.cat([torch.sin(x), torch.cos(x)], 1)[None].expand(h, w, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)
