"""What a training learns beside its attributes: landmarks, identities; and what it fits as it goes: a threshold per
attribute.

    output, batch, frame -> w_l landmark loss + w_i identity loss -> ()      held-out logits -> thresholds (A,)

State is plain tensors in `state_dict`, so a resumed run goes on as an uninterrupted one. Of many processes all keep the
same centres: they are told each other's features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lineament.config import LossConfig
from lineament.data.labelled import LabelledFiles
from lineament.data.transforms import Frame
from lineament.errors import ConfigError
from lineament.models.layers import TorchOutput
from lineament.objectives.adaptive_thresholds import AdaptiveThresholds
from lineament.objectives.identity import IdentityCentres
from lineament.objectives.landmarks import landmark_loss
from lineament.training.dataset import Batch
from lineament.training.distributed import Team


class SideTerms(nn.Module):
    """The terms of the loss that are no attribute's, and adaptive thresholds.

    Args: network: one whose `identify` is not None gives embeddings (models/transfa.py).
    Raises: ConfigError where `loss.identity` asks for what the network or the data do not have.
    """

    people: Tensor

    def __init__(self, loss: LossConfig, table: LabelledFiles, network: Any, team: Team) -> None:
        super().__init__()
        self.loss, self.team = loss, team
        self.centres: IdentityCentres | None = None
        self.thresholds = AdaptiveThresholds(len(table.attributes)) if loss.thresholds == "adaptive" else None
        self.register_buffer("people", torch.zeros(0, dtype=torch.int64), persistent=False)
        if loss.identity:
            self._tell_apart(table, network)

    def _tell_apart(self, table: LabelledFiles, network: Any) -> None:
        heads = getattr(network, "identify", None)
        if heads is None:
            raise ConfigError(
                "loss.identity needs a network that tells people apart: transfa with model.options.identity above 0. "
                "Set it, or 0 here."
            )
        if table.identity is None or not (table.identity >= 0).any():
            raise ConfigError(
                "loss.identity needs to know who is who (a column celeb_id or identity), and these data do not say. "
                "Set loss.identity: 0."
            )
        people = np.unique(table.identity[table.identity >= 0])
        self.people = torch.from_numpy(people)
        self.centres = IdentityCentres(len(people), len(network.locations) + 1, heads[0].out_features)

    def forward(self, output: TorchOutput, batch: Batch, frame: Frame) -> Tensor:
        """Return what landmarks and identities add to the loss of a step, (); centres move."""
        added = output.logits.new_zeros(())
        if output.landmarks is not None and frame.landmarks is not None:
            size = (int(frame.x.shape[2]), int(frame.x.shape[3]))
            points = frame.landmarks.to(output.landmarks.device)
            added = added + self.loss.landmark * landmark_loss(
                output.landmarks.float(), points, form=self.loss.landmark_form, size=size
            )
        if self.centres is not None and output.embedding is not None and batch.identity is not None:
            added = added + self.loss.identity * self._identity(output.embedding, batch.identity)
        return added

    def _identity(self, embedding: Tensor, identity: Tensor) -> Tensor:
        assert self.centres is not None
        device = embedding.device
        place = torch.searchsorted(self.people, identity.to(self.people.device)).clamp(max=len(self.people) - 1)
        person = torch.where(self.people[place] == identity.to(self.people.device), place, -1).to(device)
        self.centres.to(device)
        terms = self.centres.terms(embedding, person)
        self.centres.update(*self._of_all(embedding.detach(), person))
        return terms.sum() / (person >= 0).sum().clamp(min=1)

    def _of_all(self, embedding: Tensor, person: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings and people of every process's part of the batch."""
        if self.team.size == 1:
            return embedding, person
        rows = torch.zeros(self.team.size, len(person), embedding[0].numel() + 1)
        rows[self.team.rank] = torch.cat([embedding.flatten(1).float(), person[:, None].float()], 1).cpu()
        rows = self.team.summed(rows).flatten(0, 1)
        return rows[:, :-1].reshape(-1, *embedding.shape[1:]).to(embedding.device), rows[:, -1].round().long().to(
            person.device
        )

    def look(self, logits: Tensor, targets: Tensor, known: Tensor) -> None:
        """Move adaptive thresholds, if there are any, after a look at the held-out images (N,A)."""
        if self.thresholds is not None:
            self.thresholds.look(torch.sigmoid(logits), targets, known)

    def facts(self, table: LabelledFiles) -> dict[str, Any]:
        """Return what a trained file's header says of them: attribute -> threshold, empty without adaptive ones."""
        if self.thresholds is None:
            return {}
        return {
            "thresholds": dict(
                zip(table.attributes, (round(float(value), 4) for value in self.thresholds.tau), strict=True)
            )
        }
