"""The run folder: config, environment, log of numbers, checkpoint. Plain files; no pickle.

config.json  environment.json  log.csv  checkpoint.safetensors  epoch_K.safetensors  model.safetensors  [tensorboard/]
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.config import TrainConfig, from_dict
from lineament.errors import MissingExtraError, ResumeError
from lineament.models.checkpoint import load_tensors, save_tensors
from lineament.training.distributed import Team
from lineament.training.environment import describe_environment

LOG_COLUMNS = ("epoch", "step", "loss", "lr", "images_per_s", "holdout_loss", "holdout_accuracy", "seconds")
ATTRIBUTE_COLUMNS = ("epoch", "attribute", "loss", "weight")
CHECKPOINT = "checkpoint.safetensors"


class Journal:
    """What a run writes down. Opening refuses to mix two runs in one folder. Of many processes only the leader writes;
    each may call everything."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: TrainConfig,
        facts: Mapping[str, Any],
        *,
        resume: bool,
        team: Team | None = None,
    ) -> None:
        self.folder, team = Path(folder), team or Team()
        self._writes = team.leads
        continues = resume and (self.folder / "config.json").is_file() and (self.folder / CHECKPOINT).is_file()
        if self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            if continues:
                self._check_same(config, facts)
            else:
                self._open(config, facts)
        # Told after the leader has looked and written, so that all agree even where one looks late.
        self.continues = bool(team.told(torch.tensor(float(continues))))
        self._board = _board(self.folder / "tensorboard") if config.optimiser.tensorboard and self._writes else None

    def _check_same(self, config: TrainConfig, facts: Mapping[str, Any]) -> None:
        """Raises: ResumeError if the folder's run had another config or other data."""
        saved, environment = self.folder / "config.json", self.folder / "environment.json"
        # Read through `from_dict`, so that a setting which came later has its default, and an old run goes on.
        if _settings(from_dict(json.loads(saved.read_text()))) != _settings(config):
            raise ResumeError(
                f"{self.folder} was trained with another config ({saved}). Use that one, or another --out."
            )
        before = json.loads(environment.read_text()).get("data_fingerprint") if environment.is_file() else None
        if before is not None and before != facts.get("data_fingerprint", before):
            raise ResumeError(
                f"{self.folder} was trained on other data: names or labels have changed since ({environment}). Use "
                "another --out."
            )

    def _open(self, config: TrainConfig, facts: Mapping[str, Any]) -> None:
        if (self.folder / CHECKPOINT).is_file():
            raise ResumeError(f"{self.folder} already holds a run. Continue it with --resume, or choose another --out.")
        (self.folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1))
        (self.folder / "environment.json").write_text(json.dumps(describe_environment() | dict(facts), indent=1))
        for name, columns in (("log.csv", LOG_COLUMNS), ("attributes.csv", ATTRIBUTE_COLUMNS)):
            with (self.folder / name).open("w", newline="") as file:
                csv.writer(file).writerow(columns)

    def keep_copy(self, name: str, source: Path | None) -> None:
        """Copy a small file of facts into the run, if there is one."""
        if source is not None and source.is_file() and self._writes:
            shutil.copyfile(source, self.folder / name)

    def log(self, epoch: int, step: int, **numbers: float) -> None:
        """Append one row; columns not given stay empty. TensorBoard gets the same where the config asks for it."""
        if not self._writes:
            return
        cells = [numbers.get(name, math.nan) for name in LOG_COLUMNS[2:]]
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()
        with (self.folder / "log.csv").open("a", newline="") as file:
            csv.writer(file).writerow([epoch, step, *("" if math.isnan(cell) else f"{cell:.6g}" for cell in cells)])

    def log_attributes(self, epoch: float, names: tuple[str, ...], losses: Tensor, weights: Tensor) -> None:
        """Append each attribute's mean training loss and loss weight of the window that ends at `epoch` (2.5: half of
        the third is done).

        A loss that is NaN (no label was seen) is an empty cell.
        """
        if not self._writes:
            return
        rows = zip(names, losses.tolist(), weights.tolist(), strict=True)
        with (self.folder / "attributes.csv").open("a", newline="") as file:
            csv.writer(file).writerows(
                [f"{epoch:.6g}", name, "" if math.isnan(loss) else f"{loss:.6g}", f"{weight:.6g}"]
                for name, loss, weight in rows
            )

    def forget_after(self, step: int, epoch: float) -> None:
        """Drop rows written after `step`, which is `epoch` epochs: what a killed run did and its checkpoint does not
        know."""
        if self._writes:
            _keep_rows(self.folder / "log.csv", lambda row: len(row) == len(LOG_COLUMNS) and int(row[1]) <= step)
            # A run from before this column list was always written may have no file.
            if (self.folder / "attributes.csv").is_file():
                _keep_rows(
                    self.folder / "attributes.csv",
                    lambda row: len(row) == len(ATTRIBUTE_COLUMNS) and float(row[0]) <= epoch * (1 + 1e-5),
                )

    def save(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Write the checkpoint atomically."""
        if not self._writes:
            return
        plain = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        save_tensors(self.folder / CHECKPOINT, plain, header)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the checkpoint."""
        return load_tensors(self.folder / CHECKPOINT)


def _keep_rows(path: Path, wanted: Callable[[list[str]], bool]) -> None:
    """Rewrite a CSV file with its header and the rows that are wanted."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*rows[:1], *filter(wanted, rows[1:])])


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What decides the numbers: everything but the words of the claim, how files were made, and where else the log is
    written."""
    record = json.loads(json.dumps(config.to_dict()))
    record["optimiser"].pop("tensorboard")
    return {key: value for key, value in record.items() if key not in ("claim", "prepare")}


def _board(folder: Path) -> Any:
    """Return TensorBoard's writer. Raises: MissingExtraError without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "train") from error
    return SummaryWriter(str(folder))
