"""Several processes on one machine: the same run, its photos answered by workers that each hold the model.

    items -> [window] -> processes: item -> (fingerprint, report) -> [window] -> reports, in order

Threads of one process share Python's lock: a fifth of a photo's work is done under it, so more than a few threads add
little (`benchmarks/speed.py`, `planning.py`). Processes share nothing but memory bandwidth, and cost a copy of the
networks each.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from threading import Event, Thread

from lineament.errors import LineamentError
from lineament.inputs.item import Item
from lineament.runs.resume import Wanted
from lineament.runs.stream import stream
from lineament.types import Report

Work = Callable[[Item], Report]


@dataclass(frozen=True)
class Processes:
    """Items and who answers them. make_work: called once in each of `count` processes, so it must be importable
    there."""

    items: Iterable[Item]
    make_work: Callable[[], Work]
    count: int
    stop: Event | None = None

    def __call__(self, wanted: Wanted) -> Iterator[tuple[str, str, Report]]:
        """Yield (source, fingerprint, report) of every item that is wanted, in their order.

        Raises: LineamentError where a process is lost; what loading raises.
        """
        pool = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"), _start, (self.make_work,))
        try:
            for item, (fingerprint, report) in stream(
                wanted.of(self.items), _answer, workers=self.count, stop=self.stop, pool=pool
            ):
                yield item.source, fingerprint, report
        except BrokenProcessPool as error:
            raise LineamentError(
                "A worker process was lost (ended from outside, out of memory, or by a photo that crashes its "
                "decoder). What was written is whole: "
                "go on with --resume, with fewer --processes, or with --timeout, which decodes apart and makes a "
                "record of such a photo."
            ) from error


_work: Work | LineamentError | None = None


def _start(make_work: Callable[[], Work]) -> None:
    """Load the model in a worker. What fails is told with the first item: a pool loses the reason of a worker that does
    not start."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets what is begun be finished
    Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        _work = make_work()
    except LineamentError as error:
        _work = error


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went: a pool's workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(item: Item) -> tuple[str, Report]:
    if isinstance(_work, LineamentError):
        raise _work
    assert _work is not None
    return item.fingerprint(), _work(item)
