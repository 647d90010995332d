"""The queue every request shares: bounded, first come first served, handed to workers in small batches.

    photos -> [bounded queue] -> batch (at most `size`, waiting at most `wait` seconds to fill) -> worker -> answers

Convention: a batch is only a way of handing over, so that a worker never idles between photos. The network still sees
each face by itself, so an answer cannot depend on its batch.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lineament.errors import LineamentError, TimedOutError
from lineament.outputs.sinks import record_line
from lineament.runs.stream import failed
from lineament.serve.limits import Limits
from lineament.serve.metrics import Metrics
from lineament.serve.photo_answer import Answered, PhotoRequest
from lineament.serve.workers import Hello, Worker, WorkerLostError

_RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Batching:
    """size: photos handed to a worker at once; wait: seconds to wait for a batch to fill (0: take what is there)."""

    size: int = 8
    wait: float = 0.0


@dataclass
class Job:
    """One photo and the future of its answer. lost: how many workers ended while they worked on it."""

    photo: PhotoRequest
    lost: int = 0
    answer: asyncio.Future[Answered] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    put: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def done(self) -> bool:
        return self.answer.done()

    def resolve(self, answer: Answered) -> None:
        if not self.done():
            self.answer.set_result(answer)

    def fail(self, error: LineamentError, model: str) -> None:
        """Resolve with a record of the error, as every photo that gives no answer has one."""
        line = record_line(failed(self.photo.source, error, model, self.photo.settings.profile))
        self.resolve(Answered(line, error.code, 0, (error.code, str(error))))


class PhotoQueue:
    """A bounded first-in first-out queue that many workers take batches from."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[Job] = deque()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, jobs: Sequence[Job], retry_after: int) -> None:
        """Append all jobs or none. Raises: RefusedError 503 where they do not fit."""
        self._drop_abandoned()
        if len(self._waiting) + len(jobs) > self._limits.queue:
            raise self._limits.refuse(
                "queue", 503, "The service is busy: its queue is full. Try again shortly.", retry_after=retry_after
            )
        self._waiting.extend(jobs)
        self._arrived.set()

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Put jobs whose worker was lost before it came to them at the head of the queue again, in their order."""
        self._waiting.extendleft(reversed(list(jobs)))
        self._arrived.set()

    async def take(self, batching: Batching, workers: int) -> list[Job]:
        """Return the next batch, at least one job: at most `size`, and no more than a fair share of what waits."""
        while True:
            self._drop_abandoned()
            if self._waiting:
                break
            self._arrived.clear()
            await self._arrived.wait()
        if batching.wait and len(self._waiting) < batching.size:
            await self._fill(batching)
        count = min(batching.size, math.ceil(len(self._waiting) / workers))
        return [self._waiting.popleft() for _ in range(count)] or await self.take(batching, workers)

    async def _fill(self, batching: Batching) -> None:
        """Wait until a batch is full or its time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + batching.wait
        while len(self._waiting) < batching.size and (left := until - loop.time()) > 0:
            self._arrived.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _drop_abandoned(self) -> None:
        """Forget jobs nobody waits for any more: the client left, or its time is over."""
        if any(job.done() for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.done())


class Pool:
    """Workers that share one queue. `start`, then `answer` from any request, then `close`."""

    def __init__(self, workers: Sequence[Worker], limits: Limits, batching: Batching, metrics: Metrics) -> None:
        self._workers, self._limits, self._batching, self._metrics = list(workers), limits, batching, metrics
        self._busy, self._retired = set[Worker](), set[Worker]()
        self._reloading = asyncio.Lock()
        self._seconds_per_photo = 0.05
        self._tasks: dict[Worker, asyncio.Task[None]] = {}
        self.hello: Hello | None = None

    async def start(self) -> None:
        """Start all workers. Raises: LineamentError where the model cannot be loaded."""
        self.queue = PhotoQueue(self._limits)
        started = await asyncio.gather(*(worker.start() for worker in self._workers), return_exceptions=True)
        for one in started:
            if isinstance(one, BaseException):
                await self.close()
                raise one
        self._greet(next(one for one in started if isinstance(one, Hello)))
        self._tasks = {worker: asyncio.create_task(self._attend(worker)) for worker in self._workers}

    def _greet(self, hello: Hello) -> None:
        self.hello = hello
        self._metrics.tell_model(hello.model)
        self._metrics.workers.set(len(self._workers))

    async def reload(self) -> str:
        """Load the model anew, one worker after the other, and return its id; no photo is dropped, and there are never
        fewer workers.

        A worker's twin is started first; then the old one finishes its batch and ends. Meanwhile some photos are
        answered by the old model, some by the new: each record names its own. Raises: LineamentError where the model
        cannot be loaded; the workers not yet replaced go on.
        """
        async with self._reloading:
            for place, old in enumerate(list(self._workers)):
                twin = old.twin()
                try:
                    hello = await twin.start()
                except LineamentError:
                    await twin.close()
                    self._metrics.reloads.labels("failed").inc()
                    raise
                self._workers[place] = twin
                self._tasks[twin] = asyncio.create_task(self._attend(twin))
                self._greet(hello)
                await self._retire(old)
            self._metrics.reloads.labels("done").inc()
        assert self.hello is not None
        return self.hello.model

    async def _retire(self, worker: Worker) -> None:
        """End a worker once it has finished its batch."""
        self._retired.add(worker)
        task = self._tasks.pop(worker)
        if worker not in self._busy:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._retired.discard(worker)
        await worker.close()

    def ready(self) -> bool:
        """Return whether a photo would be answered now: a worker lives and the queue has room."""
        return any(worker.alive() for worker in self._workers) and len(self.queue) < self._limits.queue

    @property
    def workers(self) -> Sequence[Worker]:
        return self._workers

    def retry_after(self) -> int:
        """Return the seconds after which the queue should have drained, from 1 to 30."""
        return min(30, max(1, math.ceil(len(self.queue) * self._seconds_per_photo / len(self._workers))))

    async def answer(self, photos: Sequence[PhotoRequest]) -> list[Answered]:
        """Return the answers of one request's photos, in order.

        Raises: RefusedError 503: the queue is full, or the request took too long.
        """
        jobs = [Job(photo) for photo in photos]
        self.queue.put(jobs, self.retry_after())
        self._metrics.queued.set(len(self.queue))
        try:
            return await asyncio.wait_for(asyncio.gather(*(job.answer for job in jobs)), self._limits.request_seconds)
        except asyncio.TimeoutError as error:
            message = "Not answered in time: the service is busy. Try again later, or with fewer photos."
            raise self._limits.refuse(
                "request_seconds", 503, message, retry_after=self.retry_after(), code="timed_out"
            ) from error
        finally:
            for job in jobs:
                job.answer.cancel()

    async def close(self) -> None:
        """End the workers; call it when every accepted request has been answered."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._workers))

    async def _attend(self, worker: Worker) -> None:
        """Feed one worker for as long as the service runs; replace its process when it fails."""
        while worker not in self._retired:
            jobs = await self.queue.take(self._batching, len(self._workers))
            self._busy.add(worker)
            now = asyncio.get_running_loop().time()
            for job in jobs:
                self._metrics.stages.labels("queue").observe(now - job.put)
            self._metrics.queued.set(len(self.queue))
            self._metrics.batch.observe(len(jobs))
            left = await self._work_off(worker, deque(jobs))
            if left is not None:
                self.queue.put_back(left)
                if worker not in self._retired:
                    await self._replace(worker)
            self._busy.discard(worker)

    def _seconds_of(self, job: Job) -> float:
        """Return how long a job may take: marked faces are many photos and a fit, so they have the whole request's
        time."""
        return self._limits.request_seconds if job.photo.teach else self._limits.photo_seconds

    async def _work_off(self, worker: Worker, jobs: deque[Job]) -> deque[Job] | None:
        """Have a worker answer jobs. Returns: None; where its process has to be replaced, the jobs that are still to
        do.

        A photo whose worker was lost is tried once more: the fault need not be the photo's.
        """
        loop = asyncio.get_running_loop()
        if not worker.alive():  # it ended while idle: no photo was to blame, so none loses its second try
            return jobs
        try:
            await worker.send([job.photo for job in jobs], max(self._seconds_of(job) for job in jobs))
            while jobs:
                begun = loop.time()
                jobs[0].resolve(await worker.receive(self._seconds_of(jobs[0])))
                done = jobs.popleft()
                if not done.photo.teach:
                    self._seconds_per_photo += 0.1 * (loop.time() - begun - self._seconds_per_photo)
        except TimeoutError:
            job = jobs.popleft()
            what, less = (
                ("Teaching from these faces", "Mark fewer.")
                if job.photo.teach
                else ("This photo", "Send a smaller one.")
            )
            self._fail(job, TimedOutError(f"{what} takes longer than {self._seconds_of(job):g} s. {less}"))
            return jobs
        except WorkerLostError as error:
            jobs[0].lost += 1
            if jobs[0].lost > 1:
                self._fail(jobs.popleft(), error)
            return jobs
        return None

    def _fail(self, job: Job, error: LineamentError) -> None:
        job.fail(error, self.hello.model if self.hello else "")

    async def _replace(self, worker: Worker) -> None:
        """Start the worker's process anew, more and more patiently where that fails."""
        for pause in (*_RESTART_SECONDS, *([_RESTART_SECONDS[-1]] * 10_000)):
            await asyncio.sleep(pause)
            await worker.close()
            self._metrics.replaced.inc()
            try:
                await worker.start()
            except (LineamentError, OSError):  # OSError: the system has no process to give just now
                continue
            return
