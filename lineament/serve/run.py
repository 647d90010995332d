"""Run the application: connections that may not dawdle, logs that hold no file names, an end that answers what was
accepted."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from lineament.errors import LineamentError, UsageError
from lineament.serve.limits import Limits, RefusedError
from lineament.serve.metrics_port import MetricsPort
from lineament.serve.request_log import JsonLines

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 whose request heads must arrive within `header_seconds`, on at most `connections` connections.

    Bodies and answers have time limits of their own; an idle connection is closed by uvicorn's keep-alive limit.
    """

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._answer(503, self.limits.refuse("connections", 503, "Too many connections.", retry_after=1))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:  # a whole head has arrived
            self._expect_nothing()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed head in the form of every other error."""
        self._answer(400, RefusedError(400, "malformed", "This is not a valid HTTP request, or its head is too long."))

    def _answer(self, status: int, error: RefusedError) -> None:
        body = json.dumps(error.to_dict()).encode("ascii") + b"\n"
        headers = [
            *error.headers().items(),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            events = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            message = f"The request's head did not arrive within {self.limits.header_seconds:g} s."
            self._answer(400, self.limits.refuse("header_seconds", 400, message))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Operation:
    """How a service is run. log_format: of the server's own lines; metrics_port: a port for /metrics alone; reload:
    SIGHUP loads the model anew."""

    quiet: bool = False
    trusted_proxy: str | None = None
    log_format: str | None = None
    metrics_port: int | None = None
    reload: bool = False


def run(app: FastAPI, host: str, port: int, limits: Limits, operation: Operation | None = None) -> None:
    """Serve until SIGINT or SIGTERM; then refuse what is new, answer what was accepted, and return.

    Raises: UsageError where the address cannot be had; the model's own error where it cannot be loaded.
    """
    how = operation or Operation()
    protocol = type("Protocol", (ImpatientProtocol,), {"limits": limits})
    config = uvicorn.Config(
        app, log_level="error" if how.quiet else "info", access_log=False, http=protocol, ws="none", lifespan="off",
        server_header=False, timeout_keep_alive=5,
        timeout_graceful_shutdown=int(limits.body_seconds + limits.request_seconds) + 5,
        proxy_headers=how.trusted_proxy is not None, forwarded_allow_ips=how.trusted_proxy,
        backlog=min(2048, limits.connections),
    )  # fmt: skip
    if how.log_format == "json":
        for handler in logging.getLogger("uvicorn").handlers:
            handler.setFormatter(JsonLines())
    with _listening(host, port) as listener:
        listener.listen(config.backlog)  # from now on clients wait; uvicorn takes them when it has started
        asyncio.run(_serve(app, _Server(config), listener, how))


class _Server(uvicorn.Server):
    """Ends in order on SIGINT and SIGTERM: status 0 once everything accepted is answered; a second signal ends it at
    once."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Ask uvicorn to end. Its own method remembers the signal too, to raise it again at the end and die of it."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


async def _serve(app: FastAPI, server: _Server, listener: socket.socket, how: Operation) -> None:
    """Run the server inside the application's own start and end, so that an error of the model reaches the caller as it
    is."""
    service, log = app.state.service, logging.getLogger("uvicorn.error")
    async with service.running(), AsyncExitStack() as cleanup:
        address = listener.getsockname()
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        if how.reload:
            cleanup.callback(_reload_on_signal(service))
        if how.metrics_port is not None:
            await _metrics_beside(service, address[0], how.metrics_port, cleanup)
        log.info("Lineament answers at http://%s:%d/", name, address[1])
        await server.serve(sockets=[listener])


async def _metrics_beside(service: Any, host: str, port: int, cleanup: AsyncExitStack) -> None:
    """Answer /metrics on a port of its own until the end. Raises: UsageError where it cannot be had."""
    try:
        server = await MetricsPort(service.metrics.page, service.metrics.content_type).start(host, port)
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --metrics-port.") from error
    cleanup.callback(server.close)
    logging.getLogger("uvicorn.error").info("Metrics at port %d", server.sockets[0].getsockname()[1])


def _reload_on_signal(service: Any) -> Callable[[], None]:
    """Load the model anew on SIGHUP; return what ends that. A model that cannot be loaded is told in the log, and the
    old one goes on."""
    loop, log, running = asyncio.get_running_loop(), logging.getLogger("uvicorn.error"), set[asyncio.Task[None]]()

    async def again() -> None:
        try:
            log.info("Reloaded: %s answers", await service.pool.reload())
        except LineamentError as error:
            log.error("Not reloaded, the old model goes on: %s", error)

    def start() -> None:
        task = loop.create_task(again())
        running.add(task)
        task.add_done_callback(running.discard)

    number = getattr(signal, "SIGHUP", None)
    if number is None:
        raise UsageError("--reload-model needs the signal SIGHUP, which this system does not have. Leave it out.")
    loop.add_signal_handler(number, start)

    def end() -> None:
        loop.remove_signal_handler(number)

    return end


def _listening(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises: UsageError where the address is taken or not this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port or --host."
        ) from error
    return listener
