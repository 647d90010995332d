"""The pool around its workers, without a process: workers that hang, die and will not start again, as a test scripts
them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from lineament.pipeline.analyze import Settings
from lineament.serve import batching
from lineament.serve.batching import Batching, Job, Pool
from lineament.serve.limits import Limits
from lineament.serve.metrics import Metrics
from lineament.serve.photo_answer import Answered, PhotoRequest
from lineament.serve.workers import Hello, Worker, WorkerLostError


class Scripted:
    """A worker that answers each photo by its name, but hangs at some and dies at others as often as it is told to."""

    def __init__(
        self, *, hangs: Sequence[str] = (), deaths: dict[str, int] | None = None, failing_starts: int = 0
    ) -> None:
        self.hangs, self.deaths, self.failing_starts = hangs, dict(deaths or {}), failing_starts
        self.starts, self.tried, self.seconds = 0, Counter[str](), list[float]()
        self._photos: deque[PhotoRequest] = deque()

    async def start(self) -> Hello:
        self.starts += 1
        if self.starts > 1 and self.failing_starts:
            self.failing_starts -= 1
            raise OSError(11, "no process to give just now")
        return Hello("toy@00000000", {})

    def alive(self) -> bool:
        return True

    async def send(self, photos: Sequence[PhotoRequest], seconds: float) -> None:
        self._photos = deque(photos)

    async def receive(self, seconds: float) -> Answered:
        photo = self._photos.popleft()
        self.tried[photo.source] += 1
        self.seconds.append(seconds)
        if photo.source in self.hangs:
            raise TimeoutError
        if self.deaths.get(photo.source, 0) > 0:
            self.deaths[photo.source] -= 1
            raise WorkerLostError("The worker ended.")
        return Answered(photo.source.encode(), "ok", 0)

    async def close(self) -> None:
        self._photos.clear()


def request(name: str, *, teach: bool = False) -> PhotoRequest:
    return PhotoRequest(b"", name, Settings(), 1, teach=teach)


def answered(worker: Scripted, names: str, limits: Limits | None = None) -> list[Answered]:
    """Return the answers to photos named by the letters of `names`, asked for at once; nothing may take longer than a
    quarter of a minute."""

    async def scenario() -> list[Answered]:
        pool = Pool([worker], limits or Limits(), Batching(size=8), Metrics())  # type: ignore[list-item]
        await pool.start()
        try:
            return await asyncio.wait_for(pool.answer([request(name) for name in names]), 15)
        finally:
            await pool.close()

    return in_time(scenario())


def in_time(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 30))


def test_a_photo_that_hangs_is_told_so_and_its_neighbours_are_answered_by_the_replacement() -> None:
    worker = Scripted(hangs="b")
    found = answered(worker, "abc", Limits(photo_seconds=3))
    assert [one.status for one in found] == ["ok", "timed_out", "ok"]
    assert b"longer than 3 s" in found[1].line
    assert worker.starts == 2
    assert worker.tried == {"a": 1, "b": 1, "c": 1}, "who hangs is not asked again"
    assert set(worker.seconds) == {3}


@pytest.mark.parametrize("deadly", ["a", "b", "c"])
def test_a_photo_that_costs_two_workers_is_given_up_and_no_other(deadly: str) -> None:
    worker = Scripted(deaths={deadly: 99})
    found = answered(worker, "abc")
    assert [one.status for one in found] == ["worker_lost" if name == deadly else "ok" for name in "abc"]
    assert worker.tried[deadly] == 2
    assert worker.starts == 3


def test_a_photo_whose_worker_died_once_is_answered() -> None:
    worker = Scripted(deaths={"a": 1, "b": 1})
    assert [one.line for one in answered(worker, "ab")] == [b"a", b"b"]
    assert worker.tried == {"a": 2, "b": 2}


def test_a_worker_that_will_not_start_is_tried_ever_more_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    real, pauses = asyncio.sleep, list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr(batching.asyncio, "sleep", sleep)
    assert [one.status for one in answered(Scripted(deaths={"a": 1}, failing_starts=6), "a")] == ["ok"]
    assert pauses == [0, 1, 2, 5, 10, 10, 10]


def test_marked_faces_have_the_time_of_the_whole_request() -> None:
    async def scenario() -> tuple[float, float]:
        pool = Pool([], Limits(photo_seconds=3, request_seconds=40), Batching(), Metrics())
        return pool._seconds_of(Job(request("photo"))), pool._seconds_of(Job(request("faces", teach=True)))

    assert in_time(scenario()) == (3, 40)


def test_how_long_to_wait_before_any_photo_was_timed() -> None:
    """A twentieth of a second a photo until it is known better; from one second to half a minute."""

    async def scenario() -> list[int]:
        found = []
        for waiting in (0, 1, 40, 130, 5000):
            pool = Pool([Scripted(), Scripted()], Limits(queue=5000), Batching(), Metrics())  # type: ignore[list-item]
            pool.queue = batching.PhotoQueue(Limits(queue=5000))
            pool.queue.put([Job(request(str(number))) for number in range(waiting)], 1)
            found.append(pool.retry_after())
        return found

    assert in_time(scenario()) == [1, 1, 1, 4, 30]


def test_a_worker_that_was_not_started_does_not_live() -> None:
    worker = Worker(None, None)  # type: ignore[arg-type]
    assert (worker.alive(), worker.pid) == (False, None)
