"""The queue: bounded, in order, fair, and without photos that nobody waits for any more."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineament.pipeline.analyze import Settings
from lineament.serve.batching import Batching, Job, PhotoQueue
from lineament.serve.limits import Limits, RefusedError
from lineament.serve.photo_answer import PhotoRequest


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
