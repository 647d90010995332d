"""An own attribute after it was answered: which predictions are its own, and its calibration fitted again on labelled
ones.

predictions (of `evaluate --with`) -> raw logits of one column -> Platt's a, b and band -> a new file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import sigmoid
from lineament.errors import DataError, UsageError
from lineament.metrics.calibration import fit_platt_1d, logit
from lineament.teach.judge import band, platt_targets
from lineament.teach.own_attribute import OwnAttribute, load_own
from lineament.types import Bool, Float64

LEAST_LABELS = 20
_RATES = (0.01, 0.99)


def check_answered_by(meta: Mapping[str, Any], attributes: Sequence[str], files: Sequence[Path]) -> list[OwnAttribute]:
    """Return the own attributes of `files`, each of which must have answered these predictions.

    Raises: UsageError naming what to run; ModelFileError for a file that is none.
    """
    own = [load_own(path) for path in files]
    parts = str(meta.get("model") or "").split("+")[1:]
    for one, path in zip(own, files, strict=True):
        if one.name not in attributes:
            raise UsageError(
                f"The predictions hold no answer to {one.name}. Make them with `lineament evaluate ... --with {path}`."
            )
        if parts and one.id not in parts:
            raise UsageError(
                f"The predictions' {one.name} was answered by another file than {path} ({one.id}). Evaluate again with "
                f"--with {path}."
            )
    return own


def recalibrated(own: OwnAttribute, raw: Float64, targets: npt.ArrayLike, known: Bool) -> OwnAttribute:
    """Return the own attribute with its calibration, class rate and band fitted on labelled answers.

    Args: raw (N,) sigmoid of the head's logits, NaN without a face; targets (N,) {0,1}; known (N,).
    Raises: DataError for fewer than `LEAST_LABELS` labels, or only one kind.
    """
    use = known & ~np.isnan(raw)
    z, y = logit(raw[use]), np.asarray(targets, np.float64)[use]
    if use.sum() < LEAST_LABELS or y.min() == y.max():
        raise DataError(
            f"{own.name}: {int(use.sum())} labelled answers of {len(np.unique(y))} kind are too few; give "
            f"{LEAST_LABELS} of both kinds."
        )
    rate = float(np.clip(y.mean(), *_RATES))
    a, b = fit_platt_1d(z, platt_targets(y))
    fitted = replace(own, calibration=(a, b - float(np.log(rate) - np.log1p(-rate))), rate=rate)
    fitted = replace(fitted, band=band(sigmoid(a * z + b), np.zeros(0)))
    return replace(fitted, card={**own.card, "recalibrated_on": int(use.sum()), "rate": rate})
