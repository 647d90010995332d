"""Prediction files, Parquet or CSV: what any model said of a labelled or unlabelled set. The contract is
`docs/reference/interface.md`.

    file, [face], [identity], [split], [eye_distance], [sharpness], raw_NAME..., [prob_NAME...], [target_NAME...]

`raw_NAME` is the sigmoid; `prob_NAME` the calibrated probability; `target_NAME` 1, 0 or null. A row whose every `raw_`
is null (empty in CSV) is a face that was not found: it counts as wrong in every attribute. NaN is never data, it is an
error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.data import columns
from lineament.data.columns import Column, Table
from lineament.errors import DataError
from lineament.schema import CELEBA_40
from lineament.types import Float64

_PREFIXES = ("raw_", "prob_", "target_")
_CANONICAL = {name.lower(): name for name in CELEBA_40}


@dataclass(frozen=True)
class Predictions:
    """A prediction file in memory.

    files (N,); attributes (A,); raw (N,A) sigmoid in 0..1, NaN only in rows that are not `detected`; probs (N,A)
    calibrated, or None; targets (N,A) int8 {0,1}; known (N,A) where a target exists; detected (N,); face (N,) or None;
    identity (N,), -1 where unknown, or None; split (N,) or None; eye_distance, sharpness (N,) as a record's `quality`,
    NaN where unknown, or None; said (N,A) int8, the answers that were given (1 yes, 0 no, -1 cannot tell), only where
    the file holds answers (`records`), else None: they follow from probabilities. `meta` is what the writer said of
    itself: model, data, decision ...; empty for CSV and foreign files.
    """

    files: tuple[str, ...]
    attributes: tuple[str, ...]
    raw: Float64
    probs: Float64 | None
    targets: npt.NDArray[np.int8]
    known: npt.NDArray[np.bool_]
    detected: npt.NDArray[np.bool_]
    face: npt.NDArray[np.int64] | None = None
    identity: npt.NDArray[np.int64] | None = None
    split: npt.NDArray[np.str_] | None = None
    eye_distance: Float64 | None = None
    sharpness: Float64 | None = None
    said: npt.NDArray[np.int8] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def keys(self) -> tuple[tuple[str, int], ...]:
        """What tells rows apart: (file, face)."""
        faces = np.zeros(len(self), np.int64) if self.face is None else self.face
        return tuple(zip(self.files, faces.tolist(), strict=True))

    @property
    def shipped(self) -> Float64:
        """The probabilities to judge: calibrated where the file has them, else the raw sigmoid."""
        return self.raw if self.probs is None else self.probs

    @property
    def labelled(self) -> bool:
        return bool(self.known.any())

    def take(self, index: npt.NDArray[Any]) -> Predictions:
        """Return the rows at `index` (any NumPy index), in that order."""
        rows = np.arange(len(self))[index]
        parts: dict[str, Any] = {name: None if (v := getattr(self, name)) is None else v[rows] for name in _PER_ROW}
        return replace(self, files=tuple(self.files[i] for i in rows), **parts)

    def choose(self, attributes: Sequence[str]) -> Predictions:
        """Return the same rows with these attributes, in this order."""
        at = [self.attributes.index(name) for name in attributes]
        return replace(
            self, attributes=tuple(attributes), raw=self.raw[:, at],
            probs=None if self.probs is None else self.probs[:, at], targets=self.targets[:, at],
            known=self.known[:, at], said=None if self.said is None else self.said[:, at],
        )  # fmt: skip

    def found(self) -> Predictions:
        """Return the rows in which a face was found: those that have probabilities."""
        return self if bool(self.detected.all()) else self.take(self.detected)

    def fingerprint(self) -> str:
        """Return 16 hex digits over names and targets: two models scored on the same data show the same."""
        digest = hashlib.sha256("\n".join([*self.attributes, *self.files]).encode("utf-8", "surrogateescape"))
        digest.update(np.where(self.known, self.targets, -1).astype(np.int8).tobytes())
        return digest.hexdigest()[:16]


_PER_ROW = (
    "raw",
    "probs",
    "targets",
    "known",
    "detected",
    "face",
    "identity",
    "split",
    "eye_distance",
    "sharpness",
    "said",
)
_QUALITY = ("eye_distance", "sharpness")


def load(path: str | os.PathLike[str]) -> Predictions:
    """Read a prediction file; Parquet is told from CSV by its first bytes.

    Raises: DataError naming the column or the row that is wrong; MissingExtraError for Parquet without PyArrow.
    """
    return _build(columns.read(path, _is_number), str(path))


def _is_number(column: str) -> bool:
    return column.startswith(_PREFIXES) or column in ("face", "identity", *_QUALITY)


def _attribute_columns(table: Table, origin: str) -> dict[str, dict[str, str]]:
    """Return prefix -> attribute -> column; CelebA's names in CelebA's spelling whatever the case in the file."""
    found: dict[str, dict[str, str]] = {prefix: {} for prefix in _PREFIXES}
    for column in table.order:
        for prefix, names in found.items():
            if column.startswith(prefix):
                spelled = column.removeprefix(prefix)
                name = _CANONICAL.get(spelled.lower(), spelled)
                if name in names:
                    raise DataError(
                        f"{origin} has two columns for {prefix}{name}: {names[name]} and {column}. Keep one."
                    )
                names[name] = column
    shown = f"Its columns: {', '.join(table.order[:6])} ..."
    if "file" not in table.order:
        raise DataError(f"{origin} has no column `file`. {shown}")
    if not found["raw_"]:
        raise DataError(f"{origin} has no `raw_NAME` column, the sigmoid of attribute NAME. {shown}")
    orphans = sorted((set(found["prob_"]) | set(found["target_"])) - set(found["raw_"]))
    if orphans:
        raise DataError(
            f"{origin}: {orphans} have a prob_ or target_ column but no raw_ column. Each attribute needs raw_NAME."
        )
    lacking = sorted(set(found["raw_"]) - set(found["prob_"]))
    if found["prob_"] and lacking:
        raise DataError(
            f"{origin}: prob_ columns are there for some attributes but not for {lacking}. Give all or none."
        )
    return found


def _refuse_nan(column: Column, name: str, origin: str) -> Column:
    bad = np.isnan(column.values)
    if bad.any():
        raise DataError(
            f"{origin}: column {name} is NaN in row {int(bad.argmax()) + 1}. Leave that row out, or repair the model."
        )
    return column


def _matrix(
    table: Table, names: Mapping[str, str], order: Sequence[str], origin: str
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return values (N,A) and where given (N,A); attributes without a column are not given."""
    values, given = np.zeros((table.rows, len(order))), np.zeros((table.rows, len(order)), bool)
    for place, name in enumerate(order):
        if name in names:
            column = _refuse_nan(table.numbers[names[name]], names[name], origin)
            values[:, place], given[:, place] = column.values, column.given
    return values, given


def _probabilities(
    table: Table, names: Mapping[str, str], order: Sequence[str], origin: str
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return probabilities (N,A) and in which rows they are given (N,)."""
    values, given = _matrix(table, names, order, origin)
    outside = (values < 0) | (values > 1)
    if outside.any():
        row, place = np.argwhere(outside)[0]
        what = f"column {names[order[place]]} is {values[row, place]:g} in row {row + 1}"
        raise DataError(f"{origin}: {what}, not a probability in 0..1. Write the sigmoid of the logits.")
    partly = given.any(1) & ~given.all(1)
    if partly.any():
        raise DataError(
            f"{origin}: row {int(partly.argmax()) + 1} lacks some probabilities. Give all, or none where no face was "
            "found."
        )
    values[~given] = np.nan
    return values, np.asarray(given.all(1), bool)


def _integers(table: Table, name: str, origin: str, absent: int) -> npt.NDArray[np.int64] | None:
    if name not in table.numbers:
        return None
    return columns.whole_numbers(_refuse_nan(table.numbers[name], name, origin), name, origin, absent)


def _measured(table: Table, name: str, origin: str) -> Float64 | None:
    """Return a column of face quality (N,), NaN where it is empty; None without the column."""
    if name not in table.numbers:
        return None
    column = _refuse_nan(table.numbers[name], name, origin)
    return np.where(column.given, column.values, np.nan)


def _targets(
    table: Table, names: Mapping[str, str], order: Sequence[str], origin: str
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    targets, known = _matrix(table, names, order, origin)
    if not np.isin(targets, (0, 1)).all():
        raise DataError(f"{origin}: a target_ column holds something else than 1, 0 or null. Write CelebA's -1 as 0.")
    return targets, known


def _file_names(table: Table, origin: str) -> tuple[str, ...]:
    files = table.text["file"]
    if None in files:
        raise DataError(f"{origin}: row {files.index(None) + 1} has no file name.")
    return tuple(name for name in files if name is not None)


def _build(table: Table, origin: str) -> Predictions:
    found = _attribute_columns(table, origin)
    celeba = [name for name in CELEBA_40 if name in found["raw_"]]
    order = tuple(celeba + [name for name in found["raw_"] if name not in celeba])
    raw, detected = _probabilities(table, found["raw_"], order, origin)
    probs, has_prob = _probabilities(table, found["prob_"], order, origin) if found["prob_"] else (None, detected)
    if (has_prob != detected).any():
        raise DataError(
            f"{origin}: row {int((has_prob != detected).argmax()) + 1} has raw_ without prob_, or the other way round."
        )
    targets, known = _targets(table, found["target_"], order, origin)
    predictions = Predictions(
        _file_names(table, origin), order, raw, probs, targets.astype(np.int8), known, detected,
        face=_integers(table, "face", origin, 0),
        identity=_integers(table, "identity", origin, -1),
        split=np.array([part or "" for part in table.text["split"]], dtype=np.str_) if "split" in table.text else None,
        eye_distance=_measured(table, "eye_distance", origin),
        sharpness=_measured(table, "sharpness", origin),
        meta=table.meta,
    )  # fmt: skip
    _refuse_duplicates(predictions, origin)
    return predictions


def _refuse_duplicates(predictions: Predictions, origin: str) -> None:
    seen: set[tuple[str, int]] = set()
    for key in predictions.keys:
        if key in seen:
            raise DataError(
                f"{origin}: {key[0]!r} (face {key[1]}) stands twice. Each face needs one row; several faces need a "
                "`face` column."
            )
        seen.add(key)


def _masked(values: npt.NDArray[Any], given: npt.NDArray[np.bool_]) -> list[Any]:
    return [value if ok else None for value, ok in zip(values.tolist(), given.tolist(), strict=True)]


def save(predictions: Predictions, path: str | os.PathLike[str]) -> None:
    """Write a prediction file: Parquet where the name ends in .parquet, else CSV. Probabilities keep all their digits.

    Raises: MissingExtraError for Parquet without PyArrow.
    """
    table: dict[str, list[Any]] = {"file": list(predictions.files)}
    if predictions.face is not None:
        table["face"] = predictions.face.tolist()
    if predictions.identity is not None:
        table["identity"] = _masked(predictions.identity, predictions.identity >= 0)
    if predictions.split is not None:
        table["split"] = predictions.split.tolist()
    for name in _QUALITY:
        if (values := getattr(predictions, name)) is not None:
            table[name] = _masked(values, ~np.isnan(values))
    for prefix, matrix in (("raw_", predictions.raw), ("prob_", predictions.probs)):
        if matrix is not None:
            table |= {
                prefix + name: _masked(matrix[:, a], predictions.detected)
                for a, name in enumerate(predictions.attributes)
            }
    if predictions.labelled:
        for place, name in enumerate(predictions.attributes):
            table["target_" + name] = _masked(predictions.targets[:, place], predictions.known[:, place])
    kinds = {
        name: "int8" if name.startswith("target_") else "float64"
        for name in table
        if name.startswith(_PREFIXES) or name in _QUALITY
    }
    columns.write(path, table, predictions.meta, kinds)
