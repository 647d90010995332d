"""What fuzzing found and once ended a run with a traceback (`benchmarks/fuzz.py`), and a short run of each reader."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lineament.data.lfwa import LFWA
from lineament.errors import DataError
from lineament.evaluation.predictions import load
from lineament.inputs.given_faces import GivenFaces

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.fuzz import fuzz
from benchmarks.fuzz_readers import READERS

NEEDS = {"http": ("starlette", "python_multipart", "prometheus_client"), "parquet": ("pyarrow",), "queries": ("lark",)}


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_short_run_of_each_reader_finds_nothing(reader: str) -> None:
    for module in NEEDS.get(reader, ()):
        pytest.importorskip(module)
    found = fuzz(reader, 60, 5)
    assert found["found"] == []
    assert sum(found["outcomes"].values()) >= 60


@pytest.mark.parametrize("name", ["b.csv", "b.jsonl"])
def test_boxes_in_no_encoding_at_all(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(
        b'{"source": "a\xc6.jpg", "x1": 1}\n' if name.endswith("l") else b"source,x1\na\xc6.jpg,1\n"
    )
    with pytest.raises(DataError, match="lacks y1"):
        GivenFaces(tmp_path / name)


def test_json_nested_beyond_reason_and_labels_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match="line 1 is not JSON"):
        GivenFaces(tmp_path / "b.jsonl")
    (tmp_path / "lfw_att_40.txt").write_bytes(b"1\nSmiling\n\n")
    with pytest.raises(DataError, match="name no photo"):
        LFWA(tmp_path)


def test_boxes_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes("source,x1,y1,x2,y2\r\nфото.jpg,1,2,30,40\r\n".encode("utf-16"))
    assert len(GivenFaces(tmp_path / "b.csv")(np.zeros((50, 50, 3), np.uint8), "фото.jpg")) == 1


def test_parquet_of_odd_names_and_types(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from lineament.data.hub_parquet import HubParquet
    from lineament.inputs.expand import items

    pq.write_table(pa.table({"": ["a"], "Smiling": [1]}), tmp_path / "t.parquet")
    (item,) = items([str(tmp_path / "t.parquet")])
    assert item.error is not None
    pq.write_table(pa.table({"file": [["a"], ["b"]], "image": [b"x", b"y"], "Smiling": [1, 0]}), tmp_path / "t.parquet")
    assert HubParquet(tmp_path / "t.parquet").table.files == ("['a']", "['b']")
    for table in (
        pa.table({"file": ["a"], "raw_Smiling": [{"x": 1}]}),
        pa.table({"file": ["a"], "raw_Smiling": [[0.5]]}),
    ):
        pq.write_table(table, tmp_path / "p.parquet")
        with pytest.raises(DataError, match="not a number"):
            load(tmp_path / "p.parquet")
    metadata = pa.table({"file": ["a"], "raw_Smiling": [0.5]}).replace_schema_metadata({b"lineament": b"{"})
    pq.write_table(metadata, tmp_path / "p.parquet")
    assert load(tmp_path / "p.parquet").meta == {}
