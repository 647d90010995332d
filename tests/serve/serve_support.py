"""What several of the service's test files need: the running service's type, its limits, forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from lineament.api import Model
from lineament.pipeline.sinks import record_line
from lineament.serve.app import Service
from lineament.serve.limits import Limits

LIMITS = Limits(
    body_bytes=300_000, files=4, pixels=200_000, faces=6, photo_seconds=2.0, request_seconds=20, queue=6, requests=40, requests_per_client=24
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
