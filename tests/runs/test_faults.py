"""What goes wrong around a run, done for real: a full disk, an output that cannot be written, inputs that vanish, a
folder that does not answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from analyze_kit import photo, save
from decoder_kit import DEAD, waits_for_a_dead_folder
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.types import Report

PHOTOS = 40


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a toy model and aligned crops in `in`."""
    monkeypatch.chdir(tmp_path)
    write_toy_model(tmp_path / "toy.onnx")
    for number in range(PHOTOS):
        save(tmp_path / "in" / f"{number:03}.png", photo(0, seed=number % 5, size=(218, 178)))
    return tmp_path


def analyze(*options: str) -> Any:
    command = ["analyze", "in", "--model", "toy.onnx", "--faces", "aligned", "--threads", "2", "--quiet", *options]
    return CliRunner().invoke(app, command)


def whole(kind: str = "jsonl") -> list[bytes]:
    assert analyze(f"--{kind}", f"whole.{kind}").exit_code == 0
    return sorted(Path(f"whole.{kind}").read_bytes().split(b"\n"))


@pytest.fixture
def small_disk(house: Path) -> Iterator[Path]:
    """Mount a file system of 20 KB; skip where that is not allowed."""
    disk = house / "disk"
    disk.mkdir()
    if (
        sys.platform != "linux"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", str(disk)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root on Linux")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_full_disk_ends_the_run_and_resume_goes_on(kind: str, small_disk: Path) -> None:
    wanted, out = whole(kind), small_disk / f"out.{kind}"
    stopped = analyze(f"--{kind}", str(out))
    assert stopped.exit_code == 1
    assert f"No space left on device: {out}" in stopped.output
    lines = out.read_bytes().splitlines()
    assert 5 < len(lines) < PHOTOS
    if kind == "jsonl":
        assert all(json.loads(line) for line in lines)
    assert analyze(f"--{kind}", str(out), "--resume").exit_code == 1  # still full: nothing is lost by trying
    assert out.read_bytes().splitlines()[: len(lines) - 1] == lines[:-1]
    remount(small_disk, "size=4m")
    assert analyze(f"--{kind}", str(out), "--resume").exit_code == 0
    assert sorted(out.read_bytes().split(b"\n")) == wanted


def test_a_full_disk_under_the_crops(small_disk: Path) -> None:
    stopped = analyze("--jsonl", "out.jsonl", "--crops", str(small_disk))
    assert stopped.exit_code == 1
    assert "No space left" in stopped.output
    assert not list(small_disk.glob(".*.part"))
    written = {json.loads(line)["source"] for line in Path("out.jsonl").read_text().splitlines()}
    assert len(written) <= len(list(small_disk.glob("*.png")))  # no record without its crop
    remount(small_disk, "size=16m")
    assert analyze("--jsonl", "out.jsonl", "--crops", str(small_disk), "--resume").exit_code == 0
    assert len(list(small_disk.glob("*.png"))) == PHOTOS
    assert sorted(Path("out.jsonl").read_bytes().split(b"\n")) == whole()


def test_an_output_that_becomes_read_only(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remount(small_disk, "size=4m")
    out, real, seen = small_disk / "out.jsonl", os.write, []

    def write(descriptor: int, data: Any) -> int:
        seen.append(descriptor)
        if len(seen) == 30:
            raise OSError(30, "Read-only file system")
        return real(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        stopped = analyze("--jsonl", str(out))
    assert stopped.exit_code == 1
    assert "Read-only file system" in stopped.output
    remount(small_disk, "ro")
    refused = analyze("--jsonl", str(out), "--resume")
    assert refused.exit_code in (1, 2)
    assert "Read-only" in refused.output
    remount(small_disk, "rw")
    assert all(json.loads(line) for line in out.read_text().splitlines())


def test_an_output_that_cannot_be_written_is_said_before_any_work(house: Path) -> None:
    Path("file").write_text("a file, not a folder")
    for option in ("--jsonl", "--csv", "--json", "--parquet"):
        refused = analyze(option, "file/out")
        assert refused.exit_code == 2
        assert "Cannot write" in refused.output
    refused = analyze("--jsonl", "in")  # a folder
    assert refused.exit_code == 2
    assert "Cannot write in" in refused.output


def test_inputs_that_vanish_are_records_and_come_back(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = whole()
    Path("aside").mkdir()
    gone = [f"{number:03}.png" for number in range(20, PHOTOS, 3)]

    def take_away(**_: Any) -> Any:
        done: list[Report] = []

        def told(report: Report) -> None:
            done.append(report)
            if len(done) == 3:
                for name in gone:
                    Path("in", name).rename(Path("aside", name))

        return nullcontext(told)

    with monkeypatch.context() as patched:
        patched.setattr("lineament.cli.analyze._watch", take_away)
        finished = analyze("--jsonl", "out.jsonl")
    assert finished.exit_code == 3
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert len(records) == PHOTOS
    assert [record["source"] for record in records if record["status"] == "not_found"] == [
        f"in{os.sep}{name}" for name in gone
    ]
    assert all(f"in{os.sep}{name}" in finished.output for name in gone)
    for name in gone:
        Path("aside", name).rename(Path("in", name))
    assert analyze("--jsonl", "out.jsonl", "--resume").exit_code == 0
    assert sorted(Path("out.jsonl").read_bytes().split(b"\n")) == wanted


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_folder_that_does_not_answer_times_out_and_is_tried_again(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network folder that hangs, without one: in the reading process, opening two of the photos waits for ever at a
    pipe that nobody writes."""
    wanted = whole()
    os.mkfifo("dead")
    monkeypatch.setenv(DEAD, str(house / "dead"))
    with monkeypatch.context() as patched:
        patched.setattr("lineament.runs.decoder_process.serve_requests", waits_for_a_dead_folder)
        finished = analyze("--jsonl", "out.jsonl", "--timeout", "4")
    assert finished.exit_code == 3
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [record["source"][-7:] for record in records if record["status"] == "timed_out"] == ["007.png", "023.png"]
    assert sum(record["status"] == "ok" for record in records) == PHOTOS - 2
    assert analyze("--jsonl", "out.jsonl", "--timeout", "60", "--resume").exit_code == 0
    assert sorted(Path("out.jsonl").read_bytes().split(b"\n")) == wanted
