"""The service: routes, and how a request becomes a record.

POST /v1/analyze: request -> Body.read -> Pool.answer -> record(s)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lineament import __version__
from lineament.errors import UsageError
from lineament.runtime.threads import default_threads
from lineament.schema import MGMTN_GROUPS, SENSITIVE, in_profile
from lineament.serve import openapi
from lineament.serve.answering import Answered, ModelSource, Photo, answer, map_name
from lineament.serve.batching import Batching, Pool
from lineament.serve.body import Body, Buffer, ClientDisconnect, Upload, left
from lineament.serve.guard import Guard
from lineament.serve.limits import Limits, RefusedError, refusal_of_photo
from lineament.serve.metrics import Metrics
from lineament.serve.options import Options, Profile
from lineament.serve.pages import Asset, load_assets, load_example
from lineament.serve.refusing import add_handlers
from lineament.serve.searching import SearchDesk
from lineament.serve.workers import Answer, Load, Worker

T = TypeVar("T")


@dataclass
class Service:
    """Everything one running service holds; its methods are the routes."""

    pool: Pool
    limits: Limits
    metrics: Metrics
    buffer: Buffer
    assets: dict[str, Asset] = field(default_factory=load_assets)
    example: Asset | None = field(default_factory=load_example)
    desk: SearchDesk | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the workers; at the end, when every accepted request is answered, end them. Raises: the model's own error."""
        try:
            await self.pool.start()
            yield
        finally:
            await self.pool.close()
            if self.desk is not None:
                self.desk.close()

    async def analyze(self, request: Request, options: Annotated[Options, Query()]) -> Response:
        """Answer the attributes of every face in one photo (raw body) or several (form field `files`, repeated)."""
        _, answers, form = await self.answers(request, options)
        if form:
            return Response(b'{"results": [' + b", ".join(one.line for one in answers) + b"]}\n", media_type="application/json")
        if answers[0].error is not None:
            raise refusal_of_photo(*answers[0].error, self.limits)
        return Response(answers[0].line + b"\n", media_type="application/json")

    async def answers(self, request: Request, options: Options) -> tuple[list[Upload], list[Answered], bool]:
        """Return a request's photos, their answers, and whether they came as a form. Raises: RefusedError; ClientDisconnect."""
        settings = options.settings(self.limits, self.attributes)
        body = Body(request, self.limits, self.buffer)
        try:
            uploads, form = await body.read()
            photos = [Photo(upload.data, upload.source, settings, self.limits.faces, options.maps) for upload in uploads]
            answers = await _while_connected(request, self.pool.answer(photos))
        finally:
            body.close()
        self._count(answers)
        return uploads, answers, form

    def _count(self, answers: Sequence[Answered]) -> None:
        for one in answers:
            self.metrics.photos.labels(one.status).inc()
            self.metrics.faces.inc(one.faces)

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(self.card["attributes"])

    @property
    def card(self) -> dict[str, Any]:
        assert self.pool.hello is not None
        return self.pool.hello.card

    async def schema(self) -> Response:
        """Return the JSON Schema of a record."""
        return JSONResponse(openapi.record_schema(), media_type="application/schema+json")

    async def model(self) -> Response:
        """Return the model's card, and the id that records show."""
        assert self.pool.hello is not None
        return JSONResponse({"id": self.pool.hello.model, **self.card})

    async def describe_attributes(self, profile: Profile = "default") -> Response:
        """Return the attributes a profile shows, each with its facial part and the map that shows where the network looked."""
        groups = {name: group for group, members in MGMTN_GROUPS.items() for name in members}
        maps = (self.card.get("maps") or {}).get("of") or []
        entries = [
            {"name": name, "group": groups.get(name, "Object"), "sensitive": name in SENSITIVE, "map": map_name(name, maps)}
            for name in in_profile(profile, self.attributes)
        ]
        return JSONResponse({"profile": profile, "groups": list(MGMTN_GROUPS), "attributes": entries})

    async def about(self) -> Response:
        """Return what this service accepts: its limits by name, and which optional parts it has."""
        parts = {"example": self.example is not None, "search": self.desk is not None}
        return JSONResponse({"version": __version__, "limits": self.limits.to_dict(), **parts})

    async def health(self) -> Response:
        """Say that the process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        """Say whether a photo would be answered now."""
        if not self.pool.ready():
            raise RefusedError(503, "not_ready", "No worker is free to take photos.", retry_after=self.pool.retry_after())
        return JSONResponse({"status": "ready"})

    async def metrics_page(self) -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(self.metrics.page(), media_type=self.metrics.content_type)

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return self.assets["index.html"].response(request)

    async def search_page(self, request: Request) -> Response:
        """Return the search page."""
        if self.desk is None:
            raise RefusedError(404, "not_found", "This service has no index to search: start it with --db FILE.")
        return self.assets["search.html"].response(request)

    async def static(self, request: Request, name: str) -> Response:
        """Return one of the page's files."""
        if name not in self.assets:
            raise RefusedError(404, "not_found", "There is no such file.")
        return self.assets[name].response(request)

    async def example_photo(self, request: Request) -> Response:
        """Return the bundled public-domain portrait."""
        if self.example is None:
            raise RefusedError(404, "not_found", "This installation holds no example photo.")
        return self.example.response(request)


def create_app(
    source: Load | None = None,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    batching: Batching | None = None,
    api_key: str | None = None,
    hosts: Iterable[str] = (),
    db: Path | None = None,
    answer: Answer = answer,
) -> FastAPI:
    """Make the application.

    Args: source: loads the model in each worker process; it is sent there, so it must be picklable (`answering.ModelSource`); None is the
        shipped default. workers: processes; None is the CPUs this process may use. api_key: what a client must show; None asks for none.
        hosts: names in the Host header that are served; any where empty. db: an index to search, open while the application lives.
        answer: what a worker does with a photo.
    Raises: UsageError for an empty key; DataError for a file that is no index. A model that cannot be loaded raises its own error when the
        application starts.
    """
    if api_key is not None and not api_key.strip():
        raise UsageError("The API key is empty. Put a key into the file or LINEAMENT_API_KEY, or leave it out.")
    limits, metrics = limits or Limits(), Metrics()
    crew = [Worker(source or ModelSource(), answer) for _ in range(workers or default_threads())]
    pool, desk = Pool(crew, limits, batching or Batching(), metrics), None if db is None else SearchDesk(db, limits)
    service = Service(pool, limits, metrics, Buffer(limits, metrics), desk=desk)
    if desk is not None:
        desk.answers = service.answers

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(title="Lineament", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.service = service
    openapi.add_routes(app, service)
    add_handlers(app, metrics)
    app.add_middleware(Guard, limits=limits, metrics=metrics, api_key=api_key, hosts=hosts)
    return app


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` gives; cancel it as soon as the client goes away. Raises: ClientDisconnect."""
    gone, working = asyncio.ensure_future(left(request)), asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        gone.cancel()
        working.cancel()


__all__ = ["Service", "create_app"]
