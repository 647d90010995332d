"""The file of an own attribute: one small JSON object, no code in it, with its card.

{kind, name, base, weights, bias, decision, card} -> features (N,D) -> logits (N,)
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import ModelFileError, UsageError
from lineament.files import replacing
from lineament.runtime.card import Card
from lineament.types import Float32

KIND, VERSION = "lineament own attribute", 1
MAX_BYTES = 50_000
ENOUGH_AGREEMENT = 0.99
_READ_AT_MOST = 1_000_000


@dataclass(frozen=True)
class OwnAttribute:
    """A linear head on a model's features. weights (D,) float32, bias: `features @ weights + bias` is the logit at
    equal class rates.

    base: name and sha256 of the trained weights it was fitted on. calibration: Platt's a and b; rate: the share of yes
    that the probability assumes; band: (low, high) of the probability between which `--abstain` says "cannot_tell".
    card: counts, scores, warnings, agreement.
    """

    name: str
    base: Mapping[str, str]
    weights: Float32
    bias: float
    calibration: tuple[float, float]
    rate: float
    band: tuple[float, float]
    card: Mapping[str, Any] = field(default_factory=dict)

    def logits(self, features: Float32) -> Float32:
        """Return logits (N,) of features (N,D)."""
        weights = self.weights.astype(np.float64)  # row by row, so that a face answers alike alone and among others
        return np.array([float(np.dot(row, weights)) + self.bias for row in features.astype(np.float64)], np.float32)

    @property
    def id(self) -> str:
        """NAME@XXXXXXXX, the last part being the start of the hash of everything that an answer depends on."""
        return f"{self.name}@{sha256(self._core().encode('utf-8')).hexdigest()[:8]}"

    @property
    def platt(self) -> dict[str, Any]:
        """The entry of `Decision.calibration`: the class rate is part of it."""
        a, b = self.calibration
        return {"method": "platt", "a": a, "b": b + math.log(self.rate / (1 - self.rate))}

    def _core(self) -> str:
        return json.dumps(
            {key: value for key, value in self.to_dict().items() if key != "card"}, sort_keys=True, ensure_ascii=False
        )

    def to_dict(self) -> dict[str, Any]:
        encoded = base64.b64encode(np.asarray(self.weights, "<f4").tobytes()).decode("ascii")
        return {
            "kind": KIND, "version": VERSION, "name": self.name, "base": dict(self.base), "weights": encoded,
            "bias": self.bias, "calibration": {"a": self.calibration[0], "b": self.calibration[1]}, "rate": self.rate,
            "cannot_tell": list(self.band), "card": dict(self.card),
        }  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises: UsageError where it would be too large (cannot happen but for a
        giant card)."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"
        if len(text.encode("utf-8")) > MAX_BYTES:
            raise UsageError(
                f"{path} would have more than {MAX_BYTES} bytes; the model's feature is too long for an own attribute."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def load_own(path: Path) -> OwnAttribute:
    """Read an own attribute's file. Raises: ModelFileError saying what is wrong with it."""
    try:
        with path.open("rb") as file:
            text = file.read(_READ_AT_MOST + 1)
        if len(text) > _READ_AT_MOST:
            raise ValueError("it is far too large")
        return _parsed(json.loads(text.decode("utf-8")))
    except OSError as error:
        raise ModelFileError(f"Cannot read the own attribute {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ModelFileError(
            f"{path} is no own attribute ({error}). `lineament teach NAME --yes DIR --no DIR --out FILE` makes one."
        ) from error


def _parsed(document: Any) -> OwnAttribute:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError("it does not say that it is one")
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']}, this Lineament reads {VERSION}")
    weights = np.frombuffer(base64.b64decode(document["weights"], validate=True), "<f4").astype(np.float32)
    low, high = (float(value) for value in document["cannot_tell"])
    fitted = document["calibration"]
    numbers = (float(document["bias"]), float(fitted["a"]), float(fitted["b"]), float(document["rate"]), low, high)
    if not (
        np.isfinite(weights).all()
        and all(math.isfinite(value) for value in numbers)
        and 0 < numbers[3] < 1
        and 0 <= low <= high <= 1
    ):
        raise ValueError("a number in it is not finite or out of range")
    return OwnAttribute(
        check_spelling(str(document["name"])), {key: str(document["base"][key]) for key in ("name", "sha256")}, weights,
        numbers[0], (numbers[1], numbers[2]), numbers[3], (low, high), dict(document["card"]),
    )  # fmt: skip


def check_spelling(name: str) -> str:
    """Return a name in Unicode's composed form: letters of any script, digits, _ and -, beginning as `lineament search`
    reads names.

    Raises: UsageError.

    >>> check_spelling("wears_mask"), check_spelling("眼鏡")
    ('wears_mask', '眼鏡')
    """
    import re
    import unicodedata

    text = unicodedata.normalize("NFC", name.strip())
    if (
        not re.fullmatch(r"[0-9]*[^\W\d][\w-]*", text)
        or len(text) > 64
        or text.lower() in {"and", "or", "not", "sort", "by", "asc", "desc"}
    ):
        raise UsageError(
            f"{name!r} cannot be an attribute's name: letters of any script, digits, _ and -, at most 64, no spaces. "
            "Try wears_mask."
        )
    return text


def base_of(card: Card) -> dict[str, str]:
    """Return by what an own attribute knows its model again: the trained weights, which the fp32 and the int8 file
    share."""
    return {"name": card.name, "sha256": str(card.document.get("trained_file_sha256") or card.file_sha256 or "")}
