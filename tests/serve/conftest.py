"""One running service for all of its tests: starting its workers takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serve_support import LIMITS, Running
from serve_toys import Misbehaving, ToySource, map_model, toy_index
from starlette.testclient import TestClient

from lineament.serve.app import create_app
from lineament.serve.batching import Batching


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    source = ToySource(map_model(folder / "toy.onnx"))
    db = toy_index(folder, source())
    app = create_app(source, limits=LIMITS, workers=2, batching=Batching(size=4), answer=Misbehaving(folder), db=db)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Running(client, app, app.state.service, source())
