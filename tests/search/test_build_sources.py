"""An index from what `analyze` wrote, from tables and from archives: the same answers as from the folder, kept true and
erased likewise."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from analyze_kit import photo, save
from toy_model import write_toy_model
from typer.testing import CliRunner, Result

from lineament.cli import app
from lineament.errors import DataError, UsageError
from lineament.search.build_sources import build_from_records
from lineament.search.erase import forget
from lineament.search.index import Index

COUNT = 6


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def run(network: Path, command: str, *arguments: object) -> Result:
    done = CliRunner().invoke(app, [command, *map(str, arguments), "--model", str(network)])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for i in range(COUNT):
        save(tmp_path / "in" / f"{i}.png", photo(0, seed=i, size=(218, 178)))
    rows = [{"key": 10 + i, "shop": "north", "path": f"in/{i}.png"} for i in range(COUNT)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(tmp_path / "in", "in")
    return tmp_path


def probs(db: Path) -> dict[str, dict[str, float]]:
    with Index(db, threads=1) as index:
        return {hit.path: dict(hit.attributes) for hit in index.search("", profile="all", limit=100).hits}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_records_become_an_index_with_their_keys(kind: str, network: Path, photos: Path) -> None:
    out, db = photos / f"out.{kind}", photos / "faces.duckdb"
    keys = ["--path-column", "path", "--id", "key", "--keep-columns", "shop"]
    run(network, "analyze", photos / "t.parquet", *keys, "--faces", "aligned", "--profile", "all", f"--{kind}", out)
    assert f"{COUNT} added" in run(network, "index", "--from", out, "--db", db).output
    assert f"0 added, 0 changed, {COUNT} unchanged" in run(network, "index", "--from", out, "--db", db).output
    with Index(db, threads=1) as index:
        hits = {hit.path: hit for hit in index.search("", profile="all").hits}
    assert {path: (hit.id, hit.columns) for path, hit in hits.items()} == {
        str(photos / "in" / f"{i}.png"): (str(10 + i), {"shop": "north"}) for i in range(COUNT)
    }
    run(
        network,
        "analyze",
        photos / "t.parquet",
        *keys,
        "--faces",
        "aligned",
        "--profile",
        "all",
        "--jsonl",
        photos / "again.jsonl",
    )
    for line in (photos / "again.jsonl").read_text().splitlines():
        record = json.loads(line)
        shown = {name: round(prob, 4) for name, prob in hits[record["source"]].attributes.items()}
        assert shown == {name: answer["prob"] for name, answer in record["faces"][0]["attributes"].items()}


def test_records_that_are_gone_leave_the_index_and_its_bytes(network: Path, photos: Path) -> None:
    out, db = photos / "out.jsonl", photos / "faces.duckdb"
    run(network, "analyze", photos / "in", "--faces", "aligned", "--jsonl", out)
    run(network, "index", "--from", out, "--db", db)
    out.write_text("".join(out.read_text().splitlines(keepends=True)[2:]))
    assert "2 removed" in run(network, "index", "--from", out, "--db", db).output
    assert str(photos / "in" / "0.png").encode() not in db.read_bytes()
    assert forget(db, [photos / "in" / "5.png"]).photos == 1
    assert str(photos / "in" / "5.png").encode() not in db.read_bytes()


KILLED = """
import os, sys
from pathlib import Path
from lineament.runtime.onnx_file import read_card
from lineament.search import build_sources

def progress(done, total):
    if done == 5:
        os._exit(9)

build_sources.RECORDS_BATCH = 2
network, model, records, db = sys.argv[1:]
build_sources.build_from_records(records, db, model, read_card(Path(network)), progress=progress)
"""


def test_a_kill_in_the_middle_of_the_records_goes_on_from_there(network: Path, photos: Path) -> None:
    out, db = photos / "out.jsonl", photos / "killed.duckdb"
    run(network, "analyze", photos / "in", "--faces", "aligned", "--profile", "all", "--jsonl", out)
    model = json.loads(out.read_text().splitlines()[0])["model"]
    done = subprocess.run([sys.executable, "-c", KILLED, network, model, out, db], check=False)
    assert done.returncode == 9
    assert f"2 added, 0 changed, {COUNT - 2} unchanged" in run(network, "index", "--from", out, "--db", db).output
    run(network, "index", "--from", out, "--db", photos / "whole.duckdb")
    assert probs(db) == probs(photos / "whole.duckdb")
    assert len(probs(db)) == COUNT


def test_an_interrupt_keeps_the_records_that_were_read(network: Path, photos: Path) -> None:
    from lineament.runtime.onnx_file import read_card

    def progress(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    out, db = photos / "out.jsonl", photos / "faces.duckdb"
    run(network, "analyze", photos / "in", "--faces", "aligned", "--profile", "all", "--jsonl", out)
    model = json.loads(out.read_text().splitlines()[0])["model"]
    with pytest.raises(KeyboardInterrupt):
        build_from_records(out, db, model, read_card(network), progress=progress)
    assert f"{COUNT - 3} added, 0 changed, 3 unchanged" in run(network, "index", "--from", out, "--db", db).output


def test_photos_of_a_store_and_of_an_archive_have_a_place_in_the_gallery(network: Path, photos: Path) -> None:
    out, db = photos / "out.jsonl", photos / "faces.duckdb"
    run(network, "analyze", photos / "in", "--faces", "aligned", "--jsonl", out)
    lines = out.read_text().splitlines(keepends=True)
    for number, place in enumerate(
        ("s3://shop/a.png", "https://shop.example/a.png", f"{photos}/t.tar::in/2.png", "javascript://a%0aalert(1)")
    ):
        lines[number] = json.dumps(json.loads(lines[number]) | {"source": place}) + "\n"
    out.write_text("".join(lines))
    run(network, "index", "--from", out, "--db", db)
    assert CliRunner().invoke(app, ["search", str(db), "", "--html", str(photos / "g.html")]).exit_code == 0
    page = (photos / "g.html").read_text("utf-8")
    assert 'href="https://shop.example/a.png"' in page
    assert 'href="s3:' not in page
    assert 'href="javascript' not in page
    assert page.count("it lies in an archive, a table or a store") == 4


def test_an_archive_and_a_table_become_an_index(network: Path, photos: Path) -> None:
    run(network, "index", photos / "in", "--db", photos / "folder.duckdb")
    run(network, "index", photos / "t.tar", "--db", photos / "tar.duckdb")
    table = ["--db", photos / "table.duckdb", "--path-column", "path", "--id", "key"]
    run(network, "index", photos / "t.parquet", *table)
    assert f"{COUNT} unchanged" in run(network, "index", photos / "t.parquet", *table).output
    folder, tar, named = (probs(photos / f"{name}.duckdb") for name in ("folder", "tar", "table"))
    assert named == folder
    assert {path.rpartition("/")[2]: found for path, found in tar.items()} == {
        path.rpartition("/")[2]: found for path, found in folder.items()
    }
    assert forget(photos / "tar.duckdb", [photos / "t.tar"]).photos == COUNT


@pytest.mark.slow
def test_processes_give_the_same_index(network: Path, photos: Path) -> None:
    run(network, "index", photos / "in", "--db", photos / "one.duckdb")
    run(network, "index", photos / "in", "--db", photos / "two.duckdb", "--processes", "2")
    assert probs(photos / "one.duckdb") == probs(photos / "two.duckdb")


def test_what_cannot_be_taken_in_is_said(network: Path, photos: Path) -> None:
    from lineament.runtime.onnx_file import read_card

    out, db = photos / "out.jsonl", photos / "faces.duckdb"
    run(network, "analyze", photos / "in", "--faces", "aligned", "--jsonl", out)
    card = read_card(network)
    with pytest.raises(UsageError, match="--model"):
        build_from_records(out, db, "other@00000000", card)
    (photos / "thesis.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="no records"):
        build_from_records(photos / "thesis.jsonl", photos / "b.duckdb", "other@00000000", card)
    assert CliRunner().invoke(app, ["index", "--db", str(db)]).exit_code == 2
    assert CliRunner().invoke(app, ["index", str(photos / "in" / "0.png"), "--db", str(db)]).exit_code == 2
