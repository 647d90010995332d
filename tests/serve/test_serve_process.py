"""The real command in a process of its own, over real sockets: what an attacker and a service manager see."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from serve_support import ROOT, Server, start
from serve_toys import map_model

from lineament.api import load
from lineament.outputs.sinks import record_line

ASTRONAUT = ROOT / "lineament" / "weights" / "astronaut.jpg"
LIMITS = {"body_seconds": 1.5, "header_seconds": 1.0, "body_bytes": 500_000, "connections": 40}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = map_model(tmp_path_factory.mktemp("process") / "toy.onnx")
    running = start(model, *(part for name, value in LIMITS.items() for part in ("--limit", f"{name}={value}")))
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/", "/metrics", "/v1/schema", "/v1/model", "/v1/attributes", "/v1/service", "/example"],
)
def test_head_is_get_without_a_body(server: Server, path: str) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        head, full = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    differing = {"date"} | ({"content-length"} if path == "/metrics" else set())
    assert {n: v for n, v in head.headers.items() if n not in differing} == {
        n: v for n, v in full.headers.items() if n not in differing
    }


def answer_of(connection: socket.socket) -> tuple[int, dict]:
    """Return status and body of the response on a connection, read until it closes or the body is whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            break
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def send_until_refused(connection: socket.socket, piece: bytes, pause: float, most: int) -> None:
    for _ in range(most):
        try:
            connection.sendall(piece)
        except OSError:
            return
        time.sleep(pause)


@pytest.mark.skipif(not ASTRONAUT.is_file(), reason="the bundled portrait is not in this tree")
def test_a_record_over_the_wire_equals_the_apis(server: Server) -> None:
    answer = httpx.post(f"{server.url}/v1/analyze?profile=all", content=ASTRONAUT.read_bytes(), timeout=30)
    expected = record_line(
        load(server.model, threads=1, profile="all").analyze(ASTRONAUT.read_bytes(), source_name="body")
    )
    assert answer.content == expected + b"\n"
    assert answer.json()["status"] == "ok"


def test_a_trickling_body_is_refused_in_time(server: Server) -> None:
    with server.open() as connection:
        connection.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(send_until_refused, connection, b"x", 0.1, 100)
            status, body = answer_of(connection)
    assert (status, body["error"]["limit"]["name"]) == (400, "body_seconds")


def test_an_endless_body_is_refused_at_the_limit(server: Server) -> None:
    with server.open() as connection:
        connection.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(send_until_refused, connection, b"10000\r\n" + bytes(65536) + b"\r\n", 0, 10_000)
            status, body = answer_of(connection)
            assert (status, body["error"]["limit"]["name"]) == (413, "body_bytes")
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b"", "the connection is closed, though the client never stops"


def test_a_head_that_never_ends_is_refused(server: Server) -> None:
    with server.open() as connection:
        connection.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: local")
        status, body = answer_of(connection)
    assert (status, body["error"]["limit"]["name"]) == (400, "header_seconds")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
        b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_abused_heads_get_an_answer_and_change_nothing(server: Server, head: bytes) -> None:
    with server.open() as connection:
        send_until_refused(connection, head, 0, 1)
        status, body = answer_of(connection)
    assert (status, set(body["error"])) == (400, {"code", "message", "limit"})
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}


def test_too_many_connections_are_told_so(server: Server) -> None:
    held = [server.open() for _ in range(LIMITS["connections"])]
    try:
        with server.open() as connection:
            status, body = answer_of(connection)
        assert (status, body["error"]["limit"]["name"]) == (503, "connections")
    finally:
        for connection in held:
            connection.close()


@pytest.mark.skipif(
    not ASTRONAUT.is_file() or not Path("/proc").is_dir(), reason="needs the bundled portrait and Linux's /proc"
)
def test_a_worker_killed_in_mid_request_costs_nobody_an_answer(server: Server) -> None:
    files = [("files", (f"{i}.jpg", ASTRONAUT.read_bytes())) for i in range(6)]
    victims = server.workers()
    assert victims
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{server.url}/v1/analyze", files=files, timeout=60)
        time.sleep(0.15)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        records = answer.result().json()["results"]
    assert [record["source"] for record in records] == [f"{i}.jpg" for i in range(6)]
    assert {record["status"] for record in records} == {"ok"}


@pytest.mark.skipif(
    not ASTRONAUT.is_file() or not Path("/proc").is_dir(), reason="needs the bundled portrait and Linux's /proc"
)
def test_workers_killed_while_idle_cost_no_photo_its_second_try(server: Server) -> None:
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)
    files = [("files", (f"{i}.jpg", ASTRONAUT.read_bytes())) for i in range(6)]
    records = httpx.post(f"{server.url}/v1/analyze", files=files, timeout=60).json()["results"]
    assert {record["status"] for record in records} == {"ok"}


@pytest.mark.skipif(
    not ASTRONAUT.is_file() or sys.platform == "win32", reason="needs the bundled portrait and POSIX signals"
)
def test_shutdown_answers_what_was_accepted(server: Server) -> None:
    """SIGTERM to the whole group, as a service manager sends it, while a request is worked on."""
    files = [("files", (f"{i}.jpg", ASTRONAUT.read_bytes())) for i in range(6)]
    children = server.workers() if Path("/proc").is_dir() else []
    assert children or not Path("/proc").is_dir()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{server.url}/v1/analyze", files=files, timeout=60)
        time.sleep(0.3)
        for pid in (server.process.pid, *children):
            os.kill(pid, signal.SIGTERM)
        response = answer.result()
    assert [record["status"] for record in response.json()["results"]] == ["ok"] * 6
    assert server.process.wait(timeout=30) == 0
    with pytest.raises(OSError):  # noqa: PT011 - refused, reset or aborted, as the system likes
        server.open()
    for pid in children:
        if Path(f"/proc/{pid}/cmdline").is_file():
            assert b"spawn_main" not in Path(f"/proc/{pid}/cmdline").read_bytes(), "no worker is left behind"


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [
            sys.executable,
            "-m",
            "lineament",
            "serve",
            "--port",
            str(taken.getsockname()[1]),
            "--model",
            str(map_model(tmp_path / "toy.onnx")),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Cannot listen on" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_model_that_does_not_load_is_one_clear_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    command = [sys.executable, "-m", "lineament", "serve", "--port", "0", "--threads", "1", "--model", str(broken)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("lineament: ")
    assert "Traceback" not in done.stderr
