"""A Python process of ours at the other end of a pipe, and waits for it that end.

    main(pipe, *arguments) in a process of its own <-> ChildProcess.send, receive(seconds)

A process, not a thread: one that hangs in a decoder, or in a read from a dead network folder, can be ended, and one
that crashes takes nothing with it. It is started anew (spawn): a fork would copy locks that other threads hold.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any


class ChildLostError(Exception):
    """The process ended before it answered."""


class ChildProcess:
    """A started process and this side of its pipe. One thread at a time may send, one receive.

    Args: main: called with the pipe's other end and `arguments` in the process; it and they are pickled, so it must be
        importable there.
    """

    def __init__(self, main: Callable[..., None], arguments: Sequence[Any] = (), *, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: Any = context.Process(target=_enter, args=(main, theirs, *arguments), name=name, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        number: int | None = self._process.pid
        return number

    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def send(self, message: Any) -> None:
        """Hand over a message, pickled; bytes go as they are. Raises: ChildLostError."""
        try:
            if isinstance(message, bytes):
                self._pipe.send_bytes(message)
            else:
                self._pipe.send(message)
        except OSError as error:
            raise ChildLostError from error

    def receive(self, seconds: float) -> Any:
        """Return the next message. Raises: TimeoutError where none comes within `seconds`; ChildLostError."""
        return self._received(self._pipe.recv, seconds)

    def receive_bytes(self, seconds: float) -> bytes:
        """Return the next bytes: what is said by a process that reads strangers' files, which is never unpickled.

        Raises: TimeoutError where none come within `seconds`; ChildLostError.
        """
        found: bytes = self._received(self._pipe.recv_bytes, seconds)
        return found

    def _received(self, take: Callable[[], Any], seconds: float) -> Any:
        try:
            if self._pipe.poll(seconds):
                return take()
        except (EOFError, OSError) as error:
            raise ChildLostError from error
        raise TimeoutError(f"No answer within {seconds:g} s.")

    def kill(self) -> None:
        """End the process at once; a wait for it ends with ChildLostError."""
        self._process.kill()

    def close(self, seconds: float = 5.0) -> None:
        """End the process, wait for its end, and close the pipe."""
        self.kill()
        self._process.join(seconds)
        self._pipe.close()


def _enter(main: Callable[..., None], pipe: Connection, *arguments: Any) -> None:
    """Run `main` where Ctrl-C does not reach it: that is for the parent, which lets what is begun be finished."""
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main(pipe, *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone, or wants no more
