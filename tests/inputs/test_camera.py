"""A camera as an input. There is none where tests run: a file and a pipe stand in for the device."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from analyze_kit import MarkedFaces, photo, toy
from test_video import write_video
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import UsageError
from lineament.inputs.expand import Reading, check_inputs, items

av = pytest.importorskip("av", reason="cameras need the extra [video]")


def test_a_stream_gives_frames_as_a_video_does(tmp_path: Path) -> None:
    frames = [photo(1, seed=number) for number in range(25)]
    path = write_video(tmp_path / "stream.avi", frames)
    found = list(items([f"camera:{path}"], Reading(1.0)))
    assert [item.source for item in found] == [f"camera:{path}::t={second:.3f}" for second in (0, 1, 2)]
    for item, number in zip(found, (0, 10, 20), strict=True):
        np.testing.assert_array_equal(item.data, frames[number])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_through_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program writes a stream into a pipe while it is read, and goes away: the frames are answered, then the run
    ends."""
    monkeypatch.setattr("lineament.api._bundled_detector", lambda network, threads: MarkedFaces())
    monkeypatch.chdir(tmp_path)
    write_toy_model(Path("toy.onnx"))
    frames = [photo(1 + (number >= 20), seed=number) for number in range(40)]
    data = write_video(tmp_path / "v.avi", frames).read_bytes()
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(data), daemon=True)
    writer.start()
    command = ["analyze", "camera:pipe", "--model", "toy.onnx", "--jsonl", "out.jsonl", "--tracks", "t.json", "--quiet"]
    done = CliRunner().invoke(app, command)
    writer.join(timeout=60)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [len(record["faces"]) for record in records] == [1, 1, 2, 2]
    direct = toy(Path("toy.onnx")).analyze(frames[10], channels="RGB", source_name="camera:pipe::t=1.000")
    assert records[1] == direct.to_dict()


def test_no_camera_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.jsonl").write_text("kept")
    done = CliRunner().invoke(app, ["analyze", "camera:97", "--jsonl", "out.jsonl"])
    assert done.exit_code == 2
    assert "There is no camera camera:97" in done.output
    assert Path("out.jsonl").read_text() == "kept"


def test_what_is_no_video_stream_is_an_item_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no video at all\n" * 50)
    (item,) = items([f"camera:{tmp_path / 'text'}"])
    assert item.error is not None
    assert item.error.code == "unreadable"


@pytest.mark.skipif(sys.platform != "linux", reason="device files")
def test_a_device_that_is_no_camera_is_an_item_with_an_error() -> None:
    (item,) = items(["camera:/dev/null"])  # a character device, so Video4Linux is asked, which says no
    assert item.error is not None
    assert "/dev/null" in str(item.error)


def test_frames_come_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", [photo(0)])
    for option in (["--resume"], ["--shard", "1/2"], ["--engine", "ray"]):
        done = CliRunner().invoke(app, ["analyze", f"camera:{path}", "--jsonl", str(tmp_path / "o.jsonl"), *option])
        assert done.exit_code == 2
        assert "come once" in done.output


def test_a_camera_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.avi", [photo(0)])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="group `video`"):
        check_inputs([f"camera:{path}"])
