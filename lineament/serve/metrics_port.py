"""The counters on a port of their own, so that Prometheus may read them where nobody may ask the service, and needs no
key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SECONDS = 5.0
_HEAD_BYTES = 8192


class MetricsPort:
    """Answers GET /metrics (and nothing else) with the page, one request a connection."""

    def __init__(self, page: Callable[[], bytes], content_type: str) -> None:
        self._page, self._type = page, content_type

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Return the server, listening. Raises: OSError where the address cannot be had."""
        return await asyncio.start_server(self._answer, host, port, limit=_HEAD_BYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
            asked = head.split(b"\r\n", 1)[0].split()
            found = len(asked) == 3 and asked[0] in (b"GET", b"HEAD") and asked[1].partition(b"?")[0] == b"/metrics"
            body = self._page() if found else b"Only GET /metrics is answered here.\n"
            line = b"HTTP/1.1 200 OK" if found else b"HTTP/1.1 404 Not Found"
            kind = self._type.encode() if found else b"text/plain; charset=utf-8"
            headers = (
                b"\r\ncontent-type: %s\r\ncontent-length: %d\r\nx-content-type-options: nosniff\r\nconnection: "
                b"close\r\n\r\n"
            )
            writer.write(line + headers % (kind, len(body)) + (b"" if asked[:1] == [b"HEAD"] else body))
            await asyncio.wait_for(writer.drain(), _SECONDS)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # whoever asked is gone, or sent no request
        finally:
            writer.close()
