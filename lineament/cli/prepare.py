"""`lineament prepare`: what a training configuration reads and is not there yet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import EXIT_INTERRUPTED, options
from lineament.cli.config_options import Config, Data, Device, Download, Values, chosen, repeated
from lineament.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from lineament.config import TrainConfig
    from lineament.training.prepare.steps import Teller

_LINE_EVERY = 10.0
"""Seconds between lines of progress."""


def command(
    config: Config,
    data: Data = None,
    device: Device = None,
    values: Values = None,
    allow_download: Download = False,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="DIR",
            help="Also write the trunk's features of the images, for audit-labels --features.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Make what a configuration reads beside its images: decoded crops, landmarks, a region network, masks, a teacher's
    answers.

    `train` does the same before its first step. Killed, the same command goes on where it was.
    """
    try:
        from lineament.training.prepare.steps import Preparation
    except ImportError as error:
        raise MissingExtraError(str(error.name), "train") from error

    tell = teller(quiet=quiet)
    try:
        if _is_region_config(config):
            made = _region_network(config, data, device or "cpu", tell)
        else:
            settings = chosen(config, data=data, device=device, values=values)
            made = Preparation(settings, settings.optimiser.device, allow_download, tell).run()
            if features is not None:
                made += _features(settings, features, tell)
    except KeyboardInterrupt:
        again = repeated(config, data=data, device=device, values=values)
        typer.echo(f"Interrupted; what was done stays. Continue with: lineament prepare {again}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    for path in made:
        typer.echo(str(path))
    if not made:
        tell.say("Everything is there.")


def _features(settings: TrainConfig, folder: Path, tell: Teller) -> list[Path]:
    """Write the trunk's features, and beside them a prediction file with the labels of the same rows; its probabilities
    are placeholders of 0.5."""
    import numpy as np

    from lineament.evaluation.evaluate import to_predictions
    from lineament.evaluation.predictions import save
    from lineament.training.prepare.trunk_features import write_features

    path, table = write_features(settings, folder, device=settings.optimiser.device, progress=tell.of("features"))
    beside = path.with_name("predictions.parquet")
    save(to_predictions(table, np.zeros(table.targets.shape), table.attributes), beside)
    return [path, beside]


def _is_region_config(config: str) -> bool:
    """Whether a config describes a region network in place of a training."""
    from lineament.config import read_mapping

    return "model" not in (record := read_mapping(config)) and ("scale" in record or "parsing" in record)


def _region_network(config: str, data: Any, device: str, tell: Teller) -> list[Any]:
    """Train the region network of `config` into runs/NAME; with --data on the images there. Raises: ConfigError where
    its images are not named."""
    from lineament.config import DataConfig, TrainConfig, load_settings, with_data
    from lineament.training.dataset import load_images
    from lineament.training.prepare.region_network import WEIGHTS_NAME, RegionConfig, make_region_network

    settings = load_settings(RegionConfig, config)
    path = Path("runs") / settings.name / WEIGHTS_NAME
    if path.is_file():
        return []
    crops = None
    if settings.images:
        if data is None:
            raise ConfigError(f"{settings.name} learns from training images: say where they are with --data DIR.")
        images = with_data(TrainConfig(settings.name, data=DataConfig(layout="images", holdout=0)), data)
        crops = load_images(images, progress=tell.of("crops")).crops
    return [
        make_region_network(
            settings, path, crops=crops, device=device, say=tell.say, progress=tell.of("region network")
        )
    ]


def teller(*, quiet: bool) -> Teller:
    """Return who is told of a preparation: sentences, and lines of progress with the time left, on stderr."""
    from lineament.training.prepare.steps import Teller

    if quiet:
        return Teller()
    began: dict[tuple[str, int], tuple[float, int]] = {}  # by total too: one piece of work may count images, then steps
    last: dict[str, float] = {}

    def progress(name: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, first = began.setdefault((name, total), (now, done))
        if done < total and now - last.get(name, 0.0) < _LINE_EVERY:
            return
        last[name] = now
        speed = (done - first) / (now - start) if now > start else 0.0
        left = f", {(total - done) / speed / 60:.1f} min left" if speed and done < total else ""
        typer.echo(f"{name}: {done:,} of {total:,}{f', {speed:.0f}/s' if speed else ''}{left}", err=True)

    return Teller(lambda text: typer.echo(text, err=True), progress)
