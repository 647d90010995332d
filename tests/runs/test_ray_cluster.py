"""What the Ray engine and object stores are made of, without a cluster: rows, wanted inputs, addresses, records read
back."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from analyze_kit import fill, photo, toy
from hypothesis import given
from hypothesis import strategies as st
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import NotFoundError, UsageError, image_error
from lineament.inputs.expand import Reading, check_inputs, items, opened
from lineament.inputs.item import Item, in_shard
from lineament.outputs.sinks import record_line
from lineament.runs.ray_cluster import from_row, listed, to_row
from lineament.runs.resume import Wanted, short_hash
from lineament.types import Report

BYTES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


@given(BYTES, st.none() | BYTES, st.none() | st.binary(max_size=50), st.booleans())
def test_an_item_survives_its_row(source: bytes, path: bytes | None, data: bytes | None, closed: bool) -> None:
    item = Item(os.fsdecode(source), None if path is None else Path(os.fsdecode(path)), data, closed=closed)
    assert from_row(to_row(item)) == item


def test_a_frame_and_an_error_survive_their_rows() -> None:
    pixels = photo(1)
    back = from_row(to_row(Item("v.mp4::t=1.000", data=pixels)))
    np.testing.assert_array_equal(back.data, pixels)
    assert back.fingerprint() == Item("v", data=pixels).fingerprint()
    failed = from_row(to_row(Item("gone", error=NotFoundError("There is no file gone."))))
    assert type(failed.error) is NotFoundError
    assert str(failed.error) == "There is no file gone."
    assert image_error("no such code", "x").code == "unreadable"


def test_a_record_read_back_is_the_same_line(tmp_path: Path) -> None:
    fill(tmp_path / "in", 8)
    for settings in ({}, {"abstain": True, "profile": "all"}, {"consistent": True, "profile": "all"}):
        for report in toy(write_toy_model(tmp_path / "toy.onnx"), **settings).stream(
            [tmp_path / "in", tmp_path / "gone.png"]
        ):
            line = record_line(report)
            assert record_line(Report.from_dict(json.loads(line))) == line


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=20),
    st.lists(st.sampled_from("abcdefgh"), max_size=10),
    st.integers(1, 3),
)
def test_what_is_wanted_is_the_shard_less_what_is_done(given_: list[str], done: list[str], parts: int) -> None:
    """Oracle: of every source in the shard, as many as were given less as many as are done; shards are apart and
    together all."""
    counted = Counter(given_) - Counter(done)
    found: Counter[str] = Counter()
    for part in range(1, parts + 1):
        wanted = Wanted((part, parts), Counter(short_hash(name) for name in done))
        names = [item.source for item in wanted.of(Item(name) for name in given_)]
        assert all(in_shard(name, (part, parts)) for name in names)
        found.update(names)
    assert found == counted


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder of five photos, the same in a tar file and in a Parquet table; stand beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = fill(tmp_path / "in", 5)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for path in paths:
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    with tarfile.open(tmp_path / "shard.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in" / "001.png", "001.png")
    pq.write_table(pa.table({"image": [path.read_bytes() for path in paths]}), tmp_path / "table.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_closed_listing_opens_to_the_same_items(tree: Path) -> None:
    given_ = ["in", "shard.tar", "./shard.tar.gz", "table.parquet", "gone.tar"]
    closed = list(items(given_, Reading(expand=False)))
    assert [item.source for item in closed if item.closed] == given_[1:]
    whole = [found for item in closed for found in (opened(item) if item.closed else [item])]
    assert [(item.source, item.fingerprint()) for item in whole] == [
        (item.source, item.fingerprint()) for item in items(given_)
    ]
    assert not any(item.closed for item in whole)
    rows = listed(items([*given_, "shard.tar"], Reading(expand=False)), Wanted())
    assert {from_row(row).source: row["times"] for row in rows if row["closed"]} == {
        name: 1 + (name == "shard.tar") for name in given_[1:]
    }


@pytest.mark.skipif(sys.platform == "win32", reason="addresses of local files are written otherwise there")
def test_an_address_gives_what_the_file_gives(tree: Path) -> None:
    """file:// goes through the same door as s3://: PyArrow's file systems."""
    for name in ("in", "shard.tar", "shard.tar.gz", "table.parquet", "in/001.png"):
        remote, local = (list(items([f"{base}{name}"])) for base in (f"file://{tree}/", f"{tree}/"))
        assert [item.source for item in remote] == [f"file://{item.source}" for item in local]
        for one, other in zip(remote, local, strict=True):
            assert one.data == (other.data if other.path is None else other.path.read_bytes())
    (gone,) = items([f"file://{tree}/gone.png"])
    assert gone.error is not None
    assert gone.error.code == "not_found"


def test_an_address_that_nothing_opens(tree: Path) -> None:
    with pytest.raises(UsageError, match="s3://"):
        list(items(["nowhere://bucket/a.png"]))
    check_inputs(["in/001.png"])


def test_without_ray_one_sentence_names_the_install(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(app, ["analyze", "in", "--engine", "ray", "--jsonl", "out.jsonl"])
    assert done.exit_code == 2
    assert (
        done.output.strip()
        == "lineament: This needs Ray, which is not installed. Install it with: pip install 'lineament[scale]'"
    )
    assert not Path("out.jsonl").exists()
    assert CliRunner().invoke(app, ["analyze", "in", "--engine", "spark"]).exit_code == 2


def test_an_address_that_cannot_be_opened_is_said_before_any_output(tree: Path) -> None:
    done = CliRunner().invoke(app, ["analyze", "nowhere://bucket/a.png", "--jsonl", "out.jsonl"])
    assert done.exit_code == 2
    assert not Path("out.jsonl").exists()


def test_a_cluster_that_does_not_start_is_one_sentence(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra [scale]")

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")

    monkeypatch.setattr(ray, "init", late)
    done = CliRunner().invoke(app, ["analyze", "in", "--engine", "ray", "--jsonl", "out.jsonl"])
    assert done.exit_code == 2
    assert done.output.startswith(
        "lineament: Ray could not start a cluster on this machine: The current node timed out during startup. Use"
    )
