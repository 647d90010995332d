"""`evaluate` on the tables and shards that people have: pictures kept elsewhere, without names, without a file, in any
shape."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def score(*arguments: Any) -> dict[str, Any]:
    done = run("evaluate", *arguments, "--json", "-", "--quiet")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((218, 178, 3), level, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_shards_without_paths_with_plain_bytes_and_with_a_row_of_text(model: Path, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = [jpeg(20), jpeg(200)]
    null_paths = pa.array([{"bytes": one, "path": None} for one in data])
    for column, labels in (
        (null_paths, "Smiling"),
        (pa.array(data), "SMILING"),
        (pa.array([[one] for one in data]), "smiling"),
    ):
        pq.write_table(pa.table({"image": column, labels: [True, False]}), tmp_path / "t.parquet")
        card = score(tmp_path / "t.parquet", "--layout", "parquet", "--model", model)
        assert (card["images"], card["missing"], card["attributes"]["Smiling"]["images"]) == (2, 0, 2)
    mixed = pa.array([{"bytes": "text", "path": None}, {"bytes": "more", "path": None}])
    pq.write_table(pa.table({"image": mixed, "Smiling": [True, False]}), tmp_path / "t.parquet")
    done = run("evaluate", tmp_path / "t.parquet", "--layout", "parquet", "--model", model)
    assert done.exit_code == 2
    assert "2 cannot be read" in done.stderr


def test_images_elsewhere_for_every_layout(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "lists").mkdir()
    for name, level in (("a.jpg", 20), ("b.jpg", 200)):
        (tmp_path / "photos" / name).write_bytes(jpeg(level))
    (tmp_path / "lists" / "labels.csv").write_text(
        "Image_ID,SMILING,split\na.jpg,1,train\nb.jpg,-1,validation\n", "utf-16"
    )
    (tmp_path / "lists" / "list_attr_celeba.txt").write_text("2\nSmiling Male\na.jpg 1 1\nb.jpg -1 1\n")
    flags = ("--images", tmp_path / "photos", "--model", model, "--align", "stored")
    for data, layout in ((tmp_path / "lists" / "labels.csv", "table"), (tmp_path / "lists", "official")):
        assert score(data, "--layout", layout, *flags)["images"] == 2
        assert run("evaluate", data, "--layout", layout, "--model", model).exit_code == 2, "they are not beside it"
    assert score(tmp_path / "lists" / "labels.csv", "--layout", "table", "--split", "val", *flags)["images"] == 1
    done = run("evaluate", tmp_path / "lists", "--images", tmp_path / "gone", "--model", model)
    assert (done.exit_code, "no such folder" in done.stderr) == (2, True)
    done = run("evaluate", tmp_path / "lists", "--split", "validation", "--model", model)
    assert (done.exit_code, "use --split val" in done.stderr) == (2, True)
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "Smiling": [1, 0]}), tmp_path / "lists" / "t.parquet")
    assert score(tmp_path / "lists" / "t.parquet", "--layout", "parquet", *flags)["images"] == 2


def test_a_file_that_goes_or_may_not_be_read_ends_no_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineament.data.table import LabelTable

    for name, level in (("a.jpg", 20), ("b.jpg", 200)):
        (tmp_path / name).write_bytes(jpeg(level))
    (tmp_path / "labels.csv").write_text("file,Smiling\na.jpg,1\nb.jpg,0\n")
    read = LabelTable.read_bytes

    def fails(self: LabelTable, row: int) -> bytes:
        if row == 0:
            raise PermissionError(13, "Permission denied")
        return read(self, row)

    monkeypatch.setattr(LabelTable, "read_bytes", fails)
    card = score(tmp_path / "labels.csv", "--layout", "table", "--align", "stored", "--model", model)
    assert (card["images"], card["missing"], card["unreadable"]) == (1, 1, ["a.jpg"])
