"""What `train` and `prepare` share: which config, on which data, on which device, with which values changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lineament.config import TrainConfig

Config = Annotated[
    str,
    typer.Option(
        "--config", metavar="FILE|NAME", help="A configuration (YAML), or the name of a packaged one; see `configs`."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The training images, as downloaded; in place of the configuration's."),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda or cuda:N, in place of the configuration's.")
]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, as in optimiser.lr=1e-3; repeat."),
]
Download = Annotated[
    bool,
    typer.Option(
        "--allow-download", help="Fetch pretrained trunk weights that are not on this machine. Off: no network."
    ),
]


def chosen(config: str, *, data: Path | None, device: str | None, values: list[str] | None) -> TrainConfig:
    """Return the named config with the command line's changes. Raises: ConfigError."""
    from dataclasses import replace

    from lineament.config import load_config, with_data, with_values

    settings = with_values(load_config(config), values or [])
    if data is not None:
        settings = with_data(settings, data)
    if device is not None:
        settings = replace(settings, optimiser=replace(settings.optimiser, device=device))
    return settings


def repeated(config: str, *, data: Path | None, device: str | None, values: list[str] | None) -> str:
    """Return the words of a command line that choose the same again, quoted for a shell."""
    import shlex

    words = ["--config", config]
    for option, value in (("--data", data), ("--device", device)):
        words += [] if value is None else [option, str(value)]
    for pair in values or ():
        words += ["--set", pair]
    return shlex.join(words)
