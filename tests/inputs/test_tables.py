"""Tables with keys of their own: the same keys out, in every sink; paths and addresses in a column; outputs refused
before the first photo."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from analyze_kit import photo, save
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.inputs.expand import Reading, items
from lineament.inputs.tables import TableColumns

record_schema = pytest.importorskip(
    "lineament.serve.service", reason="needs the extra serve", exc_type=ImportError
).record_schema
pa = pytest.importorskip("pyarrow")
KEYS = [
    {"asset_id": f"A-{i:03}", "shop": "north" if i % 2 else None, "width": 10 * i, "price": i + 0.5} for i in range(5)
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Path]:
    """Five photos, and tables of them of every kind: paths beside the table, or their bytes."""
    for i in range(5):
        save(tmp_path / "data" / "img" / f"{i}.png", photo(0, seed=i, size=(218, 178)))
    rows = [
        {**key, "path": f"img/{i}.png", "image": (tmp_path / "data" / "img" / f"{i}.png").read_bytes()}
        for i, key in enumerate(KEYS)
    ]
    return {
        kind: write(tmp_path / "data" / f"t.{kind}", rows)
        for kind in ("parquet", "csv", "tsv", "arrow", "feather", "arrows")
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    whole = pa.Table.from_pylist(rows)
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, [name for name in rows[0] if name != "image"], delimiter="\t" if path.suffix == ".tsv" else ","
            )
            writer.writeheader()
            writer.writerows({name: value for name, value in row.items() if name != "image"} for row in rows)
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(whole, path)
    else:
        maker = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
        with maker(str(path), whole.schema) as writer:
            writer.write_table(whole, max_chunksize=2)
    return path


def analyze(network: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["analyze", "--model", str(network), "--faces", "aligned", "--quiet", *arguments])


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "arrow", "feather", "arrows"])
def test_keys_come_out_as_they_went_in(kind: str, network: Path, table: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    options = ["--id", "asset_id", "--keep-columns", "shop,width", "--path-column", "path", "--jsonl", str(out)]
    done = analyze(network, str(table[kind]), *options)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in out.read_text().splitlines()]
    text = kind in ("csv", "tsv")
    assert [record["id"] for record in records] == [key["asset_id"] for key in KEYS]
    wanted = [
        {"shop": key["shop"] or ("" if text else None), "width": str(key["width"]) if text else key["width"]}
        for key in KEYS
    ]
    assert [record["columns"] for record in records] == wanted
    assert [record["source"] for record in records] == [f"{table[kind].parent}/img/{i}.png" for i in range(5)]
    assert list(records[0])[:4] == ["schema_version", "source", "id", "columns"]
    for record in records:
        jsonschema.validate(record, record_schema())


def test_every_sink_has_the_keys_and_the_same_answers_as_without(
    network: Path, table: dict[str, Path], tmp_path: Path
) -> None:
    outs = [f"--{kind}={tmp_path / f'out.{kind}'}" for kind in ("jsonl", "json", "csv", "parquet")]
    assert (
        analyze(network, str(table["parquet"]), "--id", "width", "--keep-columns", "shop,price,width", *outs).exit_code
        == 0
    )
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")
    assert [str(parquet.schema.field(name).type) for name in ("id", "shop", "price", "input_width")] == [
        "int64",
        "string",
        "double",
        "int64",
    ]
    assert parquet["id"].to_pylist() == [key["width"] for key in KEYS]
    assert parquet["shop"].to_pylist() == [key["shop"] for key in KEYS]
    assert parquet["width"].to_pylist() == [178] * 5
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["id"] for row in rows] == [str(key["width"]) for key in KEYS]
    assert [row["source"] for row in rows] == [f"{table['parquet']}::{i}" for i in range(5)]
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert records == json.loads((tmp_path / "out.json").read_text())
    assert analyze(network, str(table["parquet"]), "--jsonl", str(tmp_path / "plain.jsonl")).exit_code == 0
    plain = [json.loads(line) for line in (tmp_path / "plain.jsonl").read_text().splitlines()]
    assert [
        {key: value for key, value in record.items() if key not in ("id", "columns")} for record in records
    ] == plain


def test_resume_goes_on_with_keys_and_refuses_others(network: Path, table: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    options = [str(table["arrow"]), "--id", "asset_id", "--path-column", "path", "--parquet", str(out)]
    assert analyze(network, *options).exit_code == 0
    first = pytest.importorskip("pyarrow.parquet").read_table(out)
    assert analyze(network, *options, "--resume").exit_code == 0
    again = pytest.importorskip("pyarrow.parquet").read_table(out)
    assert sorted(again["id"].to_pylist()) == first["id"].to_pylist()
    other = analyze(
        network, str(table["arrow"]), "--id", "shop", "--path-column", "path", "--parquet", str(out), "--resume"
    )
    assert other.exit_code == 2
    assert "id was 'asset_id', is 'shop'" in other.output


def test_rows_that_name_nothing_are_records_with_their_keys(network: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,file\n1,gone.png\n2,\n")
    out = tmp_path / "out.jsonl"
    assert (
        analyze(network, str(tmp_path / "t.csv"), "--id", "key", "--path-column", "file", "--jsonl", str(out)).exit_code
        == 3
    )
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(record["id"], record["status"]) for record in records] == [("1", "not_found"), ("2", "unreadable")]


def test_what_a_table_lacks_is_said_before_anything_is_written(
    network: Path, table: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    assert "asset_id" in analyze(network, str(table["parquet"]), "--id", "asset", "--jsonl", str(out)).output
    assert "--path-column" in analyze(network, str(table["csv"]), "--jsonl", str(out)).output
    assert not out.exists()


def test_a_table_read_elsewhere_gives_the_same(table: dict[str, Path]) -> None:
    """A cluster's tasks open closed items: with the same keys."""
    from lineament.inputs.expand import opened
    from lineament.runs.ray_cluster import from_row, to_row

    reading = Reading(table=TableColumns("path", "asset_id", ("price",)))
    here = list(items([table["arrow"]], reading))
    closed = list(items([table["arrow"]], Reading(table=reading.table, expand=False)))
    assert [item.closed for item in closed] == [True]
    there = [from_row(to_row(found)) for found in opened(from_row(to_row(closed[0])), reading)]
    assert there == here
    assert here[2].keys == {"id": "A-002", "columns": {"price": 2.5}}


@pytest.mark.parametrize("where", ["s3://", "s3://bucket", "s3://bucket/", "ftp://host/out.jsonl"])
def test_an_address_without_its_parts_is_refused_and_no_folder_appears(
    where: str, network: Path, table: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for option in ("--jsonl", "--json", "--csv", "--parquet", "--crops", "--draw", "--tracks"):
        done = analyze(network, str(table["parquet"]), option, where)
        assert done.exit_code == 2, (option, done.output)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", ["--jsonl", "--json", "--csv", "--parquet"])
def test_a_local_place_that_cannot_be_written_is_refused_first(
    option: str, network: Path, table: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    wrong = [str(tmp_path / "folder"), str(tmp_path / "new") + os.sep, str(tmp_path / "file" / "out")]
    if os.geteuid():  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        wrong.append(str(tmp_path / "closed" / "out"))
    for place in wrong:
        done = analyze(network, str(table["parquet"]), option, place)
        assert done.exit_code == 2, done.output
        assert "Cannot write" in done.output
    assert not (tmp_path / "new").exists()


def test_other_commands_refuse_addresses_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["compare", "a.csv", "b.csv", "--json", "s3://bucket/out.json"])
    assert done.exit_code == 2
    assert "address" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_with_keys_a_picture_column_is_read_as_without(suffix: str, tmp_path: Path) -> None:
    """Every shape of a picture column, and a cell that is no picture, whether or not the table's keys come along."""
    feather, parquet = pytest.importorskip("pyarrow.feather"), pytest.importorskip("pyarrow.parquet")
    picture = b"\xff\xd8 stands for a picture: nothing is decoded here"
    shapes = {
        "bytes": pa.array([picture, None], pa.large_binary()),
        "struct": pa.array([{"bytes": picture, "path": None}, {"bytes": None, "path": None}]),
        "list": pa.array([[picture, picture], []], pa.list_(pa.binary())),
        "text": pa.array([{"bytes": "not bytes", "path": None}, {"bytes": None, "path": None}]),
    }
    for name, column in shapes.items():
        table, path = pa.table({"Image": column, "key": ["a", "b"]}), tmp_path / f"{name}.{suffix}"
        parquet.write_table(table, path) if suffix == "parquet" else feather.write_feather(
            table, path, compression="uncompressed"
        )
        found = list(items([str(path)], Reading(table=TableColumns(id="key"))))
        assert [(item.keys or {}).get("id") for item in found] == (["a", "a", "b"] if name == "list" else ["a", "b"])
        assert [item.data for item in found if item.error is None] == [picture] * {"list": 2, "text": 0}.get(name, 1)
        if suffix == "parquet":
            plain = list(items([str(path)]))
            assert [(item.source, item.data, str(item.error)) for item in found] == [
                (item.source, item.data, str(item.error)) for item in plain
            ]
