"""Records as `analyze` wrote them (JSONL, a JSON array, CSV, Parquet) read as predictions: answers and probabilities,
without labels.

    records -> one row per face, one row for a photo without a face -> Predictions with `said`

Convention: a record's `prob` stands in `raw` (it is calibrated already, so nothing may be fitted on it) and its `label`
in `said`, so that what is counted is what was answered, whatever the thresholds were. Records of inputs that failed
hold no face to ask about: they are left out and counted in `meta["failed"]`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lineament.data import columns
from lineament.errors import DataError
from lineament.evaluation.predictions import Predictions, load
from lineament.schema import CELEBA_40

_SAID = {"yes": 1, "no": 0, "cannot_tell": -1}
Row = tuple[str, int, Mapping[str, tuple[float, str]] | None, Mapping[str, float]]
"""source, face, name -> (prob, label) or None where no face was found, quality."""


def load_any(path: str | os.PathLike[str]) -> Predictions:
    """Read a prediction file, or the records of `analyze`; which it is follows from its first bytes and its columns.

    Raises: DataError naming what is wrong; MissingExtraError for Parquet without PyArrow.
    """
    where = Path(path)
    if not where.is_file():
        raise DataError(f"No file at {where}.")
    with where.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")
    if start[:1] in (b"{", b"["):
        return _build(_from_json(where), str(where))
    if {"source", "status"} <= set(columns.names(where)):
        return _build(_from_table(where), str(where))
    return load(where)


def _from_json(path: Path) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            text = line.strip().rstrip(",")
            if text in ("", "[", "]", "[]"):
                continue
            try:
                record = json.loads(text)
                if isinstance(record, list):  # an array on one line
                    yield from ((one, _rows_of(one)) for one in record)
                    continue
                rows = _rows_of(record)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}: no record of `lineament analyze` ({error}). Write the records again."
                ) from error
            yield record, rows


def _rows_of(record: Mapping[str, Any]) -> list[Row]:
    source = record["source"]
    if record["status"] == "no_face":
        return [(source, 0, None, {})]
    return [
        (
            source,
            index,
            {name: (one["prob"], one["label"]) for name, one in face["attributes"].items()},
            face["quality"],
        )
        for index, face in enumerate(record["faces"])
    ]


def _from_table(path: Path) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    table = columns.read(path, lambda name: name.startswith("prob_") or name in ("face", "eye_distance", "sharpness"))
    names = [name.removeprefix("prob_") for name in table.order if name.startswith("prob_")]
    for row in range(table.rows):
        about = {key: table.text[key][row] for key in ("source", "status", "model", "profile") if key in table.text}
        if about["status"] == "no_face":
            yield about, [(str(about["source"]), 0, None, {})]
        elif about["status"] != "ok":
            yield about, []
        else:
            probs = {name: float(table.numbers[f"prob_{name}"].values[row]) for name in names}
            answers = {name: (prob, str(table.text[f"label_{name}"][row])) for name, prob in probs.items()}
            quality = {
                key: float(table.numbers[key].values[row])
                for key in ("eye_distance", "sharpness")
                if key in table.numbers
            }
            yield about, [(str(about["source"]), int(table.numbers["face"].values[row]), answers, quality)]


def _build(records: Iterator[tuple[dict[str, Any], list[Row]]], origin: str) -> Predictions:
    rows: list[Row] = []
    models: set[str] = set()
    failed = 0
    for record, found in records:
        models.add(str(record.get("model")))
        failed += not found
        rows += found
    if len(models) > 1:
        raise DataError(
            f"{origin} holds records of several models ({', '.join(sorted(models))}). Audit each model's records by "
            "themselves."
        )
    named = {name for _, _, answers, _ in rows for name in answers or ()}
    if not named:
        raise DataError(f"{origin} holds no answer: no face was found in any photo.")
    order = tuple([name for name in CELEBA_40 if name in named] + sorted(named - set(CELEBA_40)))
    probs, said = np.full((len(rows), len(order)), np.nan), np.full((len(rows), len(order)), -1, np.int8)
    for at, (_, _, answers, _) in enumerate(rows):
        for name, (prob, label) in (answers or {}).items():
            probs[at, order.index(name)], said[at, order.index(name)] = prob, _SAID[label]
    detected = np.array([answers is not None for _, _, answers, _ in rows], bool)
    if np.isnan(probs[detected]).any():
        raise DataError(
            f"{origin} holds faces that were asked different attributes. Use records of one --profile and one "
            "--attributes list."
        )
    return Predictions(
        tuple(source for source, _, _, _ in rows), order, probs, None, np.zeros(probs.shape, np.int8),
        np.zeros(probs.shape, bool), detected, face=np.array([face for _, face, _, _ in rows], np.int64),
        eye_distance=np.array([quality.get("eye_distance", np.nan) for *_, quality in rows], np.float64),
        sharpness=np.array([quality.get("sharpness", np.nan) for *_, quality in rows], np.float64), said=said,
        meta={"model": models.pop(), "kind": "records", "failed": failed},
    )  # fmt: skip
