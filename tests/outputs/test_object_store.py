"""Inputs from and outputs to an object store, against a real S3 server on this machine (moto)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.inputs.object_store import _store

moto_server = pytest.importorskip("moto.server", reason="needs moto[server] (lineament's extra dev)")
fs = pytest.importorskip("pyarrow.fs")
parquet = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    """An S3 server with the bucket `shop`: five photos and a table of their addresses; its own environment."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        settings = {
            "ACCESS_KEY_ID": "test",
            "SECRET_ACCESS_KEY": "test",
            "DEFAULT_REGION": "us-east-1",
            "ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        for name, value in {**settings, "EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(f"AWS_{name}", value)
        _store.cache_clear()
        made = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True)
        made.create_dir("shop")
        for i in range(5):
            put(made, f"shop/img/{i}.png", picture(i))
        rows = [{"asset": 100 + i, "uri": f"s3://shop/img/{i}.png"} for i in range(5)] + [
            {"asset": 200, "uri": "s3://shop/img/gone.png"}
        ]
        buffer = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), buffer)
        put(made, "shop/catalogue.parquet", buffer.getvalue())
        yield made
    _store.cache_clear()
    server.stop()


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (218, 178, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def put(store: Any, path: str, data: bytes) -> None:
    with store.open_output_stream(path) as stream:
        stream.write(data)


def names(store: Any) -> set[str]:
    return {
        info.path for info in store.get_file_info(fs.FileSelector("shop", recursive=True)) if info.type.name == "File"
    }


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def analyze(network: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        app, ["analyze", "--model", str(network), "--faces", "aligned", "--quiet", "--threads", "1", *arguments]
    )


def test_addresses_in_a_column_are_read_and_answers_are_put_there(
    store: Any, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["s3://shop/catalogue.parquet", "--path-column", "uri", "--id", "asset", "--max-failed", "1"]
    outs = ["--jsonl", "s3://shop/out/records.jsonl", "--parquet", "s3://shop/out/answers.parquet"]
    done = analyze(network, *options, *outs)
    assert done.exit_code == 0, done.output
    with store.open_input_stream("shop/out/records.jsonl") as stream:
        records = [json.loads(line) for line in stream.read().splitlines()]
    assert [(record["id"], record["status"]) for record in records] == [
        *((100 + i, "ok") for i in range(5)),
        (200, "not_found"),
    ]
    table = parquet.read_table("shop/out/answers.parquet", filesystem=store)
    assert table["id"].to_pylist() == [*range(100, 105), 200]
    assert {name for name in names(store) if "/out/" in name} == {
        "shop/out/records.jsonl",
        "shop/out/records.jsonl.run",
        "shop/out/answers.parquet",
    }
    local = tmp_path / "local.jsonl"
    assert analyze(network, *options, "--jsonl", str(local)).exit_code == 0
    assert [json.loads(line) for line in local.read_text().splitlines()] == records
    assert {path.name for path in tmp_path.iterdir()} == {"local.jsonl", "local.jsonl.run"}, "no folder called s3:"


def test_resume_fetches_what_is_there_and_refuses_another_run(store: Any, network: Path, tmp_path: Path) -> None:
    options = ["s3://shop/img", "--jsonl", "s3://shop/again/records.jsonl"]
    assert analyze(network, *options).exit_code == 0
    with store.open_input_stream("shop/again/records.jsonl") as stream:
        whole = stream.read()
    put(store, "shop/again/records.jsonl", b"".join(whole.splitlines(keepends=True)[:2]) + b'{"torn')
    assert analyze(network, *options, "--resume").exit_code == 0
    with store.open_input_stream("shop/again/records.jsonl") as stream:
        assert stream.read() == whole
    refused = analyze(network, *options, "--resume", "--profile", "all")
    assert refused.exit_code == 2
    with store.open_input_stream("shop/again/records.jsonl") as stream:
        assert stream.read() == whole, "a refused run leaves the store as it was"


def test_a_bucket_that_is_not_there_is_refused_before_the_first_photo(
    store: Any, network: Path, tmp_path: Path
) -> None:
    before = names(store)
    done = analyze(
        network, "s3://shop/img", "--jsonl", "s3://no-such-bucket/out.jsonl", "--csv", str(tmp_path / "out.csv")
    )
    assert done.exit_code == 2
    assert "Cannot write to s3://no-such-bucket/out.jsonl" in done.output
    assert not (tmp_path / "out.csv").exists()
    assert names(store) == before
