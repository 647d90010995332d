"""Request bodies, read in memory, counted and timed as they arrive: nothing is ever written to a disk.

ASGI messages -> chunks (at most body_bytes, within body_seconds) -> one photo, or the parts of a form
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from lineament.serve.limits import Limits, RefusedError
from lineament.serve.metrics import Metrics

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
RAW_SOURCE = "body"
_SOURCE_CHARACTERS = 1024
_RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream")
"""Taken for raw bytes beside image/*: the second is what curl says of --data-binary unless told otherwise."""


@dataclass(frozen=True)
class Upload:
    """One photo as it came. source: the file name the client gave, never used as a path."""

    source: str
    data: bytes


class Buffer:
    """The bytes of all bodies held at once, bounded over the whole service."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics, self._held = limits, metrics, 0

    def hold(self, count: int) -> None:
        """Count bytes in. Raises: RefusedError 503 where the service holds too many already."""
        if self._held + count > self._limits.buffered_bytes:
            raise self._limits.refuse(
                "buffered_bytes", 503, "The service is busy with large uploads. Try again shortly.", retry_after=2
            )
        self._held += count
        self._metrics.buffered.set(self._held)

    def release(self, count: int) -> None:
        self._held -= count
        self._metrics.buffered.set(self._held)


@dataclass
class Body:
    """The body of one request; `held` bytes are counted in the buffer until `close`."""

    request: Request
    limits: Limits
    buffer: Buffer
    held: int = 0

    async def read(self) -> tuple[list[Upload], bool]:
        """Return the photos and whether the body was a form (which is answered with a list).

        Raises: RefusedError 400, 413, 415, 422 or 503; ClientDisconnect.
        """
        kind, boundary = self._media_type()
        try:
            reading = self._form(boundary) if kind == "multipart/form-data" else self._raw()
            return await asyncio.wait_for(reading, self.limits.body_seconds), kind == "multipart/form-data"
        except asyncio.TimeoutError as error:
            message = f"The body did not arrive within {self.limits.body_seconds:g} s."
            raise self.limits.refuse("body_seconds", 400, message) from error

    def close(self) -> None:
        self.buffer.release(self.held)
        self.held = 0

    def _media_type(self) -> tuple[str, bytes]:
        """Return the body's media type and, of a form, its boundary. Raises: RefusedError 415 or 400."""
        if self.request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(
                415, "encoding", "Send the photo as it is: a compressed body (Content-Encoding) is not unpacked."
            )
        raw, options = parse_options_header(self.request.headers.get("content-type"))
        kind = raw.decode("latin-1")
        if kind == "multipart/form-data":
            if not options.get(b"boundary"):
                raise RefusedError(400, "multipart", "The multipart body names no boundary in its Content-Type.")
        elif kind and not kind.startswith("image/") and kind not in _RAW_TYPES:
            message = (
                f"Send a photo as image/... or application/octet-stream, or a form with the field {FIELD!r}; not "
                f"{kind[:80]}."
            )
            raise RefusedError(415, "media_type", message)
        return kind, options.get(b"boundary", b"")

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; stop reading at the limit. Raises: RefusedError 413 or 503."""
        stated = self.request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self.limits.body_bytes:
            raise self._too_large()
        async for chunk in self.request.stream():
            if self.held + len(chunk) > self.limits.body_bytes:
                raise self._too_large()
            self.buffer.hold(len(chunk))
            self.held += len(chunk)
            yield chunk

    def _too_large(self) -> RefusedError:
        return self.limits.refuse(
            "body_bytes", 413, f"The body is larger than {self.limits.body_bytes} bytes. Send smaller or fewer photos."
        )

    async def _raw(self) -> list[Upload]:
        parts = [chunk async for chunk in self._chunks()]
        return [Upload(RAW_SOURCE, b"".join(parts))]

    async def _form(self, boundary: bytes) -> list[Upload]:
        form = _Form(self.limits)
        try:
            parser = MultipartParser(boundary, form.callbacks())
            async for chunk in self._chunks():
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise RefusedError(400, "multipart", f"The multipart body is malformed: {error}") from error
        if not form.complete:
            raise RefusedError(400, "multipart", "The multipart body ends before its last boundary.")
        if not form.uploads:
            raise RefusedError(400, "empty", f"The form holds no photo. Put each in a field called {FIELD!r}.")
        return form.uploads


@dataclass
class _Form:
    """Collects the parts of a multipart body from the parser's callbacks."""

    limits: Limits
    uploads: list[Upload] = field(default_factory=list)
    complete: bool = False
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _data: bytearray = field(default_factory=bytearray)
    _source: str | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.uploads) == self.limits.files:
            raise self.limits.refuse(
                "files", 413, f"More than {self.limits.files} photos in one request. Send them in several."
            )
        self._source = None
        self._data = bytearray()

    def _header(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            _, options = parse_options_header(self._value.decode("latin-1"))
            name = options.get(b"name", b"").decode("utf-8", "replace")
            if name != FIELD:
                raise RefusedError(
                    422, "field", f"Unknown form field {name[:80]!r}. Put each photo in a field called {FIELD!r}."
                )
            if b"filename" not in options:
                raise RefusedError(
                    422, "field", f"The field {FIELD!r} holds text. Send each photo as a file, with a file name."
                )
            given = options[b"filename"].decode("utf-8", "surrogateescape")
            self._source = given[:_SOURCE_CHARACTERS] or f"{FIELD}[{len(self.uploads)}]"
        self._name.clear()
        self._value.clear()

    def _headers(self) -> None:
        if self._source is None:
            raise RefusedError(400, "multipart", "A part of the multipart body has no Content-Disposition.")

    def _end(self) -> None:
        assert self._source is not None
        self.uploads.append(Upload(self._source, bytes(self._data)))

    def _finish(self) -> None:
        self.complete = True


async def left(request: Request) -> None:
    """Return when the client has gone away. Only after the body has been read to its end."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


__all__ = ["Body", "Buffer", "ClientDisconnect", "Upload", "left"]
