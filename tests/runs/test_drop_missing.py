"""Inputs that are gone: kept without `--drop-missing`, out of every output, sidecar and picture folder with it."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest
from analyze_kit import fill, toy
from stream_kit import KINDS, content, go, sink_of
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.api import Model
from lineament.cli import app
from lineament.outputs.pictures import name_of
from lineament.runs.resume import MissingInputs, short_hash


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return toy(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


@pytest.mark.parametrize("kind", KINDS)
def test_gone_inputs_stay_unless_asked_and_then_leave_nothing(kind: str, model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fill(folder, 9)
    go(model, [folder], [sink_of(kind, tmp_path, model)])
    gone = [folder / f"00{i}.png" for i in (0, 4, 7)]
    for path in gone:
        path.unlink()
    out, sidecar = tmp_path / f"out.{kind}", tmp_path / f"out.{kind}.run"
    go(model, [folder], [sink_of(kind, tmp_path, model)], resume=True)
    assert all(path.name in str(content(out)) for path in gone), "kept: nobody asked for them to go"
    summary = go(model, [folder], [sink_of(kind, tmp_path, model)], resume=True, missing=MissingInputs())
    assert summary.dropped == 3
    assert summary.inputs <= 1  # CSV and Parquet do their last input again
    (tmp_path / "fresh").mkdir()
    go(model, [folder], [sink_of(kind, tmp_path / "fresh", model)])
    assert content(out) == content(tmp_path / "fresh" / f"out.{kind}")
    data = b"".join(path.read_bytes() for path in tmp_path.glob("out.*"))
    for path in gone:
        assert path.name.encode() not in data
        assert short_hash(str(path)) not in sidecar.read_bytes()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_resumed_run_that_is_interrupted_repeats_no_record(kind: str, model: Model, tmp_path: Path) -> None:
    folder, stop = tmp_path / "in", Event()
    fill(folder, 12)
    later = [path.rename(tmp_path / path.name) for path in sorted(folder.iterdir())[6:]]
    go(model, [folder], [sink_of(kind, tmp_path, model)])
    for path in later:
        path.rename(folder / path.name)
    go(model, [folder], [sink_of(kind, tmp_path, model)], resume=True, stop=stop, seen=lambda report: stop.set())
    go(model, [folder], [sink_of(kind, tmp_path, model)], resume=True)
    (tmp_path / "fresh").mkdir()
    go(model, [folder], [sink_of(kind, tmp_path / "fresh", model)])
    assert content(tmp_path / f"out.{kind}") == content(tmp_path / "fresh" / f"out.{kind}")


def test_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    missing = MissingInputs()
    names = [
        f"{tmp_path}/a.tar",
        f"{tmp_path}/a.tar::x.jpg",
        "-",
        "camera:0::t=1.000",
        "s3://bucket/a.jpg",
        "s3://bucket/a.tar::b.jpg",
    ]
    assert [name for name in names if missing(name)] == []
    assert missing(f"{tmp_path}/b.tar::x.jpg")
    assert missing(f"{tmp_path}/b.jpg")
    assert missing(f"{tmp_path}/b.jpg"), "every output asks, and each gets the same answer"


def test_the_command_line_drops_records_and_pictures(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fill(folder, 3)
    out, crops = tmp_path / "out.jsonl", tmp_path / "crops"
    network = str(model.network.path) if hasattr(model.network, "path") else str(write_toy_model(tmp_path / "toy.onnx"))
    common = [
        "analyze",
        str(folder),
        "--model",
        network,
        "--faces",
        "aligned",
        "--jsonl",
        str(out),
        "--crops",
        str(crops),
        "--max-failed",
        "100%",
    ]
    assert CliRunner().invoke(app, [*common, "--drop-missing"]).exit_code == 2
    CliRunner().invoke(app, common)
    name = name_of(str(folder / "001.png"))
    (crops / f"{name}-0.png").touch()  # these toys are no crops, so the run left none
    (folder / "001.png").unlink()
    done = CliRunner().invoke(app, [*common, "--resume", "--drop-missing"])
    assert "1 inputs are gone" in done.output
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == [
        str(folder / "000.png"),
        str(folder / "002.png"),
    ]
    assert not list(crops.glob(f"{name}*"))
