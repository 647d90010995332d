"""Pages of hits: they concatenate to the whole, whatever their size; hits as CSV and Parquet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from search_toys import ToyModel, photo
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import UsageError
from lineament.search.build import build_index
from lineament.search.hit_table import write_json
from lineament.search.index import Index, Ranked


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paging")
    for i in range(40):
        photo(folder / "photos" / f"{i:03}.png", i)
    build_index(folder / "photos", folder / "faces.duckdb", ToyModel(), threads=1)
    return folder / "faces.duckdb"


@pytest.mark.parametrize("query", ["", "smiling", "smiling or bangs sort by bald asc"])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_pages_concatenate_to_the_whole(query: str, size: int, db: Path) -> None:
    with Index(db, threads=1) as index:
        whole = index.search(query, limit=10_000)
        pages = [index.search(query, limit=size, offset=offset) for offset in range(0, whole.matched + size, size)]
    assert [hit for page in pages for hit in page.hits] == list(whole.hits)
    assert len(whole.hits) == whole.matched
    assert [page.more for page in pages] == [page.offset + size < whole.matched for page in pages]
    ranks = [hit["rank"] for page in pages for hit in page.to_dict()["hits"]]
    assert ranks == list(range(1, whole.matched + 1))


def test_an_offset_below_zero_is_refused(db: Path) -> None:
    with Index(db, threads=1) as index, pytest.raises(UsageError, match="--offset"):
        index.search("", offset=-1)


def test_hits_as_tables_say_what_json_says(db: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    outs = [f"--{kind}={tmp_path / f'hits.{kind}'}" for kind in ("json", "csv", "parquet")]
    done = CliRunner().invoke(app, ["search", str(db), "smiling", "--limit", "5", "--offset", "3", *outs])
    assert done.exit_code == 0, done.output
    assert "4 to 8 shown" in done.output
    hits = json.loads((tmp_path / "hits.json").read_text())["hits"]
    rows = list(csv.DictReader((tmp_path / "hits.csv").open()))
    table = parquet.read_table(tmp_path / "hits.parquet").to_pylist()
    assert (
        [hit["rank"] for hit in hits]
        == [int(row["rank"]) for row in rows]
        == [row["rank"] for row in table]
        == [4, 5, 6, 7, 8]
    )
    assert [hit["file"] for hit in hits] == [row["file"] for row in rows] == [row["file"] for row in table]
    assert (
        [hit["attributes"]["Smiling"] for hit in hits]
        == [float(row["prob_Smiling"]) for row in rows]
        == [row["prob_Smiling"] for row in table]
    )
    assert [hit["box_xyxy"] for hit in hits] == [[row[name] for name in ("x1", "y1", "x2", "y2")] for row in table]


@pytest.mark.parametrize("query", ["smiling sort by bald", "smiling > 0.99999"])
def test_parts_write_what_the_whole_would(
    query: str, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index(db, threads=1) as index:
        whole = index.search(query, limit=30, offset=2)
        monkeypatch.setattr(Ranked.parts, "__defaults__", (4,))
        ranked = index.rank(query, limit=30, offset=2)
        assert [hit for part in ranked.parts() for hit in part.hits] == list(whole.hits)
        with (tmp_path / "hits.json").open("wb") as file:
            write_json(ranked, file)
    assert (tmp_path / "hits.json").read_text("utf-8") == json.dumps(
        whole.to_dict(), indent=2, ensure_ascii=False
    ) + "\n"


def page_of_files(
    db: Path, folder: Path, offset: int, size: int
) -> tuple[list[dict[str, object]], list[str], list[dict[str, object]]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    outs = [f"--{kind}={folder / f'page.{kind}'}" for kind in ("json", "csv", "parquet", "html")]
    done = CliRunner().invoke(app, ["search", str(db), "smiling", f"--limit={size}", f"--offset={offset}", *outs])
    assert done.exit_code == 0, done.output
    lines = (folder / "page.csv").read_text("utf-8").splitlines()[1:]
    html = (folder / "page.html").read_text("utf-8")
    assert all(f">{rank}. score" in html for rank in range(offset + 1, offset + 1 + len(lines))), (
        "the gallery counts on from the page before"
    )
    return (
        json.loads((folder / "page.json").read_text("utf-8"))["hits"],
        lines,
        parquet.read_table(folder / "page.parquet").to_pylist(),
    )


def test_pages_of_the_command_put_together_are_the_whole_result_in_every_file(db: Path, tmp_path: Path) -> None:
    whole = page_of_files(db, tmp_path, 0, 1000)
    total = len(whole[0])
    pages = [page_of_files(db, tmp_path, offset, 3) for offset in range(0, total + 3, 3)]
    for kind, everything in enumerate(whole):
        assert [row for page in pages for row in page[kind]] == everything
    assert total > 6


def test_no_hits_are_tables_with_a_header(db: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    outs = [f"--csv={tmp_path / 'a.csv'}", f"--parquet={tmp_path / 'a.parquet'}"]
    assert CliRunner().invoke(app, ["search", str(db), "smiling > 0.99999", *outs]).exit_code == 0
    assert (tmp_path / "a.csv").read_text().startswith("rank,file,face,score")


def test_an_output_that_is_a_folder_is_refused(db: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["search", str(db), "smiling", "--csv", str(tmp_path)]).exit_code == 2
