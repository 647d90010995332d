"""What people met in the field: terminals that cannot encode a name, tables of boxes that name nothing, folders without
photos, own names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from analyze_kit import photo, save
from PIL import Image
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import UsageError
from lineament.schema import parse_names

ROOT = Path(__file__).resolve().parents[2]
NAME = "Фото é 😀.png"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def run(folder: Path, *arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "lineament", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_that_cannot_encode_a_name_shows_its_escapes(encoding: str, model: str, tmp_path: Path) -> None:
    save(tmp_path / "in" / NAME, photo(0, size=(218, 178)))
    table = run(tmp_path, "analyze", "in", "--model", model, "--faces", "aligned", encoding=encoding)
    assert table.returncode == 0, table.stderr
    assert b"Traceback" not in table.stderr
    assert b"\\u0424" in table.stdout
    for kind in ("--json", "--jsonl", "--csv"):
        data = run(tmp_path, "analyze", "in", "--model", model, "--faces", "aligned", kind, "-", encoding=encoding)
        assert data.returncode == 0, data.stderr
        text = data.stdout.decode("utf-8")
        assert NAME in (text if kind == "--csv" else json.dumps(json.loads(text), ensure_ascii=False))
    missing = run(tmp_path, "analyze", "нет.jpg", "--model", model, encoding=encoding)
    assert missing.returncode == 3
    assert b"Traceback" not in missing.stderr


def test_boxes_that_name_no_photo_are_said_with_both_names(model: str, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", photo(1))
    table = tmp_path / "boxes.csv"
    source = str(tmp_path / "in" / "a.png")
    given = [
        "analyze",
        source,
        "--model",
        model,
        "--boxes",
        str(table),
        "--jsonl",
        str(tmp_path / "o.jsonl"),
        "--quiet",
    ]
    table.write_text("source,x1,y1,x2,y2\nb.png,8,8,40,48\n")
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0
    assert "Warning" in result.stderr
    assert "'b.png'" in result.stderr
    assert repr(source) in result.stderr
    table.write_text(f"source,x1,y1,x2,y2\n{source},8,8,40,48\nb.png,8,8,40,48\n")
    assert "Warning" not in CliRunner().invoke(app, given).stderr


@pytest.mark.parametrize(
    ("names", "word"), [(["a.CR2", "b.nef"], "raw"), (["a.mp4"], "video"), (["a.tar"], "archives"), (["a.txt"], None)]
)
def test_a_folder_without_photos_says_what_is_there(
    names: list[str], word: str | None, model: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(b"something")
    (tmp_path / "in" / "._hidden.CR2").write_bytes(b"x")
    told = CliRunner().invoke(app, ["analyze", str(tmp_path / "in"), "--model", model]).stderr
    assert "No photos found" in told
    assert (word is None) == ("of the files there" not in told)
    assert word is None or (word in told and str(len(names)) in told)


def test_own_names_in_lists_and_in_the_index(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    pytest.importorskip("lark")
    own = ("Wears glasses", "Grinst, breit", 'Says "hi"')
    model = str(write_toy_model(tmp_path / "own.onnx", own))
    portrait = Image.open(ROOT / "lineament" / "weights" / "astronaut.jpg")
    save(tmp_path / "in" / "a.png", np.asarray(portrait))
    record = tmp_path / "o.json"
    listed = '"Grinst, breit","Says ""hi"""'
    done = CliRunner().invoke(
        app, ["analyze", str(tmp_path / "in"), "--model", model, "--attributes", listed, "--json", str(record)]
    )
    assert done.exit_code == 0, done.output
    assert list(json.loads(record.read_text())[0]["faces"][0]["attributes"]) == ["Grinst, breit", 'Says "hi"']
    db = str(tmp_path / "i.duckdb")
    assert CliRunner().invoke(app, ["index", str(tmp_path / "in"), "--db", db, "--model", model]).exit_code == 0
    for name in own:
        word = "'" + name + "'"
        hits = [CliRunner().invoke(app, ["search", db, query, "--json", "-"]).stdout for query in (word, f"not {word}")]
        assert sum("a.png" in found for found in hits) == 1


def test_lists_of_names() -> None:
    assert parse_names(' Smiling ,"a, b",, Bald') == ("Smiling", "a, b", "Bald")
    assert parse_names("") == ()
    with pytest.raises(UsageError, match="double quotes"):
        parse_names('"a, b')
