"""Cross-validation folds grouped by person: who is judged was not fitted on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lineament.evaluation.predictions import Predictions


def folds_of(predictions: Predictions, folds: int) -> npt.NDArray[np.int64]:
    """Return the fold (N,) of each row: a stable hash of the identity, or of the file name where no identity is
    known."""
    return fold_of_names(names_of_people(predictions.files, predictions.identity), folds)


def names_of_people(files: Sequence[str], identity: npt.NDArray[np.int64] | None) -> tuple[str, ...]:
    """Return a name per row that its person's rows share; a row without a known identity is a person of its own."""
    return tuple(
        file if identity is None or identity[row] < 0 else f"identity {identity[row]}" for row, file in enumerate(files)
    )


def fold_of_names(names: Sequence[str], folds: int) -> npt.NDArray[np.int64]:
    """Return the fold (N,) of each name: a hash that is the same everywhere and in every run."""
    return np.array([zlib.crc32(name.encode("utf-8", "surrogateescape")) % folds for name in names], np.int64)
