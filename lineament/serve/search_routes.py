"""Attribute search over HTTP: the index's own answers, and pictures of their faces. Nobody can be searched for by who
they are.

GET  /v1/search?q=...           -> Index.search     -> hits, each with the name of its picture -> GET
/v1/search/pictures/NAME POST /v1/search/like?change=... -> the photo's record -> Index.like -> hits
GET  /v1/search/best-shots?q=.. -> Index.best_shots -> bursts, each photo with the name of its picture
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lineament.serve.limits import Limits, RefusedError, refusal_of_photo
from lineament.serve.options import Options, Profile
from lineament.types import Answer, FaceReport, Quality, Report

if TYPE_CHECKING:
    from lineament.search.index import Hit, SearchResult
    from lineament.serve.body import Upload
    from lineament.serve.photo_answer import Answered

T = TypeVar("T")
Answers = Callable[[Request, Options], Awaitable[tuple[list["Upload"], list["Answered"], bool]]]
Offset = Annotated[
    int, Query(ge=0, le=100_000_000, description="How many of the best to pass over: what the pages before showed.")
]
PICTURE_SIDE, PHOTO_SIDE = 224, 480
_PICTURES_KEPT = 5000
_AT_ONCE = 2


class SearchDesk:
    """An open index; its methods are the routes. Only photos that a search has just shown have a picture here.

    answers: how the photo of a `like` request is read and answered; the application sets it.
    """

    answers: Answers

    def __init__(self, db: Path, limits: Limits) -> None:
        from lineament.search.index import Index

        self._index = Index(db, threads=1)
        self._limits = limits
        self._shown: OrderedDict[str, Hit | str] = OrderedDict()
        self._names: dict[tuple[str, int], str] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def search(
        self,
        q: Annotated[
            str, Query(max_length=2000, description="smiling and eyeglasses and not wearing_hat; empty for every face.")
        ] = "",
        profile: Profile = "default",
        loose: Annotated[
            bool, Query(description="Rank every face; only comparisons such as smiling > 0.8 leave faces out.")
        ] = False,
        limit: Annotated[int, Query(ge=1, le=200)] = 48,
        offset: Offset = 0,
    ) -> Response:
        """Return the faces that match a query, best first: the record of `lineament search --json`, and a picture's
        name for each."""
        found = await self._work(
            lambda: self._index.search(q, profile=profile, limit=limit, offset=offset, loose=loose)
        )
        return JSONResponse(self._record(found))

    async def like(
        self,
        request: Request,
        change: Annotated[
            str, Query(max_length=2000, description="but with mustache and without eyeglasses; empty for no change.")
        ] = "",
        face: Annotated[int, Query(ge=0, le=1000, description="Which face of the photo; 0 is the largest.")] = 0,
        profile: Profile = "default",
        limit: Annotated[int, Query(ge=1, le=200)] = 48,
        offset: Offset = 0,
    ) -> Response:
        """Return the faces whose attributes are most like those of the photo in the body: the record of
        `lineament search --like --json`.

        The photo is answered and forgotten; it is compared by its attributes, never by who it shows.
        """
        uploads, answers, _ = await self.answers(request, Options(profile="all"))  # type: ignore[call-arg]
        if len(uploads) != 1:
            raise RefusedError(422, "files", "Send one photo: its faces are what the others are compared with.")
        if answers[0].error is not None:
            raise refusal_of_photo(*answers[0].error, self._limits)
        report, digest = report_of_line(answers[0].line), hashlib.sha256(uploads[0].data).hexdigest()
        if not report.faces:
            raise RefusedError(422, "no_face", "No face was found in this photo, so there is nothing to compare with.")
        found = await self._work(
            lambda: self._index.like(
                report, change, face=face, profile=profile, limit=limit, offset=offset, exclude_sha256=digest
            )
        )
        return JSONResponse(self._record(found) | {"faces": len(report.faces)})

    async def best_shots(
        self,
        q: Annotated[
            str,
            Query(max_length=2000, description="Only bursts with a photo that has a face like this; empty for all."),
        ] = "",
        profile: Profile = "default",
        limit: Annotated[int, Query(ge=1, le=100, description="Bursts.")] = 24,
        offset: Offset = 0,
    ) -> Response:
        """Return bursts of one moment, in each the photo where everyone smiles with open eyes first:
        `lineament search --best-shot --json`."""
        groups = await self._work(lambda: self._index.best_shots(q, profile=profile))
        bursts = []
        for group in groups[offset : offset + limit]:
            entries = [entry.to_dict() | {"picture": self._name(entry.shot.path)} for entry in group]
            bursts.append([entry | {"file": _text(entry["file"])} for entry in entries])
        return JSONResponse(
            {
                "schema_version": 1,
                "model": self._index.meta.model,
                "found": len(groups),
                "offset": offset,
                "bursts": bursts,
            }
        )

    async def picture(self, name: str) -> Response:
        """Return the face of a hit, or a photo of a burst, as JPEG; 404 once its photo has changed or too many searches
        have passed."""
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
            raise self._limits.refuse(
                "queue", 503, "The service is busy: its queue is full. Try again shortly.", retry_after=1
            )
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1

    def _record(self, found: SearchResult) -> dict[str, Any]:
        record = found.to_dict() | {"mentioned": list(found.mentioned)}
        for entry, hit in zip(record["hits"], found.hits, strict=True):
            entry["file"] = _text(entry["file"])
            entry["picture"] = self._name(hit)
        return record

    def _name(self, hit: Hit | str) -> str:
        """Return an unguessable name for the picture of a hit, or of a whole photo by its path; the same while it is
        kept."""
        key = _key(hit)
        name = self._names.setdefault(key, secrets.token_urlsafe(12))
        self._shown[name] = hit
        self._shown.move_to_end(name)
        while len(self._shown) > _PICTURES_KEPT:
            _, old = self._shown.popitem(last=False)
            del self._names[_key(old)]
        return name


def report_of_line(line: bytes) -> Report:
    """Return the report of a record line: what `Index.like` needs of it. Probabilities are as in the record, which
    labels are decided on too."""
    record = json.loads(line)
    faces = tuple(
        FaceReport(
            tuple(face["box_xyxy"]), face["detection_prob"], tuple((x, y) for x, y in face["keypoints"]),
            Quality(**face["quality"]),
            {name: Answer(answer["prob"], answer["label"]) for name, answer in face["attributes"].items()},
        )
        for face in record["faces"]
    )  # fmt: skip
    return Report(record["source"], record["status"], record["model"], record["profile"], faces)


def _key(hit: Hit | str) -> tuple[str, int]:
    return (hit, -1) if isinstance(hit, str) else (hit.path, hit.face)


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _jpeg(hit: Hit | str) -> bytes | None:
    from lineament.search.thumbnails import photo_thumbnail, thumbnail

    picture = (photo_thumbnail(hit, PHOTO_SIDE) if isinstance(hit, str) else thumbnail(hit, PICTURE_SIDE)).image
    if picture is None:
        return None
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
