"""What decoder processes run in tests in place of `serve_requests`: it hangs, crashes, or waits for a dead folder."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from typing import Any

import lineament.images
from lineament.runs.decoder_process import serve_requests

DEAD = "LINEAMENT_TEST_DEAD"
"""The environment variable that names a pipe which nobody writes."""
_load, _open = lineament.images.load_image, os.open


def hangs(pipe: Connection) -> None:
    """Decode, but never come back from a file whose name ends in 1.png."""

    def load(source: Any, **how: Any) -> Any:
        time.sleep(60 if str(source).endswith("1.png") else 0)
        return _load(source, **how)

    lineament.images.load_image = load
    serve_requests(pipe)


def crashes(pipe: Connection) -> None:
    """Decode, but end without a word at a file whose name ends in 1.png."""

    def load(source: Any, **how: Any) -> Any:
        if str(source).endswith("1.png"):
            os._exit(139)
        return _load(source, **how)

    lineament.images.load_image = load
    serve_requests(pipe)


def waits_for_a_dead_folder(pipe: Connection) -> None:
    """Decode, but opening two of the photos waits for ever at a pipe that nobody writes: a network folder that
    hangs."""

    def opened(name: Any, *how: Any, **more: Any) -> int:
        if str(name).endswith(("007.png", "023.png")):
            return _open(os.environ[DEAD], os.O_RDONLY)
        return _open(name, *how, **more)

    os.open = opened
    serve_requests(pipe)


def never_starts(pipe: Connection) -> None:
    """End before anything is said."""


def echoes(pipe: Connection, *first: str) -> None:
    """Say the arguments, then every message again; "wait" is answered after a second."""
    pipe.send(first)
    while True:
        message = pipe.recv()
        if message == "wait":
            time.sleep(1)
        pipe.send(message)
