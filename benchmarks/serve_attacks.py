"""Attacks on a running service, each followed by an ordinary photo that must be answered as before.

Run: python benchmarks/serve_attacks.py        writes docs/benchmarks/serve.json and serve.md (about a minute); exit
status 1 if any outcome is not the expected one.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import signal
import socket
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from serve_common import OUT, PORTRAIT, Server, portraits, record

LIMITS = {
    "body_seconds": 3,
    "header_seconds": 3,
    "photo_seconds": 10,
    "connections": 100,
    "requests": 24,
    "requests_per_client": 16,
    "faces": 60,
}
POST = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n"
Outcome = tuple[str, str | None]
"""(status and code as text, limit named)"""


def told(response: httpx.Response) -> Outcome:
    error = (
        response.json().get("error")
        if response.headers.get("content-type", "").startswith("application/json")
        else None
    )
    if error is None:
        return str(response.status_code), None
    return f"{response.status_code} {error['code']}", error["limit"] and error["limit"]["name"]


def post(server: Server, body: Any, headers: dict[str, str] | None = None, query: str = "") -> Outcome:
    return told(httpx.post(f"{server.url}/v1/analyze{query}", content=body, headers=headers, timeout=60))


def hundred_files(server: Server) -> Outcome:
    files = [("files", (str(i), b"x")) for i in range(100)]
    return told(httpx.post(f"{server.url}/v1/analyze", files=files, timeout=60))


def endless(connection: socket.socket) -> None:
    connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")


def trickle(piece: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(piece)
        time.sleep(0.1)

    return send


def raw(server: Server, head: bytes, pieces: Callable[[socket.socket], None] | None = None) -> Outcome:
    """Send bytes as they are; read the answer while `pieces` goes on sending."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection, ThreadPoolExecutor(1) as pool:
        with suppress(OSError):
            connection.sendall(head)
        if pieces is not None:
            pool.submit(lambda: _until_closed(connection, pieces))
        data = b""
        while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            data += part
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    if not data:
        return "closed", None
    error = json.loads(data.partition(b"\r\n\r\n")[2])["error"]
    return f"{data.split()[1].decode()} {error['code']}", error["limit"] and error["limit"]["name"]


def _until_closed(connection: socket.socket, pieces: Callable[[socket.socket], None]) -> None:
    with suppress(OSError):
        while True:
            pieces(connection)


def png_bomb(side: int) -> bytes:
    """Return a complete PNG of side x side black pixels: some hundred kilobytes that unpack to gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, parts = zlib.compressobj(9), []
    for _ in range(side):
        parts.append(packer.compress(bytes(1 + 3 * side)))
    data = b"".join([*parts, packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def crowd(across: int = 40, side: int = 48) -> bytes:
    """Return a photo of thousands of tiny faces: the bundled portrait's face, side by side."""
    face = Image.open(PORTRAIT).convert("RGB").crop((165, 40, 285, 190)).resize((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (across * side, across * side))
    for i in range(across * across):
        canvas.paste(face, (i % across * side, i // across * side))
    stream = io.BytesIO()
    canvas.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def path_tricks(server: Server) -> Outcome:
    names = [
        "../../../etc/passwd",
        "/etc/shadow",
        "C:\\boot.ini",
        "a\x00.png",
        "<script>alert(1)</script>.jpg",
        "con",
        "x" * 1500,
    ]
    photo = PORTRAIT.read_bytes()
    for start in range(0, len(names), 4):
        files = [("files", (name, photo, "image/jpeg")) for name in names[start : start + 4]]
        response = httpx.post(f"{server.url}/v1/analyze", files=files, timeout=60)
        if {one["status"] for one in response.json()["results"]} != {"ok"}:
            return told(response)
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2f..%2fetc%2fpasswd", "//etc/passwd"):
        status = raw(server, b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0]
        if not status.startswith("404"):
            return status, None
    return "names are text; 404 for paths", None


def killed_worker(server: Server) -> Outcome:
    files = [("files", (f"{i}.jpg", PORTRAIT.read_bytes())) for i in range(8)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{server.url}/v1/analyze", files=files, timeout=120)
        time.sleep(0.3)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        statuses = {one["status"] for one in answer.result().json()["results"]}
    return ("200, every photo answered" if statuses == {"ok"} else str(statuses)), None


def stopped_worker(server: Server) -> Outcome:
    for pid in server.workers():
        os.kill(pid, signal.SIGSTOP)
    return post(server, PORTRAIT.read_bytes())


def many_slow(server: Server) -> Outcome:
    """Hold more trickling uploads than one client may have, from one address; others must still get in."""
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(16)]
    for connection in held:
        connection.sendall(POST + b"Content-Length: 100000\r\n\r\n")
    time.sleep(0.5)
    outcome = post(server, PORTRAIT.read_bytes())
    for connection in held:
        connection.close()
    return outcome


def flood(server: Server) -> Outcome:
    held = []
    with suppress(OSError):
        for _ in range(110):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
    time.sleep(0.5)
    data = held[-1].recv(65536)
    for connection in held:
        connection.close()
    error = json.loads(data.partition(b"\r\n\r\n")[2])["error"]
    return f"{data.split()[1].decode()} {error['code']}", error["limit"]["name"]


def attacks() -> list[tuple[str, str, Callable[[Server], Outcome]]]:
    """Return (attack, expected outcome, how)."""
    photo, bomb = PORTRAIT.read_bytes(), png_bomb(20_000)
    return [
        ("oversized body, length stated", "413 body_bytes", lambda s: post(s, bytes(40 * 2**20))),
        ("endless chunked body", "413 body_bytes",
        lambda s: raw(s, POST + b"Transfer-Encoding: chunked\r\n\r\n", endless)),
        ("trickling body, 10 bytes per second", "400 body_seconds",
        lambda s: raw(s, POST + b"Content-Length: 100000\r\n\r\n", trickle(b"x"))),
        ("trickling head, 10 lines per second", "400 header_seconds", lambda s: raw(s, POST, trickle(b"X: y\r\n"))),
        ("16 trickling uploads from one client, then a photo", "429 requests_per_client", many_slow),
        ("110 idle connections", "503 connections", flood),
        (f"pixel bomb: PNG of 20000 x 20000, {len(bomb) // 1024} kB", "413 too_large", lambda s: post(s, bomb)),
        ("gzip bomb as Content-Encoding", "415 encoding",
        lambda s: post(s, gzip.compress(bytes(50_000_000)), {"content-encoding": "gzip"})),
        ("ZIP file", "415 not_a_picture", lambda s: post(s, b"PK\x03\x04" + bytes(1000))),
        ("PDF file", "415 unsupported", lambda s: post(s, b"%PDF-1.7\n" + bytes(1000))),
        ("SVG with script", "415 unsupported",
        lambda s: post(s, b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")),
        ("JSON that asks to fetch a URL", "415 media_type",
        lambda s: post(s, b'{"url": "http://127.0.0.1/"}', {"content-type": "application/json"})),
        ("truncated JPEG", "422 truncated", lambda s: post(s, photo[:-5000])),
        ("empty body", "400 empty", lambda s: post(s, b"")),
        ("1600 tiny faces", "422 too_many_faces", lambda s: post(s, crowd())),
        ("1600 tiny faces, keep=5", "422 too_many_faces", lambda s: post(s, crowd(), query="?keep=5")),
        ("100 files in one form", "413 files", hundred_files),
        ("form without an end", "400 multipart",
        lambda s: post(s, b"--b\r\n" * 1000, {"content-type": "multipart/form-data; boundary=b"})),
        ("path tricks in file names and paths", "names are text; 404 for paths", path_tricks),
        ("head of 2 MB", "400 malformed",
        lambda s: raw(s, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000_000)),
        ("two different Content-Length", "400 malformed",
        lambda s: raw(s, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello")),
        ("TLS handshake on the plain port", "400 malformed",
        lambda s: raw(s, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
        ("another host name (DNS rebinding)", "400 host", lambda s: post(s, photo, {"host": "evil.example"})),
        ("all workers killed in mid-request", "200, every photo answered", killed_worker),
        ("all workers stopped (hung)", "503 timed_out", stopped_worker),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    options = [part for name, value in LIMITS.items() for part in ("--limit", f"{name}={value}")]
    rows, bad, photo = [], 0, portraits(1)[0]
    with Server("--model", chosen.model, "--threads", "2", *options) as server:
        before = httpx.post(f"{server.url}/v1/analyze", content=photo, timeout=60).content
        for attack, expected, how in attacks():
            start = time.perf_counter()
            outcome, limit = how(server)
            seconds = time.perf_counter() - start
            after = "answers as before" if _answer(server, photo) == before else "ANSWERS DIFFERENTLY"
            bad += outcome != expected or after != "answers as before"
            print(
                f"{attack}: {outcome} ({limit}), {seconds:.2f} s, "
                f"{after}{'' if outcome == expected else f'  EXPECTED {expected}'}"
            )
            rows.append(
                {
                    "attack": attack,
                    "outcome": outcome,
                    "expected": expected,
                    "limit": limit,
                    "seconds": seconds,
                    "after": after,
                }
            )
        memory = server.megabytes()
    record(
        "attacks", {"limits": LIMITS, "rows": rows, "memory_after": memory, "server_status": server.status}, chosen.out
    )
    raise SystemExit(int(bad > 0 or server.status != 0))


def _answer(server: Server, photo: bytes) -> bytes:
    """Return the answer to a photo; a service that still works off an attack may ask to wait."""
    for _ in range(60):
        response = httpx.post(f"{server.url}/v1/analyze", content=photo, timeout=60)
        if response.status_code not in (429, 503):
            return response.content
        time.sleep(1)
    return b""


if __name__ == "__main__":
    main()
