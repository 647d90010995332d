"""The model card: one contract between training and inference, inside the ONNX metadata and beside it as JSON.

Everything that changes an answer stands here: layout and size of the crop, channel order, mean and scale, attribute
names, thresholds, calibration. So does what a user must know before relying on it: data, licence, intended use,
measured accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lineament.decision.layer import Decision
from lineament.decision.rates import under_rates
from lineament.errors import ModelFileError

CARD_KEY = "lineament_card"
CARD_VERSION = 1
_REQUIRED = (
    "card_version",
    "name",
    "architecture",
    "attributes",
    "input",
    "decision",
    "data",
    "licence",
    "intended_use",
)

INPUT_CONTRACT: Mapping[str, Any] = {
    "tensor": "crops", "dtype": "uint8", "shape": ["N", 3, 218, 178], "channels": "RGB", "range": [0, 255],
    "layout": "celeba-178x218",
}  # fmt: skip
"""What every Lineament network eats: uint8 RGB crops in CelebA's aligned layout. Resizing, channel order, mean and
scale are inside the graph."""


@dataclass(frozen=True)
class Card:
    """A parsed card. `document` is the whole JSON object; the properties are its parts that code needs."""

    document: Mapping[str, Any]
    file_sha256: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(self.document["attributes"])

    @property
    def decision(self) -> Decision:
        return Decision.from_dict(self.document["decision"])

    @property
    def consistency_rules(self) -> str | None:
        return self.document.get("consistency_rules")

    def under_rates(self, rates: Mapping[str, float]) -> Card:
        """Return the card with its decision layer moved to other class rates; its file and its id stay. Raises:
        UsageError."""
        return replace(self, document={**self.document, "decision": under_rates(self.decision, rates).to_dict()})

    def to_json(self) -> str:
        """Return the card as JSON with sorted keys, the form stored in ONNX metadata."""
        return json.dumps(self.document, sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(text: str, *, origin: str, file_sha256: str | None = None) -> Card:
        """Parse and check a card. Raises: ModelFileError naming what is missing or wrong and where it came from."""
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelFileError(
                f"The model card in {origin} is not JSON ({error}). Export the model again."
            ) from error
        missing = [key for key in _REQUIRED if key not in document]
        if missing:
            raise ModelFileError(
                f"The model card in {origin} lacks {missing}. Export the model again with `lineament export`."
            )
        if document["card_version"] != CARD_VERSION:
            raise ModelFileError(
                f"The model card in {origin} has version {document['card_version']}, this Lineament reads "
                f"{CARD_VERSION}. Update Lineament."
            )
        if dict(document["input"]) | {"normalisation": None} != dict(INPUT_CONTRACT) | {"normalisation": None}:
            raise ModelFileError(
                f"The model in {origin} wants input {document['input']}; this Lineament feeds {dict(INPUT_CONTRACT)}."
            )
        return Card(document, file_sha256)
