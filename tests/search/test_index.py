"""Searching an index: what comes back, what never does, and how it is shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("duckdb")
pytest.importorskip("lark")

from lineament.errors import DataError, UsageError
from lineament.files import sha256_of
from lineament.schema import CELEBA_40, SENSITIVE, in_profile
from lineament.search.build import build_index
from lineament.search.index import Index
from lineament.search.query import QueryError, parse
from lineament.search.sql import scores, where_mask
from lineament.types import Report
from tests.search_toys import ToyModel, photo, toy_card

MANY = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[tuple[str, int, np.ndarray]]]:
    """An index, its folder, and its faces (path, face, probs (40,) float32) in order."""
    root = tmp_path_factory.mktemp("find")
    for i in range(MANY):
        photo(root / "photos" / f"IMG_{i:03}.jpg", i)
    model = ToyModel()
    build_index(root / "photos", root / "a.duckdb", model)
    faces = []
    for path in sorted((root / "photos").resolve().iterdir()):
        for i, found in enumerate(model.analyze_path(str(path)).faces):
            faces.append((str(path), i, np.array([a.prob for a in found.attributes.values()], np.float32)))
    return root / "a.duckdb", root / "photos", faces


@pytest.mark.parametrize(
    "text", ["smiling", "smiling or bald and not bangs^2", "bangs > 0.3 and bangs < 0.8", "", "not (smiling or bald)"]
)
@pytest.mark.parametrize("loose", [False, True])
def test_hits_are_the_oracle_s(made: Any, text: str, loose: bool) -> None:
    db, _, faces = made
    probs = np.array([p for _, _, p in faces])
    tree = parse(text).where
    keep, value = where_mask(tree, probs, CELEBA_40, {}, loose=loose), scores(tree, probs, CELEBA_40)
    order = sorted(np.flatnonzero(keep), key=lambda i: -value[i])
    with Index(db) as index:
        found = index.search(text, loose=loose, limit=7)
    assert [(hit.path, hit.face) for hit in found.hits] == [faces[i][:2] for i in order[:7]]
    np.testing.assert_allclose([hit.score for hit in found.hits], value[order[:7]], atol=1e-9)
    assert (found.matched, found.photos, found.indexed_faces) == (
        keep.sum(),
        len({faces[i][0] for i in order}),
        len(faces),
    )


def test_sorting(made: Any) -> None:
    db, _, faces = made
    with Index(db) as index:
        by_file = [hit.path for hit in index.search("sort by file desc").hits]
        by_bangs = [hit.attributes["Bangs"] for hit in index.search("sort by bangs asc").hits]
    assert by_file == sorted((path for path, _, _ in faces), reverse=True)
    assert by_bangs == sorted(by_bangs)


@pytest.mark.parametrize("profile", ["default", "all"])
def test_only_the_profile_s_attributes_come_back(made: Any, profile: str) -> None:
    with Index(made[0]) as index:
        record = index.search("smiling", profile=profile).to_dict()
    assert tuple(record["hits"][0]["attributes"]) == in_profile(profile)
    assert (SENSITIVE & set(json.dumps(record).split('"')) == set()) == (profile == "default")


def test_left_out_names_are_refused_in_every_way_of_searching(made: Any) -> None:
    with Index(made[0]) as index:
        report = ToyModel().analyze_path(made[2][0][0])
        for ask in (
            lambda: index.search("male"),
            lambda: index.search("sort by male"),
            lambda: index.like(report, "but with male"),
            lambda: index.best_shots("male"),
        ):
            with pytest.raises(QueryError, match="Male is left out of the profile"):
                ask()
        assert index.search("male", profile="all").hits


def test_thresholds_may_change_without_computing_again(made: Any, tmp_path: Path) -> None:
    db, folder, faces = made
    smiling = np.array([p[CELEBA_40.index("Smiling")] for _, _, p in faces])
    with Index(db) as index:
        for t in (0.1, 0.9):
            assert index.search("smiling", thresholds={"Smiling": t}).matched == (smiling >= np.float32(t)).sum()
    model = ToyModel("toy@22222222")
    model.card = toy_card(thresholds={"Smiling": 0.9})
    build_index(folder, tmp_path / "b.duckdb", model)
    with Index(tmp_path / "b.duckdb") as index:
        assert index.search("smiling").matched == (smiling >= np.float32(0.9)).sum()


def test_like_finds_the_photo_s_twin_and_honours_the_change(made: Any) -> None:
    db, _, faces = made
    path = faces[0][0]
    report = ToyModel().analyze_path(path)
    with Index(db) as index:
        assert index.like(report).hits[0].path == path
        assert index.like(report).hits[0].score == pytest.approx(1.0, abs=1e-6)
        others = index.like(report, exclude_sha256=sha256_of(path)).hits
        assert path not in {hit.path for hit in others}
        changed = index.like(report, "but with mustache and without bald").hits
        assert changed
        assert all(hit.attributes["Mustache"] >= 0.5 > hit.attributes["Bald"] for hit in changed)
        with pytest.raises(UsageError, match="was read by other@1"):
            index.like(replace(report, model="other@1"))
        with pytest.raises(UsageError, match="face 9 is not among them"):
            index.like(report, face=9)
        with pytest.raises(UsageError, match="of no picture"):
            index.like(Report("x", "unreadable", "toy", "all", error=("unreadable", "The bytes are of no picture.")))


def test_like_looks_only_at_the_profile(made: Any) -> None:
    db, _, faces = made
    report = ToyModel().analyze_path(faces[0][0])
    answers = dict(report.faces[0].attributes)
    for name in SENSITIVE:
        answers[name] = replace(answers[name], prob=1 - answers[name].prob)
    turned = replace(report, faces=(replace(report.faces[0], attributes=answers), *report.faces[1:]))
    with Index(db) as index:
        assert [hit.to_dict() for hit in index.like(turned).hits] == [hit.to_dict() for hit in index.like(report).hits]
        assert index.like(turned, profile="all").hits[0].score < 0.9


def test_no_index_no_answer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lineament index FOLDER"):
        Index(tmp_path / "nowhere.duckdb")
    import duckdb

    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(DataError, match="is empty"):
        Index(tmp_path / "empty.duckdb")


def test_an_index_from_a_stranger_cannot_read_other_files(tmp_path: Path, made: Any) -> None:
    import duckdb

    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    shutil.copy(made[0], tmp_path / "evil.duckdb")
    with duckdb.connect(str(tmp_path / "evil.duckdb")) as con:
        con.execute("ALTER TABLE roots RENAME TO old")
        con.execute(
            f"CREATE VIEW roots AS SELECT root_id, (SELECT content::BLOB FROM read_text('{secret}')) AS path FROM old"
        )
    with pytest.raises((DataError, duckdb.Error)) as caught, Index(tmp_path / "evil.duckdb") as index:
        index.search("smiling")
    assert "secret" not in str(caught.value).replace(str(secret), "")


# --- the commands
# -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    api = pytest.importorskip("lineament.api")
    pytest.importorskip("lineament.images")
    from typer.testing import CliRunner

    from lineament.cli import app

    class Loaded(ToyModel):
        def analyze(self, path: Path) -> Report:
            return self.analyze_path(str(path))

    monkeypatch.setattr(api, "load", lambda *args, **kwargs: Loaded())
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


def test_commands_from_folder_to_gallery(run: Callable[..., Any], tmp_path: Path) -> None:
    for i in range(6):
        photo(tmp_path / "p" / f"{i}.jpg", i)
    db = tmp_path / "a.duckdb"
    first = run("index", tmp_path / "p", "--db", db)
    assert first.exit_code == 0, first.output
    assert "6 added" in first.stderr
    (tmp_path / "p" / "bad.jpg").write_bytes(b"BAD")
    assert run("index", tmp_path / "p", "--db", db).exit_code == 3
    assert run("index", tmp_path / "p", "--db", db, "--max-failed", "1", "--quiet").output == ""
    outputs = ["--html", tmp_path / "g.html", "--sheet", tmp_path / "s.png"]
    found = run("search", db, "smiling or not smiling", "--json", "-", *outputs)
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout)
    assert record["matched_faces"] == len(record["hits"]) > 0
    assert "data:image/jpeg" in (tmp_path / "g.html").read_text("utf-8")
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.format == "PNG"
    assert "Score" in run("search", db, "sort by smiling").stdout
    liked = run("search", db, "but without bald", "--like", record["hits"][0]["file"])
    assert liked.exit_code == 0, liked.output
    assert run("search", db, "--best-shot").exit_code == 0


def test_wrong_usage_of_search_is_status_2_and_points(run: Callable[..., Any], tmp_path: Path, made: Any) -> None:
    for args, reason in (
        ((made[0], "smilling"), "^^^^^^^^"),
        ((made[0], "male"), "profile"),
        ((tmp_path / "no.duckdb", "bald"), "lineament index"),
        ((made[0], "--best-shot", "--loose"), "Leave one out"),
        ((made[0], "bald", "--thresholds", made[1] / "IMG_000.jpg"), "holds no thresholds"),
    ):
        result = run("search", *args)
        assert (result.exit_code, reason in result.stderr, result.stdout) == (2, True, ""), result.output


def test_thresholds_file(run: Callable[..., Any], tmp_path: Path, made: Any) -> None:
    file = tmp_path / "t.json"
    counts = []
    for t in (0.0, 1.0):
        file.write_text(json.dumps({"smiling": t}))
        counts.append(
            json.loads(run("search", made[0], "smiling", "--thresholds", file, "--json", "-").stdout)["matched_faces"]
        )
    assert counts == [len(made[2]), 0]


def test_undecodable_names_survive_the_json(run: Callable[..., Any], tmp_path: Path) -> None:
    try:
        for seed in range(4):
            path = photo(tmp_path / "p" / "x.jpg", seed)
            path.rename(path.with_name(f"{seed}\udcffé.jpg"))
    except OSError:
        pytest.skip("this file system refuses undecodable names")
    run("index", tmp_path / "p", "--db", tmp_path / "a.duckdb")
    hits = json.loads(run("search", tmp_path / "a.duckdb", "--json", "-").stdout)["hits"]
    assert {Path(hit["file"]).exists() for hit in hits} == {True}
    assert all(hit["file"].endswith("\udcffé.jpg") for hit in hits)


def test_interrupt_is_130(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Any, sources: Iterable[str], /, *, after: Any) -> Iterator[Report]:
        raise KeyboardInterrupt
        yield

    photo(tmp_path / "p" / "x.jpg", 1)
    monkeypatch.setattr(ToyModel, "stream", stopped)
    assert run("index", tmp_path / "p", "--db", tmp_path / "a.duckdb").exit_code == 130
