"""The results store: what a finished run leaves in `results/`, small files that rebuild every table on a clean
checkout, no image among them.

    results/runs/<name>-s<seed>/  run.json config.json environment.json log.csv attributes.csv card.json predictions.npz
                                  [speed.json]
    results/labels/<fingerprint>.npz    the labels those predictions are scored on: the data set's, so made again
                                  from it and not committed
    results/systems/<name>/       model.onnx model.card.json (earlier ones model.safetensors too: their model.onnx
                                  cannot be trained further)

Predictions are stored as logits in float16: signs, and so every label at 0.5, are those of the run; 40 answers of 5,185
images take 415 kB.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.config import expand
from lineament.data.celeba import Official
from lineament.decision.layer import sigmoid
from lineament.errors import DataError
from lineament.evaluation.evaluate import to_predictions
from lineament.evaluation.predictions import Predictions

MOST_BYTES = 500_000
COPIED = ("config.json", "environment.json", "log.csv", "attributes.csv", "teacher.json")
_OPTIONAL = ("attributes.csv", "teacher.json")
OFFICIAL = "$LINEAMENT_DATA/celeba/official"


@dataclass(frozen=True)
class Record:
    """One run as committed. `about` is run.json; `speed` None where it was not measured."""

    folder: Path
    about: Mapping[str, Any]
    config: Mapping[str, Any]
    card: Mapping[str, Any]
    predictions: Predictions
    speed: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @property
    def seed(self) -> int:
        return int(self.about["seed"])

    def images_per_s(self) -> float | None:
        """Return the median training speed of the log's rows."""
        with (self.folder / "log.csv").open(newline="") as file:
            speeds = [float(row["images_per_s"]) for row in csv.DictReader(file) if row["images_per_s"]]
        return float(np.median(speeds)) if speeds else None

    def attribute_losses(self) -> tuple[tuple[str, ...], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the attribute names (A,), the epochs (E,) at which windows ended, and the windows' mean training
        losses (E,A).

        No rows where none were kept.
        """
        path = self.folder / "attributes.csv"
        if not path.is_file():
            return (), np.zeros(0), np.zeros((0, 0))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = tuple(dict.fromkeys(row["attribute"] for row in rows))
        losses: dict[float, dict[str, float]] = {}
        for row in rows:  # a resumed run may have written a window twice: the later row counts
            losses.setdefault(float(row["epoch"]), {})[row["attribute"]] = float(row["loss"] or "nan")
        return (
            names,
            np.array(sorted(losses)),
            np.array([[losses[epoch][name] for name in names] for epoch in sorted(losses)]),
        )


def folder_name(name: str, seed: int) -> str:
    """Return the folder of a run in `results/runs`."""
    return f"{name}-s{seed}"


def write_record(
    run: str | os.PathLike[str],
    results: str | os.PathLike[str],
    predictions: Predictions,
    card: Mapping[str, Any],
    *,
    name: str | None = None,
    speed: Mapping[str, Any] | None = None,
) -> Path:
    """Copy what must be committed of a finished run; return its folder in `results`.

    Args: predictions: of the official validation images, with labels; card: of the exported network; name: by default
        the config's.
    Raises: DataError if the run is not finished, the predictions have no labels, or the file would grow beyond
            `MOST_BYTES`.
    """
    source, root = Path(run), Path(results)
    if not (source / "model.safetensors").is_file():
        raise DataError(f"{source} holds no model.safetensors: the run is not finished. Continue it with --resume.")
    if not predictions.labelled:
        raise DataError("The predictions hold no label, so nothing could be scored from them.")
    config = json.loads((source / "config.json").read_text("utf-8"))
    target = root / "runs" / folder_name(name or config["name"], config["seed"])
    target.mkdir(parents=True, exist_ok=True)
    for file in COPIED:
        if (source / file).is_file() or file not in _OPTIONAL:
            shutil.copyfile(source / file, target / file)
    np.savez_compressed(
        target / "predictions.npz", logits=_logits(predictions), attributes=np.array(predictions.attributes)
    )
    size = (target / "predictions.npz").stat().st_size
    if size > MOST_BYTES:
        (target / "predictions.npz").unlink()
        raise DataError(
            f"The predictions of {len(predictions)} images take {size} bytes; results hold at most {MOST_BYTES}. Score "
            "fewer."
        )
    about = {
        "name": name or config["name"], "seed": config["seed"], "labels": _write_labels(root, predictions),
        "images": len(predictions), "data": predictions.meta.get("data"), "protocol": predictions.meta.get("protocol"),
    }  # fmt: skip
    (target / "card.json").write_text(_json(card), "utf-8")
    if speed is not None:
        (target / "speed.json").write_text(_json(speed), "utf-8")
    (target / "run.json").write_text(_json(about), "utf-8")  # last: its presence says that the record is whole
    return target


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(dict(document), indent=1, sort_keys=True) + "\n"


def _logits(predictions: Predictions) -> npt.NDArray[np.float16]:
    """Return logits (N,A), NaN where no face was found. Probability 0.5 is logit 0, a yes on either side."""
    p = np.clip(predictions.raw, 1e-12, 1 - 1e-12)
    half = (np.log(p) - np.log1p(-p)).astype(np.float16)
    least = np.finfo(np.float16).smallest_subnormal
    return np.where((half == 0) & (p < 0.5), -least, half)  # a no stays a no, however close


def _write_labels(root: Path, predictions: Predictions) -> str:
    """Write the labels once; return their fingerprint."""
    fingerprint = predictions.fingerprint()
    path = root / "labels" / f"{fingerprint}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        people = np.zeros(0, np.int64) if predictions.identity is None else predictions.identity
        np.savez_compressed(
            path, files=np.array(predictions.files), attributes=np.array(predictions.attributes), identity=people,
            targets=np.packbits(predictions.targets.astype(bool)), known=np.packbits(predictions.known),
        )  # fmt: skip
    return fingerprint


def read_record(folder: str | os.PathLike[str]) -> Record:
    """Read what `write_record` wrote. Raises: DataError naming the file that is missing or does not fit."""
    path = Path(folder)
    about, config, card = (_read_json(path / name) for name in ("run.json", "config.json", "card.json"))
    predictions = _read_predictions(path, about)
    speed = _read_json(path / "speed.json") if (path / "speed.json").is_file() else None
    return Record(path, about, config, card, predictions, speed)


def read_records(results: str | os.PathLike[str]) -> list[Record]:
    """Read every whole record in `results/runs`, by name and seed."""
    folders = sorted(path.parent for path in (Path(results) / "runs").glob("*/run.json"))
    return sorted((read_record(folder) for folder in folders), key=lambda record: (record.name, record.seed))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is missing. Collect the run again with scripts/collect_run.py.")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _labels_of(root: Path, fingerprint: str, said: Path) -> Path:
    """Return the file of a run's labels, made from the official validation lists where it is not there. Raises:
    DataError."""
    path = root / "labels" / f"{fingerprint}.npz"
    if path.is_file():
        return path
    with np.load(said) as answers:
        names = tuple(answers["attributes"].tolist())
    if expand(OFFICIAL).is_dir():
        table = Official(expand(OFFICIAL), "val").table
        found = to_predictions(table, np.zeros((len(table), len(names))), names)
        if found.fingerprint() == fingerprint:
            _write_labels(root, found)
            return path
    raise DataError(
        f"The labels {fingerprint} are neither in {path.parent} nor those of {OFFICIAL}. They are the data set's and "
        "not handed on with results: "
        "let LINEAMENT_DATA name the data folder, or collect the run again with scripts/collect_run.py."
    )


def _read_predictions(folder: Path, about: Mapping[str, Any]) -> Predictions:
    said = folder / "predictions.npz"
    if not said.is_file():
        raise DataError(f"{said} is missing. Collect the run again with scripts/collect_run.py.")
    labels = _labels_of(folder.parent.parent, str(about["labels"]), said)
    with np.load(labels) as truth, np.load(said) as answers:
        shape = (len(truth["files"]), len(truth["attributes"]))
        logits = answers["logits"].astype(np.float64)
        if logits.shape != shape or list(answers["attributes"]) != list(truth["attributes"]):
            raise DataError(
                f"{said} holds {logits.shape}, its labels {shape}. Collect the run again with scripts/collect_run.py."
            )
        unpacked = {
            key: np.unpackbits(truth[key], count=shape[0] * shape[1]).reshape(shape) for key in ("targets", "known")
        }
        detected = ~np.isnan(logits).any(1)
        raw = np.where(detected[:, None], sigmoid(np.nan_to_num(logits)), np.nan)
        identity = truth["identity"].astype(np.int64) if len(truth["identity"]) else None
        files, attributes = tuple(truth["files"].tolist()), tuple(truth["attributes"].tolist())
    return Predictions(
        files, attributes, raw, None, unpacked["targets"].astype(np.int8), unpacked["known"].astype(bool), detected,
        identity=identity, meta={"model": folder.name},
    )  # fmt: skip
