"""Attribute search over HTTP: the index's own answers, and pictures of their faces. Nobody can be searched for by who they are.

GET /v1/search?q=... -> Index.search -> hits, each with the name of its picture -> GET /v1/search/pictures/NAME
"""

from __future__ import annotations

import asyncio
import io
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Query
from starlette.responses import JSONResponse, Response

from lineament.serve.limits import Limits, RefusedError
from lineament.serve.options import Profile

if TYPE_CHECKING:
    from lineament.search.find import Found, Hit

T = TypeVar("T")
PICTURE_SIDE = 224
_PICTURES_KEPT = 5000
_AT_ONCE = 2


class SearchDesk:
    """An open index; its methods are the routes. Only photos that a search has just shown have a picture here."""

    def __init__(self, db: Path, limits: Limits) -> None:
        from lineament.search.find import Index

        self._index = Index(db, threads=1)
        self._limits = limits
        self._shown: OrderedDict[str, Hit] = OrderedDict()
        self._names: dict[tuple[str, int], str] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def search(
        self,
        q: Annotated[str, Query(max_length=2000, description="smiling and eyeglasses and not wearing_hat; empty for every face.")] = "",
        profile: Profile = "default",
        loose: Annotated[bool, Query(description="Rank every face; only comparisons such as smiling > 0.8 leave faces out.")] = False,
        limit: Annotated[int, Query(ge=1, le=200)] = 48,
    ) -> Response:
        """Return the faces that match a query, best first: the record of `lineament search --json`, and a picture's name for each."""
        found = await self._work(lambda: self._index.search(q, profile=profile, limit=limit, loose=loose))
        return JSONResponse(self._record(found))

    async def picture(self, name: str) -> Response:
        """Return the face of a hit as JPEG; 404 once its photo has changed or too many searches have passed."""
        hit = self._shown.get(name)
        if hit is None:
            raise RefusedError(404, "not_found", "This picture is no longer kept. Search again.")
        data = await self._work(lambda: _jpeg(hit))
        if data is None:
            raise RefusedError(404, "changed", "The photo has changed or is gone since it was indexed.")
        return Response(data, media_type="image/jpeg")

    def close(self) -> None:
        self._index.close()

    async def _work(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread, few at once. Raises: RefusedError 503 where too many wait."""
        if self._waiting >= self._limits.queue:
            raise self._limits.refuse("queue", 503, "The service is busy: its queue is full. Try again shortly.", retry_after=1)
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1

    def _record(self, found: Found) -> dict[str, Any]:
        record = found.to_dict() | {"mentioned": list(found.mentioned)}
        for entry, hit in zip(record["hits"], found.hits, strict=True):
            entry["file"] = os.fsencode(entry["file"]).decode("utf-8", "replace")
            entry["picture"] = self._name(hit)
        return record

    def _name(self, hit: Hit) -> str:
        """Return an unguessable name for a hit's picture, the same while it is kept."""
        key = (hit.path, hit.face)
        name = self._names.setdefault(key, secrets.token_urlsafe(12))
        self._shown[name] = hit
        self._shown.move_to_end(name)
        while len(self._shown) > _PICTURES_KEPT:
            _, old = self._shown.popitem(last=False)
            del self._names[(old.path, old.face)]
        return name


def _jpeg(hit: Hit) -> bytes | None:
    from lineament.search.show import thumbnail

    picture = thumbnail(hit, PICTURE_SIDE).image
    if picture is None:
        return None
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
