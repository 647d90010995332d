"""What several of the service's test files need: the running service's type, its limits, forms."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.testclient import TestClient

from lineament.api import Model
from lineament.outputs.sinks import record_line
from lineament.serve.app import Service
from lineament.serve.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(
    body_bytes=300_000,
    files=4,
    pixels=200_000,
    faces=6,
    photo_seconds=2.0,
    request_seconds=20,
    queue=6,
    requests=40,
    requests_per_client=24,
)


@dataclass(frozen=True)
class Running:
    """A service in this process, its client, and the same model loaded here, to compare with."""

    client: TestClient
    app: FastAPI
    service: Service
    model: Model

    def line(self, data: bytes, source: str = "body", **settings: Any) -> bytes:
        """Return the record line that the API gives for a photo."""
        return record_line(self.model.analyze(data, source_name=source, **settings))


def form(*photos: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (name, data, "image/png")) for name, data in photos]


class Server(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    model: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def workers(self) -> list[int]:
        """Return the process ids of its children (Linux): each thread has a list of its own."""
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = [int(pid) for children in lists for pid in children.read_text().split()]
        return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def start(model: Path, *options: str) -> Server:
    command = [
        sys.executable,
        "-m",
        "lineament",
        "serve",
        "--model",
        str(model),
        "--port",
        "0",
        "--threads",
        "1",
        *options,
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"LINEAMENT_API_KEY": ""},
    )
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found:
            return Server(process, int(found[1]), model)
    raise AssertionError("the service did not start")
