"""Worker processes: each loads the model once and answers photos one after another; a crashed or hung one is killed and
replaced.

    photos -> pipe -> process: model -> pipe -> answers, in order

Nothing is shared but the pipe (`runs.child_process`).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lineament.api import Model
from lineament.errors import LineamentError
from lineament.runs.child_process import ChildLostError, ChildProcess
from lineament.serve.photo_answer import Answered, PhotoRequest

Load = Callable[[], Model]
AnswerFunction = Callable[[Model, PhotoRequest], Answered]
T = TypeVar("T")

START_SECONDS = 120.0


class WorkerLostError(LineamentError):
    """The worker's process ended, or was ended for taking too long, before it answered."""

    code = "worker_lost"


@dataclass(frozen=True)
class Hello:
    """What a worker says when it has loaded its model."""

    model: str
    card: dict[str, Any]


class Worker:
    """One process and this side of its pipe. Every method is called from the event loop, one at a time."""

    def __init__(self, load: Load, answer: AnswerFunction) -> None:
        self._load, self._answer = load, answer
        self._child: ChildProcess | None = None
        self._thread: ThreadPoolExecutor

    async def start(self) -> Hello:
        """Start the process and wait until its model is loaded.

        Raises: LineamentError with the model's own message; WorkerLostError where the process ends or takes too long.
        """
        self._thread = ThreadPoolExecutor(1, "worker pipe")
        self._child = await asyncio.to_thread(ChildProcess, _work, (self._load, self._answer), name="lineament worker")
        try:
            hello = await self._received(START_SECONDS)
        except TimeoutError as error:
            self.kill()
            raise WorkerLostError(f"The worker did not load its model within {START_SECONDS:g} s.") from error
        if isinstance(hello, Hello):
            return hello
        self.kill()
        raise LineamentError(str(hello))

    def twin(self) -> Worker:
        """Return a worker of the same kind, not started: its process loads the model anew."""
        return Worker(self._load, self._answer)

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def alive(self) -> bool:
        return self._child is not None and self._child.alive()

    async def send(self, photos: Sequence[PhotoRequest], seconds: float) -> None:
        """Hand over photos. Raises: WorkerLostError; TimeoutError where the process does not take them within
        `seconds`."""
        child = self._child
        assert child is not None
        await self._wait(lambda: child.send(photos), seconds)

    async def receive(self, seconds: float) -> Answered:
        """Return the answer to the next photo handed over. Raises: WorkerLostError; TimeoutError after `seconds`."""
        answer = await self._received(seconds)
        if not isinstance(answer, Answered):
            raise WorkerLostError(str(answer))
        return answer

    def kill(self) -> None:
        """End the process at once; a pipe operation under way in the thread ends with it."""
        if self._child is not None:
            self._child.kill()
            self._thread.shutdown(wait=False)

    async def close(self) -> None:
        """End the process and wait for it."""
        self.kill()
        if self._child is not None:
            await asyncio.to_thread(self._child.close)
            self._child = None

    async def _received(self, seconds: float) -> Any:
        child = self._child
        assert child is not None
        return await self._wait(lambda: child.receive(seconds), seconds)

    async def _wait(self, operation: Callable[[], T], seconds: float) -> T:
        """Return what a pipe operation gives. Raises: WorkerLostError; TimeoutError after `seconds`, the operation
        going on in its thread."""
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._thread, operation), seconds)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise TimeoutError(f"No answer within {seconds:g} s.") from error
        except ChildLostError as error:
            raise WorkerLostError(
                "The worker ended while it worked on this photo. Its replacement is starting; try again."
            ) from error


def _work(pipe: Connection, load: Load, answer: AnswerFunction) -> None:
    """Answer photos until the pipe closes: what a worker process runs.

    Ctrl-C and a service manager's SIGTERM reach the whole group; only the server decides when its workers end, after
    what it accepted is answered.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        model = load()
    except (LineamentError, OSError) as error:
        pipe.send(str(error))
        return
    pipe.send(Hello(model.id, dict(model.card.document)))
    while True:
        try:
            photos = pipe.recv()
        except EOFError:
            return
        for photo in photos:
            pipe.send(answer(model, photo))
