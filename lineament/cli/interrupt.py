"""Signal handling (Ctrl-C, SIGTERM) for long commands: the first asks, the second ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lineament.cli import EXIT_INTERRUPTED


@contextmanager
def on_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at the first Ctrl-C (or SIGTERM) within: what is begun is finished and written. A second one ends the
    process at once, even where something hangs."""
    asked = False

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            os._exit(EXIT_INTERRUPTED)
        asked = True
        ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
