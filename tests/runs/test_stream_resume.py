"""Runs that are stopped, torn, killed, resumed and sharded: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from analyze_kit import fill, photo, save, toy
from stream_kit import KINDS, content, go, sink_of
from toy_model import toy_card, write_toy_model

from lineament.api import Model
from lineament.errors import ResumeError, UsageError
from lineament.inputs.item import Item
from lineament.outputs.sinks import JsonlSink, LineFile
from lineament.runs.resume import Wanted, short_hash

COUNT = 18


@pytest.fixture(scope="module")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture(scope="module")
def model(toy_path: Path) -> Model:
    return toy(toy_path, threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "in", COUNT)
    return tmp_path / "in"


def stopped_after(count: int) -> tuple[Event, Any]:
    stop, seen = Event(), []

    def watch(report: Any) -> None:
        seen.append(report)
        if len(seen) == count:
            stop.set()

    return stop, watch


@pytest.mark.parametrize("kind", KINDS)
def test_stop_and_resume_gives_what_one_run_gives(kind: str, model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    go(model, [folder], [sink_of(kind, tmp_path / "whole", model)])
    stop, watch = stopped_after(9)
    assert go(model, [folder], [sink_of(kind, tmp_path, model)], stop=stop, seen=watch).interrupted
    second = go(model, [folder], [sink_of(kind, tmp_path, model)], resume=True, workers=2)
    assert 0 < second.skipped <= 9
    assert second.inputs + second.skipped == COUNT
    assert content(tmp_path / f"out.{kind}") == content(tmp_path / "whole" / f"out.{kind}")
    third = go(model, [folder], [sink_of(kind, tmp_path, model)], resume=True)
    assert third.inputs <= 1  # a CSV's last input is done again: its rows may have been cut between faces
    assert content(tmp_path / f"out.{kind}") == content(tmp_path / "whole" / f"out.{kind}")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_an_output_torn_at_any_byte_is_repaired(kind: str, model: Model, tmp_path: Path) -> None:
    fill(tmp_path / "in", 5)
    go(model, [tmp_path / "in"], [sink_of(kind, tmp_path, model)])
    out = tmp_path / f"out.{kind}"
    whole, wanted = out.read_bytes(), content(out)
    for cut in [0, 1, 2, *range(50, len(whole), 211), len(whole) - 2, len(whole) - 1]:
        out.write_bytes(whole[:cut])
        go(model, [tmp_path / "in"], [sink_of(kind, tmp_path, model)], resume=True)
        assert content(out) == wanted, cut


@pytest.mark.parametrize("damaged", [[], [0], [3], [7], [0, 3, 7], [6, 7], list(range(8))])
def test_damaged_lines_anywhere_are_done_again(damaged: list[int], model: Model, tmp_path: Path) -> None:
    fill(tmp_path / "in", 8)
    go(model, [tmp_path / "in"], [sink_of("jsonl", tmp_path, model)])
    out = tmp_path / "out.jsonl"
    wanted, lines = content(out), out.read_bytes().splitlines(keepends=True)
    out.write_bytes(
        b"".join(
            line[: len(line) // 2] + b"\n" if number in damaged else line for number, line in enumerate(lines[:-1])
        )
        + lines[-1]
    )
    if 7 in damaged:
        out.write_bytes(out.read_bytes()[:-1])  # only the end of the last line is missing
    if len(damaged) == 8:
        with pytest.raises(ResumeError):
            go(model, [tmp_path / "in"], [sink_of("jsonl", tmp_path, model)], resume=True)
        return
    resumed = go(model, [tmp_path / "in"], [sink_of("jsonl", tmp_path, model)], resume=True)
    assert resumed.inputs == len(damaged)
    assert content(out) == wanted


@pytest.mark.parametrize("state", ["missing", "empty", "no sidecar", "torn sidecar", "zeros at the end"])
def test_resume_accepts_any_state(state: str, model: Model, folder: Path, tmp_path: Path) -> None:
    sink = sink_of("jsonl", tmp_path, model)
    go(model, [folder], [sink])
    out, sidecar = tmp_path / "out.jsonl", tmp_path / "out.jsonl.run"
    wanted = content(out)
    half = b"".join(out.read_bytes().splitlines(keepends=True)[: COUNT // 2])
    out.write_bytes(half)
    if state == "missing":
        out.unlink()
        sidecar.unlink()
    elif state == "empty":
        out.write_bytes(b"")
    elif state == "no sidecar":
        sidecar.unlink()
    elif state == "torn sidecar":
        sidecar.write_bytes(sidecar.read_bytes()[:40])
    else:
        out.write_bytes(half + bytes(500))
    summary = go(model, [folder], [sink_of("jsonl", tmp_path, model)], resume=True)
    assert summary.skipped == (0 if state in ("missing", "empty") else COUNT // 2)
    assert content(out) == wanted


def test_resume_refuses_another_run(model: Model, toy_path: Path, folder: Path, tmp_path: Path) -> None:
    go(model, [folder], [sink_of("jsonl", tmp_path, model)])
    before = (tmp_path / "out.jsonl").read_bytes()
    strict = toy_card(
        decision={"thresholds": {"Smiling": 0.9}, "calibration": {}, "abstain": {}, "min_eye_distance": {}}
    )
    others = {
        "model": toy(write_toy_model(tmp_path / "other.onnx", seed=5)),
        "profile": toy(toy_path, profile="all"),
        "thresholds": toy(write_toy_model(tmp_path / "strict.onnx", card=strict)),
        "keep": toy(toy_path, keep="largest"),
        "small_faces": toy(toy_path, small_faces="never"),
    }
    for key, other in others.items():
        with pytest.raises(ResumeError, match=key):
            go(other, [folder], [sink_of("jsonl", tmp_path, other)], resume=True)
    for key, value in (("runtime", "openvino"), ("precision", "bf16")):
        with pytest.raises(ResumeError, match=f"{key} was .* is '{value}'"):
            go(model, [folder], [sink_of("jsonl", tmp_path, model)], resume=True, identity={key: value})
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_resume_without_sidecar_still_reads_model_and_profile(
    model: Model, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    for kind in KINDS:
        go(model, [folder], [sink_of(kind, tmp_path, model)])
        (tmp_path / f"out.{kind}.run").unlink()
        other = toy(write_toy_model(tmp_path / "other.onnx", seed=5))
        with pytest.raises(ResumeError, match="model"):
            go(other, [folder], [sink_of(kind, tmp_path, other)], resume=True)


def test_resume_never_eats_a_file_that_is_not_ours(model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("my thesis\nchapter two\n")
    with pytest.raises(ResumeError, match="no record"):
        go(model, [folder], [sink_of("jsonl", tmp_path, model)], resume=True)
    array = sink_of("json", tmp_path, model)
    go(model, [folder], [array])
    (tmp_path / "array.jsonl").write_bytes((tmp_path / "out.json").read_bytes())
    with pytest.raises(ResumeError, match="--json"):
        go(model, [folder], [JsonlSink(str(tmp_path / "array.jsonl"))], resume=True)
    (tmp_path / "out.csv").write_text("name,age\nme,3\n")
    with pytest.raises(ResumeError, match="columns"):
        go(model, [folder], [sink_of("csv", tmp_path, model)], resume=True)
    assert (tmp_path / "out.jsonl").read_text().startswith("my thesis")
    assert (tmp_path / "out.csv").read_text().startswith("name")
    with pytest.raises(UsageError, match="--jsonl"):
        go(model, [folder], [], resume=True)


def test_changed_photos_and_passing_failures_are_done_again(model: Model, folder: Path, tmp_path: Path) -> None:
    listed = [folder, tmp_path / "late.png"]
    go(model, listed, [sink_of("jsonl", tmp_path, model)])
    save(folder / "000.png", photo(3, seed=99))  # was without faces
    save(tmp_path / "late.png", photo(1))  # was not there
    resumed = go(model, listed, [sink_of("jsonl", tmp_path, model)], resume=True)
    assert (resumed.inputs, resumed.skipped) == (2, COUNT - 1)
    (tmp_path / "fresh").mkdir()
    go(model, listed, [sink_of("jsonl", tmp_path / "fresh", model)])
    assert content(tmp_path / "out.jsonl") == content(tmp_path / "fresh" / "out.jsonl")


def test_an_input_given_twice_has_two_records_also_when_resumed(model: Model, folder: Path, tmp_path: Path) -> None:
    twice = [folder / "001.png", folder / "001.png", folder / "002.png"]
    stop, watch = stopped_after(1)
    go(model, twice, [sink_of("jsonl", tmp_path, model)], stop=stop, seen=watch)
    go(model, twice, [sink_of("jsonl", tmp_path, model)], resume=True)
    sources = [json.loads(line)["source"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sources == [str(path) for path in twice]


@pytest.mark.parametrize("done", [0, 1, 2, 3, 5])
def test_of_an_input_listed_often_what_is_done_is_left_out_once_each(done: int) -> None:
    listed = [Item("a"), Item("b"), Item("a"), Item("a")]
    left = [item.source for item in Wanted(done={short_hash("a"): done}).of(listed)]
    assert left.count("b") == 1
    assert left.count("a") == max(0, 3 - done)


def test_a_system_that_takes_a_few_bytes_at_a_time_gets_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:3]))
    file = LineFile(str(tmp_path / "out"))
    file.open(resume=False)
    file.write(b"0123456789\n")
    file.close()
    monkeypatch.undo()
    assert (tmp_path / "out").read_bytes() == b"0123456789\n"


def test_several_outputs_go_on_together(model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    go(model, [folder], [sink_of(kind, tmp_path / "whole", model) for kind in KINDS])
    stop, watch = stopped_after(10)
    go(model, [folder], [sink_of(kind, tmp_path, model) for kind in KINDS], stop=stop, seen=watch)
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:100])  # one output behind the others
    go(model, [folder], [sink_of(kind, tmp_path, model) for kind in KINDS], resume=True)
    for kind in KINDS:
        assert content(tmp_path / f"out.{kind}") == content(tmp_path / "whole" / f"out.{kind}"), kind


def test_shards_concatenate_to_the_whole(model: Model, folder: Path, tmp_path: Path) -> None:
    go(model, [folder], [sink_of("jsonl", tmp_path, model)])
    wanted, parts = content(tmp_path / "out.jsonl"), b""
    for part in (1, 2, 3):
        go(model, [folder], [sink_of("jsonl", tmp_path, model)], shard=(part, 3))
        parts += (tmp_path / "out.jsonl").read_bytes()
    assert sorted(parts.split(b"\n")) == wanted


def test_a_full_disk_tears_nothing(model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.write, []

    def full(descriptor: int, data: Any) -> int:
        written.append(len(data))
        if len(written) == 21:
            return real(descriptor, bytes(data)[: len(data) // 2])  # the disk takes half a line,
        if len(written) > 21:
            raise OSError(28, "No space left on device")  # then nothing more
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        go(model, [folder], [sink_of("jsonl", tmp_path, model)])
    monkeypatch.undo()
    lines = (tmp_path / "out.jsonl").read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    assert len(lines) > 5
    assert go(model, [folder], [sink_of("jsonl", tmp_path, model)], resume=True).skipped == len(lines)


# --- kill -9, for real


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_nine_loses_and_repeats_nothing(toy_path: Path, tmp_path: Path) -> None:
    for number in range(100):
        save(tmp_path / "in" / f"{number:03}.png", photo(0, seed=number, size=(218, 178)))
    out = tmp_path / "out.jsonl"
    command = [
        *(
            sys.executable,
            "-m",
            "lineament",
            "analyze",
            str(tmp_path / "in"),
            "--model",
            str(toy_path),
            "--faces",
            "aligned",
        ),
        *("--quiet", "--resume", "--threads", "2", "--jsonl", str(out)),
    ]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    reported = 0
    for wanted in (0, 1, 40):
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while child.poll() is None and time.monotonic() < deadline:
            if (out.read_bytes().count(b"\n") if out.exists() else -1) >= reported + wanted:
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        lines = out.read_bytes().split(b"\n")[:-1] if out.exists() else []
        assert len(lines) >= reported
        reported = len(lines)
    subprocess.run(command, env=environment, check=True)
    sources = [json.loads(line)["source"] for line in out.read_text().splitlines()]
    assert len(sources) == len(set(sources)) == 100
    whole = tmp_path / "whole.jsonl"
    subprocess.run([*command[:-1], str(whole)], env=environment, check=True)
    assert content(out) == content(whole)
