"""The command line as processes of its own: what it imports, how errors, interrupts and closed pipes end, the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_kit import fill, photo, save
from PIL import Image
from toy_model import write_toy_model

ROOT = Path(__file__).resolve().parents[2]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def lineament(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lineament", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300, **options
    )


def test_the_whole_command_on_the_portrait_imports_nothing_heavy(
    astronaut: np.ndarray, toy_path: Path, tmp_path: Path
) -> None:
    Image.fromarray(astronaut).save(tmp_path / "astronaut.png")
    code = (
        "import sys; from lineament.cli import main\ntry: main()\nexcept SystemExit as e: print(sorted(sys.modules), "
        "e.code, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "analyze", "astronaut.png", "--model", str(toy_path), "--jsonl", "-"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    (record,) = records(done.stdout)
    assert (record["status"], len(record["faces"])) == ("ok", 1)
    assert done.stderr.strip().endswith(" 0")
    heavy = (
        "torch",
        "pyarrow",
        "matplotlib",
        "pandas",
        "scipy",
        "fastapi",
        "openvino",
        "onnx",
        "sklearn",
        "cv2",
        "duckdb",
        "unittest",
    )
    assert not [name for name in heavy if f"'{name}'" in done.stderr]


def test_errors_are_one_line_and_never_a_traceback(tmp_path: Path) -> None:
    done = lineament("analyze", "x.jpg", "--model", "gone.onnx", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_130_and_goes_on(number: int, toy_path: Path, tmp_path: Path) -> None:
    for index in range(60):
        save(tmp_path / "in" / f"{index:03}.png", photo(0, seed=index, size=(218, 178)))
    options = ["in", "--model", str(toy_path), "--faces", "aligned", "--threads", "1", "--jsonl", "out.jsonl"]
    command = [sys.executable, "-m", "lineament", "analyze", *options]
    child = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out = tmp_path / "out.jsonl"
    deadline = time.monotonic() + 300
    while not (out.exists() and out.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(number)
    _, stderr = child.communicate(timeout=300)
    if child.returncode == 0:
        pytest.skip("the run was over before the signal came")
    assert child.returncode == 130
    assert "Traceback" not in stderr
    whole = [json.loads(line) for line in out.read_text().splitlines()]
    assert 3 <= len(whole) < 60
    assert lineament("analyze", *options, "--resume", cwd=tmp_path).returncode == 0
    assert len({record["source"] for record in records(out.read_text())}) == 60


def test_a_closed_pipe_is_not_an_error(toy_path: Path, tmp_path: Path) -> None:
    fill(tmp_path / "in", 5)
    command = [sys.executable, "-m", "lineament", "analyze", "in", "--model", str(toy_path), "--jsonl", "-", "--quiet"]
    child = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()
    child.wait(timeout=300)


def test_the_demo_writes_pictures_and_records(toy_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    command = [sys.executable, "-m", "lineament.demo", "--model", str(toy_path), "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "portrait.json",
        "portrait.png",
        "sample.json",
        "sample.png",
    ]
    assert len(json.loads((tmp_path / "demo" / "portrait.json").read_text())["faces"]) == 1
    assert len(json.loads((tmp_path / "demo" / "sample.json").read_text())["faces"]) == 6
    assert str(tmp_path / "demo") in done.stdout
