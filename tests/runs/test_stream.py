"""Many photos: order, back-pressure, one record per input, and faults around one of them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from analyze_kit import MarkedFaces, fill, photo, save, toy
from decoder_kit import crashes, hangs, never_starts
from stream_kit import KINDS, go, sink_of
from toy_model import write_toy_model

from lineament.api import Model
from lineament.errors import LineamentError, TimedOutError, UsageError
from lineament.inputs.expand import items
from lineament.inputs.item import Item
from lineament.runs.decoder_process import TimedDecoder
from lineament.runs.run import parse_max_failed
from lineament.runs.stream import WINDOW_PER_WORKER, stream
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
    assert [record["status"] for record in alone[:8]] == [
        "no_face",
        "ok",
        "ok",
        "no_face",
        "ok",
        "ok",
        "unreadable",
        "ok",
    ]
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
            assert (int(row["face"]), float(row["x1"]), float(row["left_mouth_y"])) == (
                index,
                face["box_xyxy"][0],
                face["keypoints"][4][1],
            )
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


@pytest.mark.parametrize(
    ("text", "failures", "inputs", "too_many"),
    [("0", 0, 9, False), ("0", 1, 9, True), ("3", 3, 9, False), ("3", 4, 9, True), ("10%", 1, 10, False),
    ("10%", 2, 10, True), ("0%", 0, 0, False),
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
    [
        (MemoryError(), "too_large"),
        (OSError(5, "Input/output error"), "unreadable"),
        (UsageError("The face lies outside"), "usage"),
    ],
)
def test_faults_around_one_photo_are_its_record(error: BaseException, code: str, model: Model, folder: Path) -> None:
    broken = Model(model.network, Failing(error), model.settings)
    (report,) = broken.stream([folder / "001.png"])
    assert report.status == code
    assert report.error is not None
    assert report.faces == ()


def test_a_decoder_that_hangs_is_replaced(model: Model, tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", photo(1, seed=n)) for n in range(3)]
    decoder = TimedDecoder(1.5, 64_000_000, hangs)
    try:
        reports = list(model.stream(paths, workers=1, decode=decoder))
    finally:
        decoder.close()
    assert [report.status for report in reports] == ["ok", "timed_out", "ok"]
    assert reports[2].to_dict() == next(iter(model.stream(paths[2:]))).to_dict()


def test_a_decoder_that_crashes_is_replaced(model: Model, tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", photo(1, seed=n)) for n in range(3)]
    decoder = TimedDecoder(30, 64_000_000, crashes)
    try:
        reports = list(model.stream(paths, workers=1, decode=decoder))
    finally:
        decoder.close()
    assert [report.status for report in reports] == ["ok", "unreadable", "ok"]


def test_a_decoder_that_does_not_start_is_a_sentence(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(1))
    decoder = TimedDecoder(30, 64_000_000, never_starts)
    with pytest.raises(LineamentError, match="did not start"):
        decoder(Item(str(path), path))


def test_the_time_limit_changes_no_record(model: Model, folder: Path) -> None:
    decoder = TimedDecoder(60, 10_000_000)
    try:
        timed = [report.to_dict() for report in model.stream([folder], decode=decoder)]
        with pytest.raises(TimedOutError):
            raise TimedOutError("the type is a record's code")
    finally:
        decoder.close()
    assert timed == [report.to_dict() for report in model.stream([folder])]
