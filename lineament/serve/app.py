"""The application: a service's routes, its limits and its handlers, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from lineament import __version__
from lineament.detection.retinaface import check_small_faces
from lineament.errors import UsageError
from lineament.runtime.threads import default_threads
from lineament.serve import openapi
from lineament.serve.batching import Batching, Pool
from lineament.serve.body import Buffer
from lineament.serve.error_responses import add_handlers
from lineament.serve.guard import OPEN_PATHS, Guard
from lineament.serve.limits import Limits
from lineament.serve.metrics import Metrics
from lineament.serve.photo_answer import ModelSource, answer
from lineament.serve.request_log import LogRequest
from lineament.serve.search_routes import SearchDesk
from lineament.serve.service import Service
from lineament.serve.workers import AnswerFunction, Load, Worker


def create_app(
    source: Load | None = None,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    batching: Batching | None = None,
    api_key: str | None = None,
    hosts: Iterable[str] = (),
    db: Path | None = None,
    small_faces: str = "auto",
    answer: AnswerFunction = answer,
    log: LogRequest | None = None,
    open_metrics: bool = False,
) -> FastAPI:
    """Make the application.

    Args: source: loads the model in each worker process; it is sent there, so it must be picklable
        (`photo_answer.ModelSource`); None is the shipped default. workers: processes; None is the CPUs this process may
        use. api_key: what a client must show; None asks for none.
        hosts: names in the Host header that are served; any where empty. db: an index to search, open while the
        application lives.
        answer: what a worker does with a photo. log: told of every request. open_metrics: /metrics needs no key.
        small_faces: never, auto or always, where a request does not say.
    Raises: UsageError for an empty key; DataError for a file that is no index. A model that cannot be loaded raises its
        own error when the application starts.
    """
    if api_key is not None and not api_key.strip():
        raise UsageError("The API key is empty. Put a key into the file or LINEAMENT_API_KEY, or leave it out.")
    limits, metrics = limits or Limits(), Metrics()
    crew = [Worker(source or ModelSource(), answer) for _ in range(workers or default_threads())]
    pool, desk = Pool(crew, limits, batching or Batching(), metrics), None if db is None else SearchDesk(db, limits)
    service = Service(
        pool, limits, metrics, Buffer(limits, metrics), desk=desk, small_faces=check_small_faces(small_faces)
    )
    if desk is not None:
        desk.answers = service.answers

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Lineament", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    openapi.add_routes(app, service)
    add_handlers(app, metrics)
    open_paths = OPEN_PATHS | ({"/metrics"} if open_metrics else set())
    app.add_middleware(
        Guard, limits=limits, metrics=metrics, api_key=api_key, hosts=hosts, log=log, open_paths=open_paths
    )
    return app


__all__ = ["Service", "create_app"]
