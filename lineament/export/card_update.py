"""Card update: put a fitted decision layer into a model's card, inside the ONNX file and in the JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lineament.evaluation.calibrate import Fitted
from lineament.files import sha256_of
from lineament.runtime.card import Card
from lineament.runtime.onnx_file import read_card, with_card


def with_decision(card: Card, fitted: Fitted, fitted_on: str) -> Card:
    """Return the card with the decision layer, what it was fitted on and its held-out evidence (means only: the rest is
    in reports)."""
    evidence: dict[str, Any] = {key: value for key, value in fitted.evidence.items() if key != "attributes"}
    document = {
        **card.document,
        "decision": fitted.decision.to_dict(),
        "fitted_on": fitted_on,
        "decision_evidence": evidence,
    }
    return Card(document)


def embed(model: Path, fitted: Fitted, fitted_on: str, out: Path) -> Card:
    """Write `out`, a copy of the ONNX file `model` whose card carries the decision layer; also OUT's name with
    .card.json. Return the card.

    `out` may be `model`. Raises: ModelFileError if `model` carries no card.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with_card(model, with_decision(read_card(model), fitted, fitted_on), out)
    return write_card_beside(out, read_card(out))


def write_card_beside(onnx_file: Path, card: Card) -> Card:
    """Write `FILE.card.json` with the ONNX file's own SHA-256 in it; return the card with that hash."""
    digest = sha256_of(onnx_file)
    document = dict(card.document) | {
        "file": onnx_file.name,
        "file_sha256": digest,
        "file_bytes": onnx_file.stat().st_size,
    }
    onnx_file.with_suffix(".card.json").write_text(
        json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8"
    )
    return Card(card.document, digest)
