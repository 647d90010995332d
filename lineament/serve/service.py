"""The service: routes, and how a request becomes a record.

POST /v1/analyze: request -> Body.read -> Pool.answer -> record(s)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lineament import __version__
from lineament.pipeline.analyze import Settings
from lineament.schema import MGMTN_GROUPS, in_profile, judges
from lineament.serve.batching import Pool
from lineament.serve.body import Body, Buffer, ClientDisconnect, Upload, left
from lineament.serve.guard import FACES
from lineament.serve.limits import Limits, RefusedError, refusal_of_photo
from lineament.serve.metrics import Metrics
from lineament.serve.options import Options, Profile
from lineament.serve.pages import Asset, load_assets, load_example
from lineament.serve.photo_answer import Answered, PhotoRequest, map_name
from lineament.serve.search_routes import SearchDesk

T = TypeVar("T")


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record: the same that `lineament schema` prints."""
    document: dict[str, Any] = json.loads(files("lineament").joinpath("record.schema.json").read_text(encoding="utf-8"))
    return document


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
    small_faces: str = "auto"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the workers; at the end, when every accepted request is answered, end them. Raises: the model's own
        error."""
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
            return Response(
                b'{"results": [' + b", ".join(one.line for one in answers) + b"]}\n", media_type="application/json"
            )
        if answers[0].error is not None:
            raise refusal_of_photo(*answers[0].error, self.limits)
        return Response(answers[0].line + b"\n", media_type="application/json")

    async def answers(self, request: Request, options: Options) -> tuple[list[Upload], list[Answered], bool]:
        """Return a request's photos, their answers, and whether they came as a form. Raises: RefusedError;
        ClientDisconnect."""
        settings = options.settings(self.limits, self.attributes, self.small_faces)
        body = Body(request, self.limits, self.buffer)
        try:
            uploads, form = await body.read()
            photos = [
                PhotoRequest(upload.data, upload.source, settings, self.limits.faces, options.maps)
                for upload in uploads
            ]
            answers = await _while_connected(request, self.pool.answer(photos))
        finally:
            body.close()
        self._count(answers)
        request.scope[FACES] = sum(one.faces for one in answers)
        return uploads, answers, form

    async def teach(self, request: Request) -> Response:
        """Fit an own attribute on faces that were marked yes or no (one JSON body; docs/serve.md), and judge it on
        faces left out."""
        body = Body(request, self.limits, self.buffer)
        try:
            uploads, form = await body.read()
            if form:
                raise RefusedError(
                    415, "media_type", "Send the marked faces as one JSON body, application/octet-stream."
                )
            asked = PhotoRequest(
                uploads[0].data, "teach", Settings(max_pixels=self.limits.pixels), self.limits.faces, teach=True
            )
            answers = await _while_connected(request, self.pool.answer([asked]))
        finally:
            body.close()
        if answers[0].error is not None:
            raise RefusedError(422, *answers[0].error)
        return Response(answers[0].line + b"\n", media_type="application/json")

    def _count(self, answers: Sequence[Answered]) -> None:
        for one in answers:
            self.metrics.photos.labels(one.status).inc()
            self.metrics.faces.inc(one.faces)
            for stage, seconds in one.stages:
                self.metrics.stages.labels(stage).observe(seconds)

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(self.card["attributes"])

    @property
    def card(self) -> dict[str, Any]:
        assert self.pool.hello is not None
        return self.pool.hello.card

    async def schema(self) -> Response:
        """Return the JSON Schema of a record."""
        return JSONResponse(record_schema(), media_type="application/schema+json")

    async def model(self) -> Response:
        """Return the model's card, and the id that records show."""
        assert self.pool.hello is not None
        return JSONResponse({"id": self.pool.hello.model, **self.card})

    async def describe_attributes(self, profile: Profile = "default") -> Response:
        """Return the attributes a profile shows, each with its facial part and the map that shows where the network
        looked."""
        groups = {name: group for group, members in MGMTN_GROUPS.items() for name in members}
        maps = (self.card.get("maps") or {}).get("of") or []
        entries = [
            {"name": name, "group": groups.get(name, "Object"), "sensitive": judges(name), "map": map_name(name, maps)}
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
            raise RefusedError(
                503, "not_ready", "No worker is free to take photos.", retry_after=self.pool.retry_after()
            )
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
