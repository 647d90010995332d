"""Middleware around every request: who may ask, how many at once, the headers of every response, and an end to bodies
nobody reads.

connection -> Guard: headers, host, key, places -> application
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineament.serve.limits import Limits, RefusedError
from lineament.serve.metrics import Metrics
from lineament.serve.request_log import LogRequest

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "media-src 'self' blob:; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for "
        "'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex",
}
DRAIN_SECONDS = 3.0
OPEN_PATHS = frozenset({"/", "/search", "/healthz", "/readyz", "/example"})
"""Need no key: the page itself (it asks for the key) and the probes, which say nothing but yes or no."""


FACES = "lineament.faces"
"""The key in a request's scope under which a route leaves how many faces it answered."""


class Guard:
    """The outermost layer.

    api_key: required for everything that answers or tells, but open_paths; hosts: names in Host to serve, any where
    empty; log: told of every request.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, *, api_key: str | None = None, hosts: Iterable[str] = (),
        log: LogRequest | None = None, open_paths: Iterable[str] = OPEN_PATHS,
    ) -> None:  # fmt: skip
        self._app, self._limits, self._metrics, self._log, self._open = app, limits, metrics, log, frozenset(open_paths)
        self._key = None if api_key is None else sha256(api_key.encode()).digest()
        self._hosts = frozenset(host.lower() for host in hosts)
        self._clients: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._limits)
        client = (scope.get("client") or ("",))[0]
        begun = perf_counter()
        try:
            self._check(scope, client)
        except RefusedError as error:
            self._metrics.refused.labels(error.code).inc()
            await refusal_response(error)(scope, exchange.receive, exchange.send)
        else:
            await self._admitted(scope, exchange, client)
        route = _route_name(scope)
        self._metrics.requests.labels(route, str(exchange.status or 499)).inc()
        seconds = perf_counter() - begun
        self._metrics.seconds.labels(route).observe(seconds)
        if self._log is not None:
            self._log(scope["method"], route, exchange.status or 499, seconds, int(scope.get(FACES, 0)))

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith("/static/")

    async def _admitted(self, scope: Scope, exchange: _Exchange, client: str) -> None:
        """Run the application while the request holds one of the places."""
        self._clients[client] += 1
        self._metrics.in_progress.inc()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._metrics.in_progress.dec()
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def _check(self, scope: Scope, client: str) -> None:
        headers = Headers(scope=scope)
        if self._hosts and _host_name(headers.get("host", "")) not in self._hosts:
            raise RefusedError(
                400, "host", "This service does not go by that name. Start it with --allowed-host NAME to serve it."
            )
        if (
            self._key is not None
            and not self._is_open(scope["path"])
            and not hmac.compare_digest(self._key, _given_key(headers))
        ):
            raise RefusedError(401, "api_key", "An API key is needed: send it as Authorization: Bearer KEY.")
        if scope["method"] in ("GET", "HEAD"):
            return
        if sum(self._clients.values()) >= self._limits.requests:
            raise self._limits.refuse("requests", 503, "The service is busy. Try again shortly.", retry_after=1)
        if self._clients[client] >= self._limits.requests_per_client:
            raise self._limits.refuse(
                "requests_per_client",
                429,
                "Too many requests at once from one client. Wait for an answer first.",
                retry_after=1,
            )


class _Exchange:
    """One request and its response: adds headers; where the body was not read to its end, says so and lets the rest run
    dry."""

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._ended = False
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = self._ended or message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and not self._ended:
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _head(self, message: Message) -> None:
        self.status = message["status"]
        headers = MutableHeaders(raw=message.setdefault("headers", []))
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value
        headers.setdefault("Cache-Control", "no-store")
        if self.status >= 400 and not self._ended:
            headers["Connection"] = "close"

    async def _drain(self) -> None:
        """Throw away what a client still sends, for a little while: closing at once would lose the answer on its way to
        it."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._discard(2 * self._limits.body_bytes), DRAIN_SECONDS)

    async def _discard(self, most: int) -> None:
        while not self._ended and most > 0:
            most -= len((await self.receive()).get("body", b""))


def refusal_response(error: RefusedError) -> Response:
    """Return the response of a refusal."""
    return Response(json.dumps(error.to_dict()) + "\n", error.status, error.headers(), "application/json")


def _given_key(headers: Headers) -> bytes:
    """Return the digest of the key a request carries; digests are of one length, so comparing them tells nothing."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return sha256(given.encode("utf-8", "surrogateescape")).digest()


def _host_name(host: str) -> str:
    """Return the name in a Host header without its port.

    >>> _host_name("[::1]:8000"), _host_name("localhost:8000"), _host_name("LOCALHOST")
    ('[::1]', 'localhost', 'localhost')
    """
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _route_name(scope: Scope) -> str:
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
