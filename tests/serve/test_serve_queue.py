"""The queue: bounded, in order, fair, and without photos that nobody waits for any more."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_toys import ToySource, map_model, toy_photo

from lineament.pipeline.analyze import Settings
from lineament.serve import workers
from lineament.serve.batching import Batching, Job, PhotoQueue, Pool
from lineament.serve.limits import Limits, RefusedError
from lineament.serve.metrics import Metrics
from lineament.serve.photo_answer import PhotoRequest, answer


def job(name: str) -> Job:
    return Job(PhotoRequest(b"", name, Settings(), 1))


def names(jobs: list[Job]) -> list[str]:
    return [one.photo.source for one in jobs]


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 8), st.integers(1, 4))
def test_every_photo_is_taken_once_and_in_order(requests: list[int], size: int, workers: int) -> None:
    async def scenario() -> None:
        queue, put, taken = PhotoQueue(Limits(queue=1000)), [], []
        for number, count in enumerate(requests):
            jobs = [job(f"{number}.{i}") for i in range(count)]
            put += names(jobs)
            queue.put(jobs, 1)
        while len(queue):
            batch = await queue.take(Batching(size=size), workers)
            assert 1 <= len(batch) <= size
            taken += names(batch)
        assert taken == put

    asyncio.run(scenario())


def test_a_request_fits_whole_or_not_at_all() -> None:
    async def scenario() -> None:
        queue = PhotoQueue(Limits(queue=3))
        queue.put([job("a"), job("b")], 1)
        with pytest.raises(RefusedError) as caught:
            queue.put([job("c"), job("d")], 7)
        assert (caught.value.status, caught.value.retry_after, caught.value.limit) == (503, 7, ("queue", 3))
        assert len(queue) == 2

    asyncio.run(scenario())


def test_photos_nobody_waits_for_make_room() -> None:
    async def scenario() -> None:
        queue = PhotoQueue(Limits(queue=2))
        gone, kept = job("gone"), job("kept")
        queue.put([gone, kept], 1)
        gone.answer.cancel()
        queue.put([job("new")], 1)
        assert names(await queue.take(Batching(size=8), 1)) == ["kept", "new"]

    asyncio.run(scenario())


def test_photos_of_a_lost_worker_come_first_again() -> None:
    async def scenario() -> None:
        queue = PhotoQueue(Limits())
        queue.put([job(name) for name in "abcd"], 1)
        batch = await queue.take(Batching(size=2), 1)
        queue.put_back(batch)
        assert names(await queue.take(Batching(size=8), 1)) == list("abcd")

    asyncio.run(scenario())


def test_an_empty_queue_waits_and_a_batch_may_wait_to_fill() -> None:
    async def scenario() -> None:
        queue = PhotoQueue(Limits())
        taking = asyncio.create_task(queue.take(Batching(size=3, wait=5.0), 1))
        await asyncio.sleep(0.01)
        assert not taking.done()
        for name in "abc":
            queue.put([job(name)], 1)
            await asyncio.sleep(0.005)
        assert names(await asyncio.wait_for(taking, 4)) == list("abc"), "a full batch does not wait out its time"

    asyncio.run(scenario())


def test_no_worker_takes_more_than_its_share() -> None:
    """Five photos, two workers, room for eight in a batch: the first takes three, so that the other has work too."""

    async def scenario() -> list[int]:
        queue = PhotoQueue(Limits())
        queue.put([job(name) for name in "abcde"], 1)
        return [len(await asyncio.wait_for(queue.take(Batching(size=8), 2), 10)) for _ in range(3)]

    assert asyncio.run(scenario()) == [3, 1, 1]


def test_a_replacement_that_starts_too_slowly_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker dies; its replacements do not load in the time they have; then they have enough, and the photo is
    answered."""
    source = ToySource(map_model(tmp_path / "toy.onnx"))

    async def scenario() -> bytes:
        metrics = Metrics()
        worker = workers.Worker(source, answer)
        pool = Pool([worker], Limits(request_seconds=300), Batching(), metrics)
        await pool.start()
        try:
            monkeypatch.setattr(workers, "START_SECONDS", 0.05)
            os.kill(worker.pid or 0, signal.SIGKILL)
            waiting = asyncio.create_task(pool.answer([PhotoRequest(toy_photo(1), "a", Settings(), 6)]))
            for _ in range(3000):  # a minute
                if metrics.replaced._value.get() >= 2:  # the second try begins: the first was given up
                    break
                await asyncio.sleep(0.02)
            assert metrics.replaced._value.get() >= 2
            monkeypatch.setattr(workers, "START_SECONDS", 120.0)
            (answered,) = await waiting
            assert pool.ready()
            return answered.line
        finally:
            await pool.close()

    assert b'"status": "ok"' in asyncio.run(scenario())


def test_a_worker_that_does_not_load_in_time_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_SECONDS", 0.05)
    worker = workers.Worker(ToySource(map_model(tmp_path / "toy.onnx")), answer)
    with pytest.raises(workers.WorkerLostError, match="did not load"):
        asyncio.run(worker.start())
