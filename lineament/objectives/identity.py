"""The identity-centred term of TransFA's loss: features of one person near that person's centre, and nearer than to
others'.

    embedding (B,E,D), person (B,) -> -log softmax over the batch's people of cos(e, centre) / T -> terms (B,) ;  then
        centres move

Read in the public code (papers.md 4): identity is a constraint on the whole face's features and on each branch's, by
contrast within the batch.
Reconstructed here: a batch of 64 drawn from 7,000 people hardly holds a pair, so each person's centre is kept between
steps (by CelebA's `celeb_id`) and features are contrasted with the centres of the people in the batch.
Source: TransFA, arXiv 2207.05456; centres: Wen et al., ECCV 2016; the contrast: van den Oord et al., 2018 (arXiv
1807.03748).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class IdentityCentres(nn.Module):
    """A centre per person for each of E embeddings of size D, running means of unit features. Buffers, so a checkpoint
    holds them.

    Args: people: P; embeddings: E; size: D; momentum: how much of a centre stays when its person is seen again;
        temperature: T.
    """

    centres: Tensor
    seen: Tensor

    def __init__(
        self, people: int, embeddings: int, size: int, *, momentum: float = 0.7, temperature: float = 0.2
    ) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        self.register_buffer("centres", torch.zeros(people, embeddings, size))
        self.register_buffer("seen", torch.zeros(people, dtype=torch.bool))

    def terms(self, embedding: Tensor, person: Tensor) -> Tensor:
        """Return the term of each image (B,), mean over its embeddings, exactly zero where it has no centre yet to be
        near to.

        Args: embedding (B,E,D); person (B,) int64 in 0..P-1, negative where unknown.
        """
        told = (person >= 0) & self.seen[person.clamp(min=0)]
        if not told.any():
            return embedding.sum((1, 2)) * 0.0  # part of the graph, so that every process of a team has one
        unit = F.normalize(embedding.float(), dim=2)
        people, place = torch.unique(person[told], return_inverse=True)
        against = F.normalize(self.centres[people], dim=2)  # (Q,E,D)
        scores = torch.einsum("bed,qed->beq", unit[told], against) / self.temperature
        terms = F.cross_entropy(scores.flatten(0, 1), place.repeat_interleave(scores.shape[1]), reduction="none")
        out = torch.zeros(len(person), dtype=terms.dtype, device=terms.device)
        return out.masked_scatter(told, terms.reshape(-1, scores.shape[1]).mean(1))

    @torch.no_grad()
    def update(self, embedding: Tensor, person: Tensor) -> None:
        """Move each shown person's centre towards the mean of that person's unit features in the batch; a new person's
        is that mean."""
        known = person >= 0
        if not known.any():
            return
        unit = F.normalize(embedding[known].float(), dim=2)
        people, place, count = torch.unique(person[known], return_inverse=True, return_counts=True)
        mean = torch.zeros(len(people), *unit.shape[1:], dtype=unit.dtype, device=unit.device).index_add_(
            0, place, unit
        )
        mean /= count.view(-1, 1, 1)
        keep = torch.where(self.seen[people], self.momentum, 0.0).view(-1, 1, 1)
        self.centres[people] = keep * self.centres[people] + (1 - keep) * mean
        self.seen[people] = True
