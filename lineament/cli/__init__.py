"""The command line: one module per command, loaded only when that command runs, so that help and short runs stay fast.

To add a command: add a line to `COMMANDS` and a module `lineament/cli/<command>.py` (dashes become underscores) with
one typed function `command(...)`; its parameters are Typer options, the shared ones come from `lineament.cli.options`,
its docstring is the help text.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lineament.errors import ConfigError, LineamentError, UsageError

COMMANDS: dict[str, str] = {
    "analyze": "Answer the attributes of every face in photos, folders or lists.",
    "models": "List the models that can be named with --model.",
    "doctor": "Check versions, providers, weights and answers of this installation.",
    "schema": "Print the JSON Schema of a record.",
    "configs": "List the training configurations that can be named with --config.",
    "prepare": (
        "Make what a training configuration reads: crops, landmarks, masks, a region network, a teacher's answers."
    ),
    "train": "Train a network from a configuration file.",
    "export": "Export a training run to one ONNX file with its card.",
    "teach": "Teach an own attribute from a few sorted photos.",
    "evaluate": "Score a model or a prediction file on labelled data.",
    "calibrate": "Fit calibration and thresholds from a prediction file into a model's card.",
    "compare": "Compare two prediction files with a paired bootstrap.",
    "audit": "Compare error rates between cohorts.",
    "audit-labels": "Find labels that are likely wrong.",
    "report": "Write a report of prediction files, HTML or PDF.",
    "table": "Compare systems over their seeds: a table of prediction files.",
    "card": "Show a model's card as a person reads it.",
    "bench": "Measure the speed of every stage on this machine.",
    "serve": "Serve the HTTP interface and its page.",
    "index": "Build a searchable index of the faces in a folder.",
    "search": "Search an index by attributes.",
    "forget": "Take photos out of an index, and out of the bytes of its file.",
}
EXIT_FAILED_INPUTS = 3
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command runs, and turns `LineamentError` into one line and exit
    status 2."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a stand-in with name and help only: enough for `--help` and completion, and free."""
        return (
            TyperCommand(name=cmd_name, help=COMMANDS[cmd_name], rich_markup_mode="rich")
            if cmd_name in COMMANDS
            else None
        )

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """Return the real command for the first argument, importing its module; say what comes near one unknown."""
        near = difflib.get_close_matches(args[0], COMMANDS, 1) if args and args[0] not in COMMANDS else []
        if near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        name, stand_in, rest = super().resolve_command(ctx, args)
        return (name, stand_in, rest) if name is None else (name, _load(name), rest)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LineamentError as error:
            typer.echo(f"lineament: {error}", err=True)
            raise typer.Exit(EXIT_USAGE) from error
        except BrokenPipeError as error:  # `lineament ... | head` closed our stdout: not a fault of the run
            sys.stdout = None
            raise typer.Exit(0) from error
        except OSError as error:
            typer.echo(
                f"lineament: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True
            )
            raise typer.Exit(1) from error


class OneCommand(TyperCommand):
    """A command that refuses an address where it takes a local file (`s3://bucket/x` would become a folder called
    `s3:`), and whose errors name options as they are typed."""

    def invoke(self, ctx: Any) -> Any:
        self._refuse_addresses(ctx)
        try:
            return super().invoke(ctx)
        except ConfigError:  # names the key of a file
            raise
        except UsageError as error:
            error.args = (self._as_typed(str(error)), *error.args[1:])
            raise

    def _as_typed(self, message: str) -> str:
        """Return the message of a setting out of bounds (`small_faces must be ...`) with its option (`--small-faces`)
        in place of the setting."""
        word, must, rest = message.partition(" must be ")
        options = {param.name: max(param.opts, key=len) for param in self.params if param.param_type_name == "option"}
        return f"{options.get(word, word)}{must}{rest}"

    def _refuse_addresses(self, ctx: Any) -> None:
        for value in ctx.params.values():
            for one in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(one, Path) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(/|$)", str(one)) and not one.exists():
                    raise UsageError(
                        f"{one} is an address, and this takes a local file or folder. Name one, and copy it there or "
                        "from there."
                    )


def _load(name: str) -> Any:
    module = import_module(f"lineament.cli.{name.replace('-', '_')}")
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    single.command(name, cls=OneCommand)(module.command)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _show_version(wanted: bool) -> None:
    if wanted:
        from lineament import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Photos in; for every face 40 named answers with probabilities that mean what they say."""


def speak_as_it_can() -> None:
    """Have a terminal that cannot encode a name show its escapes (`\\u043c`), in place of ending the run. JSON and CSV
    are UTF-8 as ever."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point `lineament` and `python -m lineament`."""
    speak_as_it_can()
    app(args=None if arguments is None else list(arguments), prog_name="lineament")
