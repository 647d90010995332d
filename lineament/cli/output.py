"""Output of commands: JSON to a file or stdout, tables for people, a progress bar on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console


def write_json(document: Any, where: Path) -> None:
    """Write JSON to a file, or to stdout for "-". NaN is refused: no data is null."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(where) == "-":
        typer.echo(text.encode("utf-8", "surrogateescape"), nl=False)  # whatever the terminal's encoding: JSON is UTF-8
        return
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(text, encoding="utf-8")


def show(table: Any, lines: Sequence[str], *, to_stderr: bool, quiet: bool) -> None:
    """Print a Rich table and lines: to stdout, or to stderr (and then not when quiet) where stdout carries data."""
    if to_stderr and quiet:
        return
    wide = None if sys.stdout.isatty() else 120
    console = Console(stderr=to_stderr, width=wide, highlight=False)
    console.print(table)
    for line in lines:
        console.print(line, markup=False)


@contextmanager
def progress(what: str, total: int | None, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr while the body runs; yields what to call after each step. Nothing is shown when quiet or not
    on a terminal."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
