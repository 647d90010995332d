"""Several processes on one machine: the same records in the same order as one, whatever happens to a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from analyze_kit import photo, save
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import LineamentError, ModelFileError
from lineament.inputs.expand import items
from lineament.inputs.item import Item
from lineament.runs import processes
from lineament.runs.processes import Processes
from lineament.runs.resume import Wanted
from lineament.types import Report

PHOTOS = 11


class Made:
    """Makes work that reports a photo's name, without a model. Module level, so that a worker can import it."""

    def __init__(self, dies_at: str = "", refuses: str = "") -> None:
        self.dies_at, self.refuses = dies_at, refuses

    def __call__(self) -> Callable[[Item], Report]:
        if self.refuses:
            raise ModelFileError(self.refuses)
        return self.work

    def work(self, item: Item) -> Report:
        if self.dies_at and item.source.endswith(self.dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return Report(source=item.source, status="no_face", model=f"toy in {os.getpid()}", profile="default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(PHOTOS):
        save(tmp_path / "in" / f"{number:03}.png", photo(number % 3, seed=number))
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture at all")
    return tmp_path / "in"


def answers(folder: Path, made: Made) -> Iterator[tuple[str, str, Report]]:
    return Processes(items([str(folder)]), made, 2)(Wanted())


def test_reports_come_in_order_with_the_fingerprints_of_their_photos(folder: Path) -> None:
    found = list(answers(folder, Made()))
    wanted = list(items([str(folder)]))
    assert [(source, fingerprint) for source, fingerprint, _ in found] == [
        (item.source, item.fingerprint()) for item in wanted
    ]
    assert all(report.source == source for source, _, report in found)
    assert str(os.getpid()) not in {report.model.split()[-1] for _, _, report in found}


def test_a_worker_that_refuses_says_why(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="another version"):
        list(answers(folder, Made(refuses="another version here")))


def test_a_lost_process_is_an_error_that_names_the_way_on(folder: Path) -> None:
    with pytest.raises(LineamentError, match="--resume"):
        list(answers(folder, Made(dies_at="004.png")))


def test_the_command_writes_what_one_process_writes_and_goes_on_with_it(folder: Path, tmp_path: Path) -> None:
    """One process, two, and one that goes on with what two began: the same bytes."""
    model = str(write_toy_model(tmp_path / "toy.onnx"))
    given = [str(folder), "--model", model, "--quiet", "--max-failed", "1", "--threads", "1"]

    def run(*more: str) -> int:
        return CliRunner().invoke(app, ["analyze", *given, *more]).exit_code

    one, two, begun = (tmp_path / name for name in ("one.jsonl", "two.jsonl", "begun.jsonl"))
    assert run("--jsonl", str(one)) == 0
    assert run("--jsonl", str(two), "--processes", "2") == 0
    assert two.read_bytes() == one.read_bytes()
    assert len(one.read_text("utf-8").splitlines()) == PHOTOS + 1
    lines = two.read_bytes().splitlines(keepends=True)
    begun.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    (tmp_path / "begun.jsonl.run").write_bytes((tmp_path / "two.jsonl.run").read_bytes())
    assert run("--jsonl", str(begun), "--processes", "2", "--resume") == 0
    assert begun.read_bytes() == one.read_bytes()


def test_processes_do_not_go_with_a_cluster_or_a_camera() -> None:
    for more in (["photos", "--engine", "ray"], ["camera:0"]):
        result = CliRunner().invoke(app, ["analyze", *more, "--processes", "2"])
        assert result.exit_code == 2
        assert "--processes" in result.output


SLOW_WORK = """
import sys, time, os
from pathlib import Path
sys.path[:0] = {tests!r}
from test_processes import Made, answers
class Slow(Made):
    def work(self, item):
        (Path({marks!r}) / str(os.getpid())).touch()
        time.sleep(60)
if __name__ == "__main__":
    list(answers(Path({folder!r}), Slow()))
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_workers_end_with_a_parent_that_is_killed(folder: Path, tmp_path: Path) -> None:
    marks, script = tmp_path / "marks", tmp_path / "slow.py"
    marks.mkdir()
    script.write_text(
        SLOW_WORK.format(
            tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])], marks=str(marks), folder=str(folder)
        ),
        "utf-8",
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    wait(lambda: len(list(marks.iterdir())) == 2)
    workers = [int(mark.name) for mark in marks.iterdir()]
    parent.kill()
    parent.wait()
    wait(lambda: not any(runs(worker) for worker in workers))


def runs(process: int) -> bool:
    """Return whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_worker_answers_with_what_the_photo_was_or_says_why_it_cannot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: what a worker does with an item once it has loaded its model, or failed to."""
    item = Item(str(folder / "000.png"), folder / "000.png")
    monkeypatch.setattr(processes, "_work", lambda asked: asked.source)
    assert processes._answer(item) == (item.fingerprint(), item.source)
    monkeypatch.setattr(processes, "_work", LineamentError("no model"))
    with pytest.raises(LineamentError, match="no model"):
        processes._answer(item)
