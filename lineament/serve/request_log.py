"""One line a request on standard error: when, which route, which status, how long, how many faces. No file name, no
pixel, no client's address.

{"time": "2026-01-02T03:04:05.678Z", "route": "/v1/analyze", "method": "POST", "status": 200, "ms": 41.3, "faces": 2}
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from lineament.errors import UsageError

FORMATS = ("text", "json")
LogRequest = Callable[[str, str, int, float, int], None]
"""(method, route, status, seconds, faces): told of every request when its answer is out."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def request_log(form: str) -> LogRequest:
    """Return what writes a line for each request. A route is one of the application's own (else `other`), never a path
    as sent.

    Raises: UsageError for a form that there is not.
    """
    if form not in FORMATS:
        raise UsageError(f"--log-format must be text or json, not {form!r}.")

    def write(method: str, route: str, status: int, seconds: float, faces: int) -> None:
        known = method if method in _METHODS else "other"
        entry: dict[str, Any] = {
            "time": now(), "method": known, "route": route, "status": status, "ms": round(seconds * 1e3, 1),
            "faces": faces,
        }  # fmt: skip
        text = (
            json.dumps(entry)
            if form == "json"
            else "{time} {method} {route} {status} {ms} ms {faces} faces".format(**entry)
        )
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    return write


def now() -> str:
    """Return the time as ISO 8601 in UTC, with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """Log records of the server itself (started, stopping, an error) as JSON lines like those of requests."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": now(), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)
