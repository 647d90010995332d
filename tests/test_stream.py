"""Many photos: order, back-pressure, one record per input; runs that are killed, torn, resumed and sharded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from analyze_kit import MarkedFaces, fill, photo, save, toy
from toy_model import toy_card, write_toy_model

from lineament.api import Model
from lineament.errors import ResumeError, TimedOutError, UsageError
from lineament.pipeline.parquet import ParquetSink
from lineament.pipeline.run import Summary, parse_max_failed, run
from lineament.pipeline.sinks import CsvSink, JsonlSink, JsonSink, Sink
from lineament.pipeline.sources import Item, items
from lineament.pipeline.stream import WINDOW_PER_WORKER, report_of, stream
from lineament.pipeline.timed import TimedDecoder
from lineament.types import Faces

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


ANSWERED: dict[Any, Any] = {}


def go(model: Model, inputs: list[Path], sinks: list[Sink], *, fresh: bool = False, **options: Any) -> Summary:
    """Run over inputs; a photo that was answered before, unchanged, is not computed again unless `fresh`: these tests are about the rest."""
    tools = model.tools(model.settings)
    identity = model.identity(model.settings) | options.pop("identity", {})

    def work(item: Item) -> Any:
        key = (model.id, model.settings, item.source, item.fingerprint())
        if fresh or key not in ANSWERED:
            ANSWERED[key] = report_of(item, tools, model.settings)
        return ANSWERED[key]

    return run(items(map(str, inputs)), work, sinks, identity, **options)


def sink_of(kind: str, folder: Path, model: Model) -> Sink:
    shown = model.settings.visible(model.card.attributes)
    path = str(folder / f"out.{kind}")
    return {
        "jsonl": lambda: JsonlSink(path),
        "json": lambda: JsonSink(path),
        "csv": lambda: CsvSink(path, shown),
        "parquet": lambda: ParquetSink(path, shown),
    }[kind]()


KINDS = ("jsonl", "json", "csv", "parquet")


def content(path: Path) -> Any:
    """What a result says, whatever the order and packing of its rows."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return sorted(json.dumps(row, sort_keys=True) for row in pq.read_table(path).to_pylist())
    if path.suffix == ".json":
        return sorted(json.dumps(record) for record in json.loads(path.read_bytes()))
    return sorted(path.read_bytes().split(b"\n"))


# --- the queue


def test_answers_come_in_order_and_the_window_is_bounded() -> None:
    begun, lock, most = 0, Lock(), 0
    handed_out = 0

    def todo() -> Iterator[Item]:
        nonlocal begun, most
        for number in range(200):
            with lock:
                begun += 1
                most = max(most, begun - handed_out)
            yield Item(str(number))

    def work(item: Item) -> str:
        time.sleep(0.002 if int(item.source) % 10 == 0 else 0)
        return item.source

    for expected, (item, answer) in enumerate(stream(todo(), work, workers=3)):
        assert item.source == answer == str(expected)
        handed_out += 1
    assert handed_out == 200
    assert most <= 3 * WINDOW_PER_WORKER + 1


@pytest.mark.parametrize("workers", [1, 3])
def test_stopping_finishes_what_was_begun(workers: int) -> None:
    stop, begun = Event(), []

    def work(item: Item) -> int:
        begun.append(item.source)
        return 1

    done = []
    for item, _ in stream((Item(str(n)) for n in range(1000)), work, workers=workers, stop=stop):
        done.append(item.source)
        if len(done) == 5:
            stop.set()
    assert sorted(done) == sorted(begun)
    assert len(done) <= 5 + workers * WINDOW_PER_WORKER


def test_an_unexpected_fault_is_not_swallowed() -> None:
    def work(item: Item) -> int:
        raise ZeroDivisionError(item.source)

    with pytest.raises(ZeroDivisionError):
        list(stream([Item("a")] * 20, work, workers=2))


def test_workers_change_nothing(model: Model, folder: Path) -> None:
    alone = [report.to_dict() for report in model.stream([folder], workers=1)]
    assert [report.to_dict() for report in model.stream([folder], workers=4)] == alone
    assert len(alone) == COUNT
    assert [record["status"] for record in alone[:8]] == ["no_face", "ok", "ok", "no_face", "ok", "ok", "unreadable", "ok"]
    assert all(report.pixels is None for report in model.stream([folder]))


def test_stream_equals_analyze(model: Model, folder: Path) -> None:
    for report in model.stream([folder], keep="largest", profile="all"):
        if report.error is None:
            assert model.analyze(report.source, keep="largest", profile="all").to_dict() == report.to_dict()


def test_a_single_path_must_be_in_a_list(model: Model, folder: Path) -> None:
    with pytest.raises(UsageError, match="list"):
        model.stream(str(folder))
    with pytest.raises(UsageError, match="list"):
        model.stream(b"a picture")


def test_stream_takes_encoded_bytes_beside_paths_and_refuses_arrays(model: Model, folder: Path) -> None:
    path = folder / "001.png"
    from_path, from_bytes = model.stream([path, path.read_bytes()])
    assert from_bytes.source == "<bytes>"
    assert from_bytes.to_dict() | {"source": str(path)} == from_path.to_dict()
    with pytest.raises(UsageError, match="analyze"):
        list(model.stream([photo(1)]))


# --- one record per input


def test_every_input_has_one_record_in_order(model: Model, folder: Path, tmp_path: Path) -> None:
    sinks = [sink_of(kind, tmp_path, model) for kind in KINDS]
    summary = go(model, [folder, tmp_path / "gone.jpg"], sinks)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = [item.source for item in items([str(folder), str(tmp_path / "gone.jpg")])]
    assert [record["source"] for record in records] == expected
    assert json.loads((tmp_path / "out.json").read_text()) == records
    assert summary.inputs == COUNT + 1
    assert summary.failures == 3
    assert summary.faces == sum(len(record["faces"]) for record in records)
    text = "\n".join(summary.lines())
    assert all(record["source"] in text for record in records if record["error"])
    assert "not_found (1):" in text


def test_tables_hold_what_the_records_hold(model: Model, folder: Path, tmp_path: Path) -> None:
    import csv

    import pyarrow.parquet as pq

    go(model, [folder], [sink_of(kind, tmp_path, model) for kind in KINDS])
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rows = list(csv.DictReader((tmp_path / "out.csv").open(newline="")))
    typed = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(rows) == len(typed) == sum(max(1, len(record["faces"])) for record in records)
    place = 0
    for record in records:
        for index, face in enumerate(record["faces"] or [None]):
            row, exact = rows[place], typed[place]
            place += 1
            assert (row["source"], row["status"], row["model"]) == (record["source"], record["status"], record["model"])
            if face is None:
                assert row["face"] == ""
                assert exact["face"] is exact["prob_Smiling"] is None
                continue
            assert (int(row["face"]), float(row["x1"]), float(row["left_mouth_y"])) == (index, face["box_xyxy"][0], face["keypoints"][4][1])
            for name, answer in face["attributes"].items():
                assert float(row[f"prob_{name}"]) == exact[f"prob_{name}"] == answer["prob"]
                assert row[f"label_{name}"] == exact[f"label_{name}"] == answer["label"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_undecodable_file_names_survive(model: Model, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe new\nline.png"
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(save(tmp_path / "plain.png", photo(1)).read_bytes())
    go(model, [Path(os.fsdecode(name))], [sink_of(kind, tmp_path, model) for kind in KINDS])
    assert os.fsencode(json.loads((tmp_path / "out.jsonl").read_text())["source"]) == name
    assert os.fsencode(json.loads((tmp_path / "out.json").read_text())[0]["source"]) == name
    assert b'"' + name + b'"' in (tmp_path / "out.csv").read_bytes()
    resumed = go(model, [Path(os.fsdecode(name))], [sink_of("jsonl", tmp_path, model)], resume=True)
    assert (resumed.inputs, resumed.skipped) == (0, 1)


def test_two_runs_are_identical_to_the_byte(model: Model, folder: Path, tmp_path: Path) -> None:
    for kind in ("jsonl", "json", "csv"):
        go(model, [folder], [sink_of(kind, tmp_path, model)], workers=3, fresh=True)
        first = (tmp_path / f"out.{kind}").read_bytes()
        go(model, [folder], [sink_of(kind, tmp_path, model)], workers=1, fresh=kind == "jsonl")
        assert (tmp_path / f"out.{kind}").read_bytes() == first


def test_no_inputs_make_valid_empty_outputs(model: Model, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (tmp_path / "empty").mkdir()
    go(model, [tmp_path / "empty"], [sink_of(kind, tmp_path, model) for kind in KINDS])
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert json.loads((tmp_path / "out.json").read_text()) == []
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 1
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


# --- stopping and going on


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
    out.write_bytes(b"".join(line[: len(line) // 2] + b"\n" if number in damaged else line for number, line in enumerate(lines[:-1])) + lines[-1])
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
    strict = toy_card(decision={"thresholds": {"Smiling": 0.9}, "calibration": {}, "abstain": {}, "min_eye_distance": {}})
    others = {
        "model": toy(write_toy_model(tmp_path / "other.onnx", seed=5)),
        "profile": toy(toy_path, profile="all"),
        "thresholds": toy(write_toy_model(tmp_path / "strict.onnx", card=strict)),
        "keep": toy(toy_path, keep="largest"),
    }
    for key, other in others.items():
        with pytest.raises(ResumeError, match=key):
            go(other, [folder], [sink_of("jsonl", tmp_path, other)], resume=True)
    for key, value in (("runtime", "openvino"), ("precision", "bf16")):
        with pytest.raises(ResumeError, match=f"{key} was .* is '{value}'"):
            go(model, [folder], [sink_of("jsonl", tmp_path, model)], resume=True, identity={key: value})
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_resume_without_sidecar_still_reads_model_and_profile(model: Model, toy_path: Path, folder: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("text", "failures", "inputs", "too_many"),
    [("0", 0, 9, False), ("0", 1, 9, True), ("3", 3, 9, False), ("3", 4, 9, True), ("10%", 1, 10, False), ("10%", 2, 10, True), ("0%", 0, 0, False),
     ("2.5%", 1, 40, False), ("100%", 5, 5, False)],
)  # fmt: skip
def test_max_failed(text: str, failures: int, inputs: int, too_many: bool) -> None:
    assert parse_max_failed(text)(failures, inputs) is too_many


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "%", "nan%", "-2%"])
def test_max_failed_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--max-failed"):
        parse_max_failed(text)


# --- faults around a photo


class Failing(MarkedFaces):
    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "error", error)

    def detect(self, pixels: Any) -> Faces:
        raise self.error  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "code"),
    [(MemoryError(), "too_large"), (OSError(5, "Input/output error"), "unreadable"), (UsageError("The face lies outside"), "usage")],
)
def test_faults_around_one_photo_are_its_record(error: BaseException, code: str, model: Model, folder: Path) -> None:
    broken = Model(model.network, Failing(error), model.settings)
    (report,) = broken.stream([folder / "001.png"])
    assert report.status == code
    assert report.error is not None
    assert report.faces == ()


def test_a_decoder_that_hangs_is_replaced(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{n}.png", photo(1, seed=n)) for n in range(3)]
    slow = "import time, lineament.images as i; real = i.load_image\n"
    slow += "def load(source, **k):\n    time.sleep(60 if str(source).endswith('1.png') else 0)\n    return real(source, **k)\n"
    slow += "i.load_image = load; from lineament.pipeline.timed import serve_requests; serve_requests()"
    monkeypatch.setattr("lineament.pipeline.timed._PROGRAM", slow)
    decoder = TimedDecoder(1.5, 64_000_000)
    try:
        reports = list(model.stream(paths, workers=1, decode=decoder))
    finally:
        decoder.close()
    assert [report.status for report in reports] == ["ok", "timed_out", "ok"]
    assert reports[2].to_dict() == next(iter(model.stream(paths[2:]))).to_dict()


def test_a_decoder_that_crashes_is_replaced(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{n}.png", photo(1, seed=n)) for n in range(3)]
    crash = "import os, lineament.images as i; real = i.load_image\n"
    crash += "def load(source, **k):\n    if str(source).endswith('1.png'): os._exit(139)\n    return real(source, **k)\n"
    crash += "i.load_image = load; from lineament.pipeline.timed import serve_requests; serve_requests()"
    monkeypatch.setattr("lineament.pipeline.timed._PROGRAM", crash)
    decoder = TimedDecoder(30, 64_000_000)
    try:
        reports = list(model.stream(paths, workers=1, decode=decoder))
    finally:
        decoder.close()
    assert [report.status for report in reports] == ["ok", "unreadable", "ok"]


def test_the_time_limit_changes_no_record(model: Model, folder: Path) -> None:
    decoder = TimedDecoder(60, 10_000_000)
    try:
        timed = [report.to_dict() for report in model.stream([folder], decode=decoder)]
        with pytest.raises(TimedOutError):
            raise TimedOutError("the type is a record's code")
    finally:
        decoder.close()
    assert timed == [report.to_dict() for report in model.stream([folder])]


# --- kill -9, for real


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_nine_loses_and_repeats_nothing(toy_path: Path, tmp_path: Path) -> None:
    for number in range(100):
        save(tmp_path / "in" / f"{number:03}.png", photo(0, seed=number, size=(218, 178)))
    out = tmp_path / "out.jsonl"
    command = [
        *(sys.executable, "-m", "lineament", "analyze", str(tmp_path / "in"), "--model", str(toy_path), "--faces", "aligned"),
        *("--quiet", "--resume", "--threads", "2", "--jsonl", str(out)),
    ]
    root = str(Path(__file__).resolve().parent.parent)
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
