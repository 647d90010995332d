"""The per-photo work of `analyze`, and the setup from which a worker process or machine rebuilds it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineament.errors import ModelFileError, UsageError

if TYPE_CHECKING:
    from lineament.api import Model
    from lineament.inputs.item import Item
    from lineament.pipeline.analyze import Settings
    from lineament.types import Report


@dataclass(frozen=True)
class WorkerSetup:
    """All that a photo's record depends on beside the photo. Called (in a worker), it loads the model and returns what
    answers one item.

    identity: what the run writes down for --resume; a worker whose installation would answer otherwise refuses.
    """

    model: str
    runtime: str
    precision: str | None
    threads: int
    settings: Settings
    identity: dict[str, Any]
    boxes: Path | None = None
    draw: Path | None = None
    crops: Path | None = None
    timeout: float | None = None
    rates: Path | None = None
    own: tuple[Path, ...] = ()

    def __call__(self) -> Callable[[Item], Report]:
        """Return the work. Raises: ModelFileError where this machine's model or version is another; what loading
        raises."""
        from lineament.api import load

        model = load(
            self.model,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            rates=self.rates,
            with_=self.own,
        )
        here = model.identity(self.settings)
        differing = sorted(key for key, value in here.items() if self.identity.get(key) != value)
        if differing:
            named = "; ".join(f"{key} {here[key]!r} in place of {self.identity.get(key)!r}" for key in differing)
            raise ModelFileError(
                f"A worker would answer otherwise: {named}. Install the same version and model on every machine."
            )
        return make_work(
            model,
            self.settings,
            given_faces(self.boxes, self.settings.faces),
            self.draw,
            self.crops,
            self.timeout,
            ExitStack(),
        )


def given_faces(boxes: Path | None, faces: str) -> Any:
    """Return the faces of a --boxes table; None without one. Raises: UsageError; DataError."""
    if boxes is None:
        return None
    if faces == "aligned":
        raise UsageError("--boxes and --faces aligned exclude each other: an aligned crop is one face already.")
    from lineament.inputs.given_faces import GivenFaces

    return GivenFaces(boxes)


def make_work(
    model: Model,
    settings: Settings,
    given: Any,
    draw: Path | None,
    crops: Path | None,
    timeout: float | None,
    cleanup: ExitStack,
) -> Callable[[Item], Report]:
    """Return what is done with one item: answer it, then save its pictures."""
    from lineament.outputs.pictures import CropFolder, DrawFolder
    from lineament.runs.stream import report_of

    folders = [kind(folder) for kind, folder in ((DrawFolder, draw), (CropFolder, crops)) if folder is not None]
    decode = None
    if timeout is not None:
        if not timeout > 0:
            raise UsageError(f"--timeout must be more than 0 seconds, got {timeout:g}.")
        from lineament.runs.decoder_process import TimedDecoder

        decode = TimedDecoder(timeout, settings.max_pixels)
        cleanup.callback(decode.close)

    def after(report: Report) -> None:
        for folder in folders:
            folder(report)

    tools = model.tools(settings, given)
    return lambda item: report_of(item, tools, settings, decode=decode, after=after if folders else None)
