"""The routes with everything OpenAPI wants to know about them, and the schema of a record inside it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lineament import __version__
from lineament.serve.body import FIELD
from lineament.serve.models import Error, Maps, schemas
from lineament.serve.search_routes import SearchDesk
from lineament.serve.service import Service, record_schema

_WHY = {
    400: "A body that is empty, malformed, too slow, or sent to another host name.",
    401: "An API key is needed.",
    404: "There is no such thing here.",
    413: "Larger than a limit, which the body names: body_bytes, pixels or files.",
    415: "Not a picture, or of a kind that is not decoded.",
    422: "A parameter that cannot be, a damaged picture, or more faces than the limit.",
    429: "Too many requests at once from one client.",
    503: "Busy, or not answered in time; Retry-After says when to try again.",
}
_ANALYZE_REFUSALS = (400, 401, 413, 415, 422, 429, 503)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": (
            f"One photo as it is, answered with one record; or a form with the field `{FIELD}`, repeated, answered "
            "with a list."
        ),
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {
                        FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
        },
    }
}
_MARKED = {
    "requestBody": {
        "required": True,
        "description": (
            'JSON {"name": NAME, "yes": [FACE...], "no": [FACE...]}; a FACE is base64 of a picture of an aligned face, '
            "178x218."
        ),
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_MAPS_OR_NONE = {
    "description": "Only with maps=true; null where the model has no maps.",
    "anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Maps"}],
}


def add_routes(app: FastAPI, service: Service) -> None:
    """Add every route of a service to an application, and its OpenAPI document."""
    routes: tuple[tuple[str, str, Any, str, tuple[int, ...], dict[str, Any]], ...] = (
        ("POST", "/v1/analyze", service.analyze, "Answer photos", _ANALYZE_REFUSALS, _answers()),
        ("POST", "/v1/teach", service.teach, "Teach an own attribute from marked faces", _ANALYZE_REFUSALS, _json()),
        (
            "GET",
            "/v1/schema",
            service.schema,
            "The JSON Schema of a record",
            (400, 401),
            _json("application/schema+json"),
        ),
        ("GET", "/v1/model", service.model, "The model's card", (400, 401), _json()),
        ("GET", "/v1/attributes", service.describe_attributes, "The attributes of a profile", (400, 401, 422), _json()),
        ("GET", "/v1/service", service.about, "Limits and parts of this service", (400, 401), _json()),
        ("GET", "/healthz", service.health, "The process lives", (400,), _json()),
        ("GET", "/readyz", service.ready, "A photo would be answered now", (400, 503), _json()),
        ("GET", "/metrics", service.metrics_page, "Counters for Prometheus", (400, 401), _content("text/plain")),
    )
    for method, path, endpoint, summary, statuses, success in routes:
        app.add_api_route(
            path, endpoint, methods=[method], summary=summary, response_model=None,
            responses={200: success, **{status: _refusal(status) for status in statuses}},
            openapi_extra={"/v1/analyze": _BODY, "/v1/teach": _MARKED}.get(path),
        )  # fmt: skip
        if method == "GET":
            _add_head(app, path, endpoint)
    if service.desk is not None:
        _add_search(app, service.desk)
    for path, endpoint in (
        ("/", service.page),
        ("/search", service.search_page),
        ("/static/{name}", service.static),
        ("/example", service.example_photo),
    ):
        app.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False, response_model=None)
        _add_head(app, path, endpoint)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]


def _add_head(app: FastAPI, path: str, endpoint: Any) -> None:
    """Answer HEAD as GET without its body, which the server leaves out: what probes of containers and load balancers
    ask."""
    app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, response_model=None)


def _add_search(app: FastAPI, desk: SearchDesk) -> None:
    refusals: dict[int | str, dict[str, Any]] = {status: _refusal(status) for status in (400, 401, 422, 503)}
    app.add_api_route(
        "/v1/search", desk.search, methods=["GET"], summary="Search the index by attributes", response_model=None,
        responses={200: _json(), **refusals},
    )  # fmt: skip
    app.add_api_route(
        "/v1/search/best-shots", desk.best_shots, methods=["GET"], summary=(
            "Bursts of one moment, the best photo of each first"
        ),
        response_model=None, responses={200: _json(), **refusals},
    )  # fmt: skip
    app.add_api_route(
        "/v1/search/like", desk.like, methods=["POST"], summary=(
            "Search for faces with attributes like those of a photo"
        ), response_model=None,
        responses={200: _json(), **{status: _refusal(status) for status in _ANALYZE_REFUSALS}}, openapi_extra=_BODY,
    )  # fmt: skip
    app.add_api_route(
        "/v1/search/pictures/{name}", desk.picture, methods=["GET"], summary="The face of a hit", response_model=None,
        responses={200: _content("image/jpeg"), 404: _refusal(404), **refusals},
    )  # fmt: skip


def _content(media_type: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": "Done.", "content": {media_type: {"schema": schema or {}}}}


def _json(media_type: str = "application/json") -> dict[str, Any]:
    return _content(media_type, {"type": "object"})


def _answers() -> dict[str, Any]:
    record = {"$ref": "#/components/schemas/Record"}
    several = {"type": "object", "required": ["results"], "properties": {"results": {"type": "array", "items": record}}}
    return _content("application/json", {"anyOf": [record, several]})


def _refusal(status: int) -> dict[str, Any]:
    retry = {"Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 1}}}
    refusal = {
        "description": _WHY[status],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return refusal | ({"headers": retry} if status in (429, 503) else {})


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if app.openapi_schema is None:
        about = "Photos in; for every face 40 named answers with probabilities that mean what they say."
        document = get_openapi(title="Lineament", version=__version__, description=about, routes=app.routes)
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components |= _record_components() | schemas(Error, Maps)
        components.pop("HTTPValidationError", None)
        components.pop("ValidationError", None)
        document["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "Only with an API key."}
        }
        document["security"] = [{}, {"key": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _record_components() -> dict[str, Any]:
    """Return the record's schema and its parts as components, their references rewritten; a face may carry maps
    here."""
    text = json.dumps(record_schema()).replace("#/$defs/", "#/components/schemas/")
    record: dict[str, Any] = json.loads(text)
    parts: dict[str, Any] = record.pop("$defs")
    record.pop("$schema", None)
    record.pop("$id", None)
    parts["face"]["properties"]["maps"] = _MAPS_OR_NONE
    return {"Record": record, **parts}
