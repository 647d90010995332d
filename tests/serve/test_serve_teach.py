"""Own attributes over HTTP and on the page: marked faces in, score and file out, nothing kept; wrong bodies are one
sentence."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serve_support import LIMITS, Running, Server, start
from serve_toys import ToySource, map_model
from starlette.testclient import TestClient

sys.path.append(str(Path(__file__).resolve().parents[1] / "teach"))
from teach_toys import crop

from lineament.serve.app import create_app
from lineament.serve.pages import load_example
from lineament.teach.network import with_own


def picture(seed: int, marked: bool) -> str:
    buffer = io.BytesIO()
    Image.fromarray(crop(seed, marked, strength=90)).save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def body(count: int, **changes: Any) -> bytes:
    sides = {
        "yes": [picture(2 * n, True) for n in range(count)],
        "no": [picture(2 * n + 1, False) for n in range(count)],
    }
    return json.dumps({"name": "blue_chin", **sides, **changes}).encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose photos have hardly any time: teaching has that of the whole request, not that of a photo."""
    source = ToySource(map_model(tmp_path_factory.mktemp("teach") / "toy.onnx"))
    app = create_app(source, limits=replace(LIMITS, photo_seconds=0.01, request_seconds=240.0), workers=1)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Running(client, app, app.state.service, source())


def post(running: Running, data: bytes) -> Any:
    return running.client.post("/v1/teach", content=data, headers={"Content-Type": "application/octet-stream"})


def test_marked_faces_give_a_score_and_a_file_that_works(running: Running, tmp_path: Path) -> None:
    answer = post(running, body(10))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["report"]["counts"]["used"] == {"yes": 10, "no": 10, "unsure": 0}
    assert found["report"]["scores"]["accuracy"]["value"] > 0.7
    assert found["file"]["name"] == "blue_chin"
    (tmp_path / "own.json").write_text(json.dumps(found["file"]))
    assert with_own(running.model.network, [tmp_path / "own.json"]).card.attributes[-1] == "blue_chin"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "Send JSON"), (b"\xff\xd8\xff", "Send JSON"), (b"[]", "Send JSON"), ((
            b'{"name": "x", "yes": 3, "no": []}'
        ), "at most 500 faces"),
        (b'{"name": "x", "yes": ["%%"], "no": []}', "not base64"),
        (b'{"name": "x", "yes": [7], "no": []}', "Send JSON"),
        (b'{"name": "x", "yes": [], "no": []}', "Only 0 usable photos"), (b"[" * 50_000, "Send JSON"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_one_sentence(running: Running, data: bytes, told: str) -> None:
    answer = post(running, data)
    assert answer.status_code == 422
    assert told in answer.json()["error"]["message"]


def test_a_name_in_use_and_the_same_face_on_both_sides_are_refused(running: Running) -> None:
    assert "in use" in post(running, body(6, name="smiling")).json()["error"]["message"]
    same = picture(0, True)
    told = post(running, body(6, no=[same, *(picture(2 * n + 1, False) for n in range(6))])).json()["error"]["message"]
    assert "on both sides" in told


def variants(folder: Path, count: int) -> list[Path]:
    """Write variants of the bundled portrait that look like different moments: under smooth noise; every second one
    with a blue chin."""
    portrait = Image.open(io.BytesIO(load_example().data)).convert("RGB")  # type: ignore[union-attr]
    pixels, paths = np.asarray(portrait, np.float64), []
    for number in range(count):
        noise = np.random.default_rng(number).normal(128, 60, (48, 48, 3))
        smooth = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).resize(
            portrait.size, Image.Resampling.BICUBIC
        )
        mixed = pixels + 0.9 * (np.asarray(smooth, np.float64) - 128)
        if number % 2 == 0:
            mixed[140:190, 180:270] += (-70, 0, 70)
        paths.append(folder / f"{number:02}.jpg")
        Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(paths[-1], quality=92)
    return paths


WAIT = 240_000
"""Milliseconds that a busy machine may need for one score: a wait ends as soon as its condition holds."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service for the browser, with as much time as the test waits: what is tested is the page, not the machine's
    load."""
    seconds = WAIT // 1000
    running = start(
        map_model(tmp_path_factory.mktemp("patient") / "toy.onnx"),
        *(f"--limit={name}_seconds={seconds}" for name in ("photo", "request")),
    )
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.slow
def test_collecting_by_keyboard_scores_after_each_ten_and_saves_the_file(
    browser: Any, patient: Server, tmp_path: Path
) -> None:
    paths = variants(tmp_path, 12)
    page = browser.new_page(accept_downloads=True)
    page.set_default_timeout(WAIT)
    page.goto(patient.url)
    page.set_input_files("#file", [str(path) for path in paths])
    page.wait_for_function("() => document.querySelectorAll('.strip .badge').length === 12", timeout=120_000)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.strip .badge')].every((badge) => badge.textContent === '1')",
        timeout=240_000,
    )
    page.click("#teach summary")
    page.fill("#teach-name", "blue_chin")
    page.click(".strip li:first-child button")
    for number in range(12):
        page.keyboard.press("y" if number % 2 == 0 else "n")
    page.wait_for_function("() => document.querySelector('#teach-count').textContent === '6 yes, 6 no'", timeout=WAIT)
    page.wait_for_function(
        "() => /^1[0-2] faces: accuracy/.test(document.querySelector('#teach-said').textContent)", timeout=WAIT
    )
    if not page.inner_text("#teach-said").startswith("12"):  # scored while the last two were being marked
        assert "Marks changed meanwhile" in page.inner_text("#teach-said")
        assert page.is_disabled("#teach-save"), "a file is of the marks that are shown"
    page.wait_for_function("() => !document.querySelector('#teach-score').disabled", timeout=WAIT)
    page.click("#teach-score")
    page.wait_for_function(
        "() => document.querySelector('#teach-said').textContent.startsWith('12 faces')", timeout=WAIT
    )
    page.wait_for_function("() => !document.querySelector('#teach-save').disabled", timeout=WAIT)
    with page.expect_download() as download:
        page.click("#teach-save")
    assert download.value.suggested_filename == "blue_chin.json"
    assert json.loads(Path(download.value.path()).read_text("utf-8"))["name"] == "blue_chin"
    page.close()
