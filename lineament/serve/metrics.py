"""Prometheus metrics of the service. No label depends on what a client sends, so nobody can make the page grow."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one service, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lineament_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "lineament_request_seconds", "Seconds per request.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.photos = Counter(
            "lineament_photos", "Photos answered, by record status.", ["status"], registry=self.registry
        )
        self.faces = Counter("lineament_faces", "Faces answered.", registry=self.registry)
        self.refused = Counter("lineament_refused", "Refusals by code.", ["code"], registry=self.registry)
        self.queued = Gauge("lineament_queue_photos", "Photos waiting for a worker.", registry=self.registry)
        self.in_progress = Gauge("lineament_requests_in_progress", "Requests in progress.", registry=self.registry)
        self.buffered = Gauge("lineament_buffered_bytes", "Bytes of bodies held in memory.", registry=self.registry)
        self.batch = Histogram(
            "lineament_batch_photos", "Photos per batch.", buckets=(1, 2, 4, 8, 16, 32), registry=self.registry
        )
        self.stages = Histogram(
            "lineament_stage_seconds", (
                "Seconds per photo in each stage: queue, detect, attributes, decode_and_rest."
            ), ["stage"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.model = Gauge(
            "lineament_model_info", "The model that answers: 1 beside its id.", ["id"], registry=self.registry
        )
        self.reloads = Counter(
            "lineament_model_reloads", "Reloads of the model, by outcome.", ["outcome"], registry=self.registry
        )
        self.workers = Gauge("lineament_workers", "Worker processes.", registry=self.registry)
        self.replaced = Counter("lineament_workers_replaced", "Worker processes replaced.", registry=self.registry)

    def tell_model(self, name: str) -> None:
        """Say which model answers now."""
        self.model.clear()
        self.model.labels(name).set(1)

    def page(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
