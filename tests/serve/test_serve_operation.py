"""Running it for a year: a line a request that tells nothing of the photo, counters where one wants them, a new model
without a lost request."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_support import Server, start
from serve_toys import map_model, toy_photo

from lineament.errors import UsageError
from lineament.serve.pages import load_example
from lineament.serve.request_log import request_log

SECRET = "anna-at-the-beach"


def ask(url: str, data: bytes | None = None, name: str | None = None) -> tuple[int, bytes]:
    headers = {"X-File": name} if name else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Server, list[str]]]:
    """A service with everything on, and the lines of its standard error as they come."""
    server = start(map_model(tmp_path / "toy.onnx"), "--log-format", "json", "--metrics-port", "0", "--reload-model")
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(iter(server.process.stderr.readline, "")), daemon=True).start()
    yield server, lines
    server.process.kill()
    server.process.wait()


def wait_for(lines: list[str], pattern: str) -> re.Match[str]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for line in list(lines):
            if found := re.search(pattern, line):
                return found
        time.sleep(0.05)
    raise AssertionError(f"no line like {pattern} among {lines}")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="SIGHUP")
@pytest.mark.slow
def test_a_reload_under_load_drops_no_request_and_answers_by_the_new_model(
    running: tuple[Server, list[str]], tmp_path: Path
) -> None:
    server, lines = running
    photo, stop = toy_photo(1, seed=3), threading.Event()
    statuses: list[int] = []
    models: list[str] = []

    def load() -> None:
        while not stop.is_set():
            status, body = ask(f"{server.url}/v1/analyze", photo)
            statuses.append(status)
            models.append(json.loads(body).get("model", ""))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    old = json.loads(ask(f"{server.url}/v1/model")[1])["id"]
    map_model(tmp_path / "toy.onnx", of=["Smiling"])
    server.process.send_signal(signal.SIGHUP)
    wait_for(lines, "Reloaded")
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    new = json.loads(ask(f"{server.url}/v1/model")[1])["id"]
    assert new != old
    assert set(statuses) == {200}
    assert models[0] == old
    assert models[-1] == new
    (tmp_path / "toy.onnx").write_bytes(b"no model")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lines, "Not reloaded")
    assert json.loads(ask(f"{server.url}/v1/analyze", photo)[1])["model"] == new, (
        "a model that cannot be loaded leaves the old one"
    )


def test_a_line_a_request_and_counters_on_a_port_of_their_own(tmp_path: Path) -> None:
    portrait = load_example()
    if portrait is None:
        pytest.skip("the bundled portrait is not in this tree")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start(map_model(tmp_path / "toy.onnx"), "--log-format", "json", "--metrics-port", str(port))
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(iter(server.process.stderr.readline, "")), daemon=True).start()
    try:
        assert ask(f"{server.url}/v1/analyze", portrait.data, SECRET)[0] == 200
        assert ask(f"{server.url}/{SECRET}.jpg?q={SECRET}")[0] == 404
        wait_for(lines, '"status": 404')
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        told = [
            {key: entry[key] for key in ("method", "route", "status", "faces")} for entry in entries if "route" in entry
        ]
        assert told == [
            {"method": "POST", "route": "/v1/analyze", "status": 200, "faces": 1},
            {"method": "GET", "route": "other", "status": 404, "faces": 0},
        ]
        assert all(entry["ms"] >= 0 and entry["time"].endswith("Z") for entry in entries if "route" in entry)
        assert SECRET not in "".join(lines)
        status, page = ask(f"http://127.0.0.1:{port}/metrics")
        assert status == 200
        assert b'lineament_stage_seconds_count{stage="detect"} 1.0' in page
        assert ask(f"http://127.0.0.1:{port}/v1/model")[0] == 404
    finally:
        server.process.terminate()
        assert server.process.wait(60) == 0


def test_the_metrics_page_says_model_queue_batches_and_stages(tmp_path: Path) -> None:
    os.environ.pop("LINEAMENT_API_KEY", None)
    key = tmp_path / "key"
    key.write_text("secret\n")
    server = start(map_model(tmp_path / "toy.onnx"), "--api-key-file", str(key), "--open-metrics")
    try:
        status, page = ask(f"{server.url}/metrics")
        assert status == 200
        assert b"lineament_model_info{id=" in page
        for name in (
            b"lineament_queue_photos",
            b"lineament_batch_photos_bucket",
            b"lineament_stage_seconds",
            b"lineament_workers 1.0",
        ):
            assert name in page
        assert ask(f"{server.url}/v1/model")[0] == 401, "the rest needs the key as before"
    finally:
        server.process.kill()


def test_text_lines_and_an_unknown_format(capsys: pytest.CaptureFixture[str]) -> None:
    request_log("text")("POST", "/v1/analyze", 200, 0.0413, 2)
    assert re.fullmatch(r"\S+Z POST /v1/analyze 200 41\.3 ms 2 faces\n", capsys.readouterr().err)
    request_log("json")("EVIL\nline", "other", 405, 0.1, 0)
    assert json.loads(capsys.readouterr().err)["method"] == "other"
    with pytest.raises(UsageError, match="--log-format"):
        request_log("xml")
