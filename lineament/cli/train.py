"""`lineament train`: a config in, a run folder out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import EXIT_INTERRUPTED, options
from lineament.cli.config_options import Config, Data, Device, Download, Values, chosen, repeated
from lineament.cli.interrupt import on_signal
from lineament.cli.prepare import teller
from lineament.errors import MissingExtraError

_LINE_EVERY = 30.0
"""Seconds between lines of progress where stderr is no terminal."""

if TYPE_CHECKING:
    from lineament.training.trainer import Progress as Position


def command(
    config: Config,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder; by default runs/<name of the config>.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out; starts it if there is none.")
    ] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Start from these weights: shipped name, run or file.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, metavar="N", help="In place of the configuration's seed.")
    ] = None,
    device: Device = None,
    values: Values = None,
    allow_download: Download = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a network from a configuration file. Resumes after any interruption to the same loss curve with
    --resume."""
    try:
        from lineament.training.trainer import Preparing, Trainer
    except ImportError as error:
        raise MissingExtraError(str(error.name), "train") from error
    settings = chosen(config, data=data, device=device, values=values)
    if seed is not None:
        settings = replace(settings, seed=seed)
    preparing = Preparing(allow_download, teller(quiet=quiet))
    trainer = Trainer(settings, out or Path("runs") / settings.name, resume=resume, start=start, preparing=preparing)
    if trainer.team.leads:  # one of many processes speaks
        for name in trainer.not_copied:
            typer.echo(f"Starts fresh, not in {start or settings.model.start}: {name}", err=True)
        _say_damaged(trainer.material.damaged)
    try:
        with on_signal(trainer.stop), _watcher(quiet=quiet or not trainer.team.leads) as watch:
            path = trainer.run(watch)
    except KeyboardInterrupt:
        if not trainer.team.leads:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        words = repeated(config, data=data, device=device, values=values) + ("" if seed is None else f" --seed {seed}")
        words += "" if start is None else f" --from {start}"
        typer.echo(f"Interrupted; saved. Continue with: lineament train {words} --out {trainer.out} --resume", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if trainer.team.leads:
        if settings.data.cache is None:  # a stream learns as it reads which pictures are damaged
            _say_damaged(trainer.material.damaged)
        typer.echo(str(path))


def _say_damaged(damaged: Mapping[str, str]) -> None:
    """Name the first pictures that gave no pixels, and say how many there were."""
    for file, why in list(damaged.items())[:5]:
        typer.echo(f"Not readable, so it teaches nothing: {file}: {why}", err=True)
    if len(damaged) > 5:
        typer.echo(f"{len(damaged)} pictures in all could not be read; data.cache keeps the list.", err=True)


def _watcher(*, quiet: bool) -> AbstractContextManager[Any]:
    """Yield what is told of every step: a progress bar where a person looks, else a line now and then."""
    if quiet:
        return nullcontext(None)
    return _bar() if sys.stderr.isatty() else nullcontext(_lines())


def _lines() -> Any:
    """Return a watcher that writes a line to stderr every half minute, for logs."""
    last = time.monotonic()

    def watch(at: Position) -> None:
        nonlocal last
        if time.monotonic() - last > _LINE_EVERY or at.step == at.total_steps:
            last, left = time.monotonic(), f"{at.seconds_left / 60:.1f} min left"
            line = (
                f"epoch {at.epoch + 1}  step {at.step}/{at.total_steps}  loss {at.loss:.4f}  {at.images_per_s:.0f} "
                f"images/s  {left}"
            )
            typer.echo(line, err=True)

    return watch


@contextmanager
def _bar() -> Iterator[Any]:
    """Yield a watcher that draws a progress bar on stderr: loss, images per second, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"), TextColumn("{task.fields[speed]:.0f} images/s"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("train", total=None, epoch=1, loss=0.0, speed=0.0)

        def watch(at: Position) -> None:
            bar.update(
                task, total=at.total_steps, completed=at.step, epoch=at.epoch + 1, loss=at.loss, speed=at.images_per_s
            )

        yield watch
