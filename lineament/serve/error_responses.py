"""Error responses: every error as the same body, {"error": {"code", "message", "limit"}}, whatever raised it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lineament.errors import LineamentError
from lineament.serve.guard import refusal_response
from lineament.serve.limits import RefusedError
from lineament.serve.metrics import Metrics

_CODES = {404: "not_found", 405: "method"}


def add_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Have every error of an application answered in the same form and counted by its code."""

    async def handle(request: Request, error: Any) -> Response:
        refused = as_refusal(error)
        metrics.refused.labels(refused.code).inc()
        response = refusal_response(refused)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    async def gone(request: Request, error: Any) -> Response:
        return Response(status_code=499)  # nobody reads it

    for kind in (LineamentError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(ClientDisconnect, gone)


def as_refusal(error: Exception) -> RefusedError:
    """Return the refusal that says what an error means to the client; of an unforeseen one it says nothing."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, LineamentError):
        return RefusedError(422, error.code, str(error))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return RefusedError(422, "parameter", f"{name[:80]}: {first['msg']}.")
    if isinstance(error, HTTPException):
        return RefusedError(
            error.status_code, _CODES.get(error.status_code, "http"), HTTPStatus(error.status_code).phrase + "."
        )
    return RefusedError(500, "internal", "The service failed on this request; its log says why.")
