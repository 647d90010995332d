"""Limits of the service: every limit by name, and the refusal that names it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from lineament.errors import LineamentError, UsageError
from lineament.images import MAX_PIXELS


@dataclass(frozen=True)
class Limits:
    """Bounds of one service; each is named in the refusal it causes.

    Per request: body_bytes; files; pixels and faces of one photo; photo_seconds of work on one photo; body_seconds for
    the whole body to arrive; request_seconds from then to the answer. Over all: queue, photos waiting; requests and
    requests_per_client, in progress at once; buffered_bytes, of all bodies together. Per connection: header_seconds for
    the head to arrive; connections at once.
    """

    body_bytes: int = 32 * 2**20
    files: int = 16
    pixels: int = MAX_PIXELS
    faces: int = 200
    photo_seconds: float = 20.0
    body_seconds: float = 30.0
    request_seconds: float = 60.0
    queue: int = 64
    requests: int = 128
    requests_per_client: int = 32
    buffered_bytes: int = 512 * 2**20
    header_seconds: float = 10.0
    connections: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise UsageError(f"The limit {field.name} must be above 0, not {getattr(self, field.name)}.")

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def refuse(
        self, name: str, status: int, message: str, *, retry_after: int | None = None, code: str | None = None
    ) -> RefusedError:
        """Return the refusal for the limit called `name`."""
        return RefusedError(status, code or name, message, limit=(name, getattr(self, name)), retry_after=retry_after)


class RefusedError(LineamentError):
    """A request that is not answered with a record: HTTP status, code and message, and the limit that was met."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        limit: tuple[str, float] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.limit, self.retry_after = status, code, limit, retry_after

    def to_dict(self) -> dict[str, Any]:
        """Return the body: {"error": {"code", "message", "limit"}}; limit is null or {"name", "value"}."""
        limit = None if self.limit is None else {"name": self.limit[0], "value": self.limit[1]}
        return {"error": {"code": self.code, "message": str(self), "limit": limit}}

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the status: `Retry-After` with 429 and 503, `WWW-Authenticate` with 401."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": str(self.retry_after or 1)} if self.status in (429, 503) else {}


_STATUS_OF_PHOTO = {
    "empty": 400, "too_large": 413, "unsupported": 415, "not_a_picture": 415, "unreadable": 422, "truncated": 422,
    "too_many_faces": 422, "timed_out": 503, "worker_lost": 503,
}  # fmt: skip
_LIMIT_OF_PHOTO = {"too_large": "pixels", "too_many_faces": "faces", "timed_out": "photo_seconds"}


def refusal_of_photo(code: str, message: str, limits: Limits) -> RefusedError:
    """Return the refusal of a request whose only photo gave the error `code` of a record."""
    name = _LIMIT_OF_PHOTO.get(code)
    limit = None if name is None else (name, getattr(limits, name))
    return RefusedError(_STATUS_OF_PHOTO.get(code, 422), code, message, limit=limit)
