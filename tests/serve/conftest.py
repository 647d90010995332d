"""What the service's tests share: one running service (its workers take longer to start than most tests), and a page of
it in a real Chromium."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from needed import launched, needed
from PIL import Image
from serve_support import LIMITS, Running, Server, start
from serve_toys import Misbehaving, ToySource, map_model, toy_index
from starlette.testclient import TestClient

from lineament.serve.app import create_app
from lineament.serve.batching import Batching
from lineament.serve.pages import load_example

PORTRAIT = load_example()
ARGUMENTS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    source = ToySource(map_model(folder / "toy.onnx"))
    db = toy_index(folder, source())
    app = create_app(source, limits=LIMITS, workers=2, batching=Batching(size=4), answer=Misbehaving(folder), db=db)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Running(client, app, app.state.service, source())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("browser")
    db = toy_index(folder, ToySource(map_model(folder / "toy.onnx"))(), burst=3)
    running = start(folder / "toy.onnx", "--db", str(db), "--limit", "body_bytes=2000000")
    yield running
    running.process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    needed("chromium", "chromium-browser", "google-chrome")
    with sync_api.sync_playwright() as play:
        running = launched(play, *ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(server: Server, browser: Any) -> Iterator[Any]:
    """A fresh page; at its end nothing may have gone wrong, broken the policy or gone elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True)
    opened = context.new_page()
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on(
        "console",
        lambda message: trouble.append(message.text) if "Failed to load resource" not in message.text else None,
    )
    opened.on(
        "request",
        lambda request: (
            trouble.append(request.url) if not request.url.startswith((server.url, "blob:", "data:")) else None
        ),
    )
    opened.goto(server.url)
    yield opened
    context.close()
    assert trouble == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A portrait, a group of three, a sky, a text, and a file that is too large."""
    if PORTRAIT is None:
        pytest.skip("the bundled portrait is not in this tree")
    folder = tmp_path_factory.mktemp("photos")
    portrait = Image.open(io.BytesIO(PORTRAIT.data)).convert("RGB")
    group = Image.new("RGB", (1100, 520), (200, 190, 180))
    for side, place in ((512, (0, 0)), (400, (520, 60)), (170, (925, 200))):
        group.paste(portrait.resize((side, side)), place)
    portrait.save(folder / "portrait.jpg", quality=95)
    group.save(folder / "group.png")
    Image.new("RGB", (600, 400), (120, 150, 180)).save(folder / "sky.png")
    (folder / "notes.txt").write_text("hello")
    (folder / "large.jpg").write_bytes(bytes(2_500_000))
    portrait.save(folder / '<img src=x onerror=alert(1)>".png')
    return {path.stem: path for path in folder.iterdir()}
