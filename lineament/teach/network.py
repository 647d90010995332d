"""A network with own attributes beside its own: the same logits, and one more column for each file of `--with`.

crops -> logits (N,A), features (N,D) -> logits (N,A+K) ; card, decision layer and id grow alike
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import ModelFileError, UsageError
from lineament.runtime.card import Card
from lineament.runtime.network import Network
from lineament.teach.own_attribute import ENOUGH_AGREEMENT, OwnAttribute, base_of, load_own
from lineament.types import Crops, ModelOutput


class NetworkWithOwn:
    """A `Network` that answers own attributes too. Safe to use from many threads, as the network inside is."""

    def __init__(self, network: Network, own: Sequence[OwnAttribute]) -> None:
        self._network, self._own = network, tuple(own)
        self.card = card_with(network.card, self._own)
        self.id = "+".join([network.id, *(one.id for one in self._own)])
        self.runtime, self.precision = network.runtime, network.precision

    def __call__(self, crops: Crops) -> ModelOutput:
        """Return logits (N,A+K). The features they were read from are not handed on."""
        return replace(self.with_features(crops), features=None)

    def with_maps(self, crops: Crops) -> ModelOutput:
        """Return the same logits with the network's maps; own attributes have none."""
        return replace(self(crops), maps=self._network.with_maps(crops).maps)

    def with_features(self, crops: Crops) -> ModelOutput:
        """Return the same logits with the network's features (N,D)."""
        output = self._network.with_features(crops)
        assert output.features is not None
        columns = [one.logits(output.features) if len(crops) else np.zeros(0, np.float32) for one in self._own]
        logits = np.concatenate([output.logits, np.stack(columns, 1)], 1)
        return ModelOutput(logits, self.card.attributes, features=output.features)


def with_own(network: Network, files: Sequence[str | Path]) -> Network:
    """Return the network with the own attributes of `files` beside its own; itself where there are none.

    Raises: ModelFileError for a file that is none, was made for another model, or needs another runtime or precision;
    UsageError for a name that is taken.
    """
    if not files:
        return network
    own = [_checked(load_own(Path(path)), network, Path(path)) for path in files]
    taken = {name.lower() for name in network.card.attributes}
    for one, path in zip(own, files, strict=True):
        if one.name.lower() in taken:
            raise UsageError(
                f"{path}: the attribute {one.name} is there already. Leave the file out, or teach it under another "
                "name."
            )
        taken.add(one.name.lower())
    return NetworkWithOwn(network, own)


def _checked(own: OwnAttribute, network: Network, path: Path) -> OwnAttribute:
    base = base_of(network.card)
    if own.base["sha256"] != base["sha256"]:
        raise ModelFileError(
            f"{path} was made for {own.base['name']} ({own.base['sha256'][:8]}), this model is {base['name']} "
            f"({base['sha256'][:8]}). Fit it again "
            f"with the same photos: lineament teach {own.name} --model ... --yes DIR --no DIR --out {path}."
        )
    agreement: dict[str, Any] = own.card.get("agreement") or {}
    how = f"{network.runtime} {network.precision}"
    if how in agreement and float(agreement[how]) < ENOUGH_AGREEMENT:
        able = ", ".join(name for name, share in agreement.items() if float(share) >= ENOUGH_AGREEMENT)
        raise ModelFileError(
            f"{path}: under {how} only {float(agreement[how]):.1%} of its labels stay as they were fitted. It needs "
            f"one of: {able}."
        )
    return own


def card_with(card: Card, own: Sequence[OwnAttribute]) -> Card:
    """Return a card that names the own attributes too: their calibration, band, class rate, and their own cards under
    "own"."""
    document = dict(card.document)
    decision = {
        key: dict(value) if isinstance(value, dict) else value for key, value in card.decision.to_dict().items()
    }
    for one in own:
        decision["calibration"][one.name] = one.platt
        decision["abstain"][one.name] = list(one.band)
        decision.setdefault("rates", {})[one.name] = one.rate
    document |= {
        "attributes": [*card.attributes, *(one.name for one in own)],
        "decision": decision,
        "own": {one.name: {"id": one.id, **one.card} for one in own},
    }
    return replace(card, document=document)
