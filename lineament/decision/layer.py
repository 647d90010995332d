"""From logits to probabilities to labels: the decision layer a model card carries, applied alike by CLI, API and
server.

    logits (N,A) -> probs (N,A) -> labels (N,A)

NumPy only; fitting it is `evaluation/calibrate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.types import Float64


def sigmoid(logits: npt.ArrayLike) -> Float64:
    """Return 1 / (1 + exp(-logits)) in float64, without overflow for any finite input.

    >>> sigmoid([0.0, 1000.0, -1000.0]).tolist()
    [0.5, 1.0, 0.0]
    """
    z = np.asarray(logits, np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


@dataclass(frozen=True)
class Decision:
    """The fitted decision layer of one model.

    thresholds: name -> t; `prob >= t` is yes, 0.5 where absent. Thresholds are on the scale of the *shipped*
    probability.
    calibration: name -> {"method": "platt", "a": a, "b": b} (prob = sigmoid(a * logit + b)) or
    {"method": "isotonic", "x": [raw sigmoid knots], "y": [calibrated]}; the raw sigmoid where absent.
    abstain: name -> [low, high]: `low < prob < high` is "cannot_tell"; never where absent.
    min_eye_distance, min_sharpness: name or "*" -> pixels between the eyes, sharpness (`quality` of a record) under
    which the answer is "cannot_tell" (abstain mode only).
    precedence: name -> log-odds added where a rule of `--consistent` must choose between answers; 0 where absent.
    small: name -> {"a": a, "b": b}, Platt scaling of small faces; small_eyes: pixels between the eyes at and under
    which it holds alone, and at and over which `calibration` does; in between both numbers go from one to the other
    with the logarithm of the distance. An attribute whose calibration is isotonic has none.
    rates: name -> the share of yes, in 0..1, that the calibrated probabilities assume: among the people the layer was
    fitted on.
    log_odds_shift, rates_id: of one run with `--rates`: name -> what is added to the calibrated log-odds, and the hash
    that records show; see `decision.rates.under_rates`. A card holds neither.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    abstain: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    min_eye_distance: Mapping[str, float] = field(default_factory=dict)
    min_sharpness: Mapping[str, float] = field(default_factory=dict)
    precedence: Mapping[str, float] = field(default_factory=dict)
    small: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    small_eyes: tuple[float, float] = (19.0, 38.0)
    rates: Mapping[str, float] = field(default_factory=dict)
    log_odds_shift: Mapping[str, float] = field(default_factory=dict)
    rates_id: str | None = None

    def probs(
        self, logits: npt.ArrayLike, attributes: tuple[str, ...], *, eye_distance: npt.ArrayLike | None = None
    ) -> Float64:
        """Return calibrated probabilities (N,A) of logits (N,A).

        eye_distance: (N,) pixels between the eyes of each face, as records show it; None or NaN is a face large enough.
        """
        z = np.asarray(logits, np.float64)
        out, smallness = sigmoid(z), self.smallness(eye_distance)
        for column, name in enumerate(attributes):
            fitted, small = self.calibration.get(name), self.small.get(name)
            if fitted is None and (small is None or smallness is None):
                continue
            if fitted is None or fitted["method"] == "platt":
                slope, bias = (1.0, 0.0) if fitted is None else (float(fitted["a"]), float(fitted["b"]))
                far = 0.0 if small is None or smallness is None else smallness
                to = {"a": slope, "b": bias} if small is None else small
                out[:, column] = sigmoid(
                    (slope + far * (to["a"] - slope)) * z[:, column] + bias + far * (to["b"] - bias)
                )
            else:
                out[:, column] = np.interp(out[:, column], fitted["x"], fitted["y"])
        for column, name in enumerate(attributes):
            if name in self.log_odds_shift:
                p = np.clip(out[:, column], 1e-12, 1 - 1e-12)
                out[:, column] = sigmoid(np.log(p) - np.log1p(-p) + self.log_odds_shift[name])
        return out

    def smallness(self, eye_distance: npt.ArrayLike | None) -> Float64 | None:
        """Return how far (N,) each face is from large (0) to small (1); None where no size is known.

        >>> Decision().smallness([76.0, 38.0, 19.0, 9.0, float("nan")]).tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0]
        """
        if eye_distance is None:
            return None
        low, high = self.small_eyes
        pixels = np.maximum(np.nan_to_num(np.asarray(eye_distance, np.float64), nan=high), 1e-3)
        return np.asarray(np.clip(np.log(high / pixels) / np.log(high / low), 0.0, 1.0))

    def threshold_vector(self, attributes: tuple[str, ...]) -> Float64:
        """Return the thresholds (A,) in the order of `attributes`."""
        return np.array([self.thresholds.get(name, 0.5) for name in attributes], np.float64)

    def labels(
        self,
        probs: npt.ArrayLike,
        attributes: tuple[str, ...],
        *,
        abstain: bool = False,
        eye_distance: npt.ArrayLike | None = None,
        sharpness: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.str_]:
        """Return "yes", "no" or (only with `abstain`) "cannot_tell", (N,A); `prob == threshold` is yes.

        eye_distance, sharpness: (N,) of each face, for `abstain`; see `too_poor`.
        """
        p = np.asarray(probs, np.float64)
        out = np.where(p >= self.threshold_vector(attributes), "yes", "no").astype("<U11")
        if abstain:
            out[self.reasons(p, attributes, eye_distance=eye_distance, sharpness=sharpness) != ""] = "cannot_tell"
        return out

    def reasons(
        self,
        probs: npt.ArrayLike,
        attributes: tuple[str, ...],
        *,
        eye_distance: npt.ArrayLike | None = None,
        sharpness: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.str_]:
        """Return why an answer is "cannot_tell", (N,A): "small", "blurred", "near" (the threshold), or "" where there
        is an answer.

        Of several reasons the first in that order: a face too small is blurred too, and its probability means nothing.
        """
        p = np.asarray(probs, np.float64)
        bands = np.array([self.abstain.get(name, (1.0, 0.0)) for name in attributes]).reshape(-1, 2)
        out = np.where((p > bands[:, 0]) & (p < bands[:, 1]), "near", "").astype("<U7")
        for reason, measured, least in (
            ("blurred", sharpness, self.min_sharpness),
            ("small", eye_distance, self.min_eye_distance),
        ):
            if measured is not None:
                limits = np.array([least.get(name, least.get("*", 0.0)) for name in attributes])
                out[np.asarray(measured, np.float64)[:, None] < limits] = reason
        return out

    def too_poor(
        self,
        faces: int,
        attributes: tuple[str, ...],
        eye_distance: npt.ArrayLike | None = None,
        sharpness: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.bool_]:
        """Return which answers (N,A) a face is too small or too blurred for. What was not measured (None, NaN) is never
        too poor."""
        certain = np.ones((faces, len(attributes)))  # no band reaches 1, so that what is left is about the picture
        return np.asarray(
            self.reasons(certain, attributes, eye_distance=eye_distance, sharpness=sharpness) != "", np.bool_
        )

    def to_dict(self) -> dict[str, Any]:
        moved = (
            {"log_odds_shift": dict(self.log_odds_shift), "rates_id": self.rates_id}
            if self.rates_id is not None
            else {}
        )
        return moved | {
            "thresholds": dict(self.thresholds),
            "calibration": {name: dict(fitted) for name, fitted in self.calibration.items()},
            "abstain": {name: list(band) for name, band in self.abstain.items()},
            "min_eye_distance": dict(self.min_eye_distance),
            "min_sharpness": dict(self.min_sharpness),
            "precedence": dict(self.precedence),
            **({"rates": dict(self.rates)} if self.rates else {}),
            **(
                {"small": {name: dict(one) for name, one in self.small.items()}, "small_eyes": list(self.small_eyes)}
                if self.small
                else {}
            ),
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Decision:
        return Decision(
            thresholds={k: float(v) for k, v in record.get("thresholds", {}).items()},
            calibration=dict(record.get("calibration", {})),
            abstain={k: (float(v[0]), float(v[1])) for k, v in record.get("abstain", {}).items()},
            min_eye_distance={k: float(v) for k, v in record.get("min_eye_distance", {}).items()},
            min_sharpness={k: float(v) for k, v in record.get("min_sharpness", {}).items()},
            precedence={k: float(v) for k, v in record.get("precedence", {}).items()},
            rates={k: float(v) for k, v in record.get("rates", {}).items()},
            small={k: {"a": float(v["a"]), "b": float(v["b"])} for k, v in record.get("small", {}).items()},
            small_eyes=(float(record["small_eyes"][0]), float(record["small_eyes"][1]))
            if "small_eyes" in record
            else (19.0, 38.0),
            log_odds_shift={k: float(v) for k, v in record.get("log_odds_shift", {}).items()},
            rates_id=record.get("rates_id"),
        )
