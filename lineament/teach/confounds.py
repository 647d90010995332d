"""Do yes and no differ by something else? Size, blur, brightness, colour, compression and folder, each fitted alone.

traits (N,d) of one kind -> held-out ranking by them alone -> a warning where it beats chance clearly
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lineament.metrics.ranking import roc_auc_1d
from lineament.teach.examples import Example
from lineament.teach.judge import FOLDS
from lineament.teach.logistic import Scale, balanced, deal_folds, fit
from lineament.types import Float64, Int64

KINDS = {
    "size": "how large the faces and photos are", "blur": "how sharp the faces are",
    "brightness": "how bright or contrasty the crops are", "colour_cast": "the colour of the light",
    "compression": "how the files are compressed", "folder": "the folders they come from",
}  # fmt: skip
TELLING = 0.7
"""A trait is warned of from this AUC on, and only where its interval lies above chance."""
_SPREAD = 1.96


def warnings_of(examples: Sequence[Example], targets: Float64, groups: Int64, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return the traits by which alone yes can be told from no: kind, what it is, AUC out of fold with its interval."""
    found = []
    for kind, meaning in KINDS.items():
        values = (
            folders(examples)
            if kind == "folder"
            else np.array([getattr(example.traits, kind) for example in examples], np.float64)
        )
        if values.shape[1] == 0:
            continue
        auc = auc_alone(values, targets, groups, seed)
        low, high = auc_interval(auc, int((targets > 0.5).sum()), int((targets <= 0.5).sum()))
        if auc >= TELLING and low > 0.5:
            found.append(
                {"kind": kind, "what": meaning, "auc": round(auc, 3), "low": round(low, 3), "high": round(high, 3)}
            )
    return found


def folders(examples: Sequence[Example]) -> Float64:
    """Return a column per folder below the sides' own (or in the table's file names); none where there is only one."""
    names = sorted({example.listed.folder for example in examples})
    if not 1 < len(names) <= len(examples) // 2:
        return np.zeros((len(examples), 0))
    return np.array([[example.listed.folder == name for name in names] for example in examples], np.float64)


def auc_alone(values: Float64, targets: Float64, groups: Int64, seed: int = 0) -> float:
    """Return the AUC out of fold of a plain fit on values (N,d) and their squares: groups stay together."""
    scaled = Scale.fit(values)(values)
    design = np.concatenate([scaled, scaled**2], 1) * np.sqrt(values.shape[1])
    products = design @ design.T
    fold, logits = deal_folds(groups, targets, FOLDS, seed), np.zeros(len(targets))
    for left_out in range(FOLDS):
        train, test = fold != left_out, fold == left_out
        if test.any():
            fitted = fit(products[np.ix_(train, train)], targets[train], balanced(targets[train]), 0.3)
            logits[test] = fitted.logits(products[np.ix_(test, train)])
    return roc_auc_1d(logits, targets)


def auc_interval(auc: float, yes: int, no: int) -> tuple[float, float]:
    """Return the 95 % interval of an AUC. Source: Hanley and McNeil, Radiology 1982.

    >>> low, high = auc_interval(0.5, 30, 30)
    >>> 0.34 < low < 0.37 and 0.63 < high < 0.66
    True
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (yes - 1) * (q1 - auc**2) + (no - 1) * (q2 - auc**2)) / max(1, yes * no)
    reach = _SPREAD * float(np.sqrt(max(variance, 0.0)))
    return max(0.0, auc - reach), min(1.0, auc + reach)
