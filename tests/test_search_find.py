"""Searching an index: what comes back, what never does, and how it is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("duckdb")
pytest.importorskip("lark")

from lineament.errors import DataError, UsageError
from lineament.schema import CELEBA_40, SENSITIVE, in_profile
from lineament.search.compile import scores, where_mask
from lineament.search.find import Found, Hit, Index
from lineament.search.index import build_index
from lineament.search.query import QueryError, parse
from lineament.search.scan import sha256_of_photo
from lineament.search.scenes import Shot, bursts, difference_hash, rank_burst
from lineament.search.show import Thumbnail, contact_sheet, table, visible
from lineament.types import Report
from tests.search_toys import ToyModel, face, photo, toy_card

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


@pytest.mark.parametrize("text", ["smiling", "smiling or bald and not bangs^2", "bangs > 0.3 and bangs < 0.8", "", "not (smiling or bald)"])
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
    assert (found.matched, found.photos, found.indexed_faces) == (keep.sum(), len({faces[i][0] for i in order}), len(faces))


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
        others = index.like(report, exclude_sha256=sha256_of_photo(path)).hits
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
        con.execute(f"CREATE VIEW roots AS SELECT root_id, (SELECT content::BLOB FROM read_text('{secret}')) AS path FROM old")
    with pytest.raises((DataError, duckdb.Error)) as caught, Index(tmp_path / "evil.duckdb") as index:
        index.search("smiling")
    assert "secret" not in str(caught.value).replace(str(secret), "")


# --- bursts -------------------------------------------------------------------------------------------------------------------


def shot(path: str, scene: int = 0, taken: float | None = None, smiling: tuple[float, ...] = (0.5,), sizes: tuple[float, ...] = (),
         eyes: tuple[float | None, ...] = ()) -> Shot:  # fmt: skip
    return Shot(hash(path), path, scene, taken, smiling, sizes or (30.0,) * len(smiling), eyes or (1.0,) * len(smiling))


def test_difference_hash_written_again_pixel_by_pixel() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 9), np.uint8)
    expected = 0
    for row in grey.astype(int):
        for x in range(8):
            expected = expected << 1 | int(row[x + 1] > row[x])
    assert difference_hash(np.repeat(grey[:, :, None], 3, 2)) == expected


def test_difference_hash_stands_resizing_and_brightness() -> None:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(30, 200, (12, 12, 3), np.uint8))
    large = np.asarray(coarse.resize((1200, 900), Image.Resampling.BICUBIC))
    small = np.asarray(coarse.resize((300, 225), Image.Resampling.BICUBIC))
    assert (difference_hash(large) ^ difference_hash(small)).bit_count() <= 4
    assert (difference_hash(large) ^ difference_hash((large // 2 + 40).astype(np.uint8))).bit_count() <= 4
    other = np.asarray(Image.fromarray(rng.integers(30, 200, (12, 12, 3), np.uint8)).resize((300, 225)))
    assert (difference_hash(small) ^ difference_hash(other)).bit_count() > 12


def test_bursts_need_one_scene_and_nearness() -> None:
    far = 0xFFFF_0000_0000_0000
    groups = bursts(
        [
            shot("a/IMG_1.jpg"), shot("a/IMG_2.jpg"), shot("a/IMG_4.jpg"),  # numbered, near
            shot("a/IMG_40.jpg"),  # numbered, far
            shot("b/IMG_5.jpg"),  # another folder
            shot("c/x.jpg", taken=100.0), shot("c/y.jpg", taken=104.5), shot("c/z.jpg", taken=300.0),
            shot("d/1.jpg"), shot("d/2.jpg", scene=far),  # another scene
            shot("e/one.jpg"), shot("e/two.jpg"),  # neither times nor numbers
        ]
    )  # fmt: skip
    assert [[s.path for s in group] for group in groups] == [["a/IMG_1.jpg", "a/IMG_2.jpg", "a/IMG_4.jpg"], ["c/x.jpg", "c/y.jpg"]]


def test_the_best_shot_is_where_everyone_smiles() -> None:
    both, one, lost = shot("1", smiling=(0.9, 0.8)), shot("2", smiling=(0.99, 0.1)), shot("3", smiling=(0.99,))
    assert [entry.shot.path for entry in rank_burst([one, lost, both])] == ["1", "3", "2"]
    assert [entry.smiling for entry in rank_burst([one, lost, both])] == pytest.approx([0.72, 0.495, 0.099])
    assert [entry.eyes_open for entry in rank_burst([one, lost, both])] == [1.0, 0.5, 1.0]
    passer_by = shot("4", smiling=(0.9, 0.8, 0.01), sizes=(60.0, 50.0, 10.0))
    assert rank_burst([passer_by, both])[0].score == pytest.approx(0.72)


def test_closed_eyes_lose_and_hidden_ones_count_half() -> None:
    shut, awake = shot("1", smiling=(0.99, 0.99), eyes=(0.9, 0.02)), shot("2", smiling=(0.6, 0.6), eyes=(0.9, 0.9))
    glasses = shot("3", smiling=(0.6, 0.6), eyes=(0.9, None))
    ranked = rank_burst([shut, awake, glasses])
    assert [entry.shot.path for entry in ranked] == ["2", "3", "1"]
    assert [entry.score for entry in ranked] == pytest.approx([0.36 * 0.81, 0.36 * 0.45, 0.9801 * 0.018])
    assert ranked[0].to_dict() == {"file": "2", "faces": 2, "score": 0.2916, "smiling": 0.36, "eyes_open": 0.81}


class Burst(ToyModel):
    """One face each; how much it smiles stands in the photo's name."""

    def analyze_path(self, path: str) -> Report:
        probs = np.full(40, 0.1)
        probs[CELEBA_40.index("Smiling")] = int(Path(path).stem[-2:]) / 100
        return Report(path, "ok", self.id, "all", (face(probs),), width=40, height=50)


def test_best_shots_from_an_index(tmp_path: Path) -> None:
    for name in ("s_10", "s_12", "s_11", "other_50"):
        photo(tmp_path / "p" / f"{name}.jpg", 1 if name[0] == "s" else 2)
    build_index(tmp_path / "p", tmp_path / "a.duckdb", Burst())
    with Index(tmp_path / "a.duckdb") as index:
        groups = index.best_shots()
        assert index.best_shots("bald") == []
    assert [[Path(entry.shot.path).stem for entry in group] for group in groups] == [["s_12", "s_11", "s_10"]]


def test_the_index_keeps_how_far_eyes_are_open(tmp_path: Path) -> None:
    """Three photos of one look; the one that smiles most has its eyes closed, one shows a single eye."""
    lids = {10: (0.4, 0.4), 11: (0.4, float("nan")), 12: (0.02, 0.02)}
    for number in lids:
        photo(tmp_path / "p" / f"s_{number}.jpg", 1)
        (tmp_path / "p" / f"s_{number}.jpg").open("ab").write(bytes([number]))  # other bytes, the same picture
    order = iter(sorted(lids))  # the toy model takes photos in order
    build_index(tmp_path / "p", tmp_path / "a.duckdb", Burst(), read_eyes=lambda pixels, points: np.array([lids[next(order)]], np.float32))
    with Index(tmp_path / "a.duckdb") as index:
        (group,) = index.best_shots()
    by_name = {Path(entry.shot.path).stem: entry for entry in group}
    assert group[-1] is by_name["s_12"]
    assert by_name["s_12"].eyes_open < 0.1 < 0.9 < by_name["s_10"].eyes_open
    assert by_name["s_11"].eyes_open == pytest.approx(by_name["s_10"].eyes_open), "one eye seen is enough"


# --- shown --------------------------------------------------------------------------------------------------------------------

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&\u202egpj.\x1b[31m"


def hostile_found(folder: Path, names: Iterable[str]) -> Found:
    attributes = dict.fromkeys(in_profile("default"), 0.5)
    hits = tuple(Hit(str(folder / name), 0, (0, 0, 20, 20), 0.5, 10.0, attributes, 1, 1) for name in names)
    return Found("Smiling < 0.5", ("Smiling",), "default", "toy@<b>0", hits, 1, 1, 1)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_hostile_names_stay_text_in_the_gallery(tmp_path: Path) -> None:
    gallery = pytest.importorskip("lineament.search.gallery")
    pytest.importorskip("lineament.images")
    found = hostile_found(tmp_path, [HOSTILE.replace("/", "_"), "b\udcff.jpg"])
    page = gallery.hits_page(replace(found, query=HOSTILE))
    page.encode("utf-8")
    parsed = Tags()
    parsed.feed(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not [tag for tag, attrs in parsed.tags if any(name.startswith("on") for name in attrs)]
    links = [attrs for tag, attrs in parsed.tags if tag == "a"]
    assert len(links) == 2
    assert all(str(attrs["href"]).startswith("file:///") for attrs in links)
    assert not re.search("[\u202e\x1b]", page)
    assert "%FF.jpg" in page


def test_the_gallery_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    gallery = pytest.importorskip("lineament.search.gallery")
    pytest.importorskip("lineament.images")
    path = photo(tmp_path / "a.jpg", 1)
    seen = path.stat()
    hit = Hit(str(path), 0, (5, 5, 35, 45), 0.5, 10.0, dict.fromkeys(in_profile("default"), 0.5), seen.st_size, seen.st_mtime_ns)
    page = gallery.hits_page(replace(hostile_found(tmp_path, []), hits=(hit, replace(hit, size=1), replace(hit, path="/gone.jpg"))))
    assert page.count("data:image/jpeg;base64,") == 1
    assert "changed since it was indexed" in page
    assert "the file is gone" in page
    assert "http:" not in page
    assert "https:" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    import base64
    import hashlib

    for kind in ("script", "style"):
        body = re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert body is not None
        assert f"'sha256-{base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()}'" in policy[1]


def test_an_empty_gallery_says_so(tmp_path: Path) -> None:
    gallery = pytest.importorskip("lineament.search.gallery")
    assert "No face matches" in gallery.hits_page(hostile_found(tmp_path, []))
    assert "No burst" in gallery.bursts_page([], "toy@0")


def test_visible_leaves_nothing_that_moves_a_cursor() -> None:
    assert visible(HOSTILE).isprintable()
    assert visible("b\udcff\n") == "b\\udcff\\n"
    assert visible("Zoë 北京 🙂") == "Zoë 北京 🙂"


def test_the_terminal_table_shows_names_as_they_are(tmp_path: Path) -> None:
    from rich.console import Console

    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(table(hostile_found(tmp_path, ["[bold]x[/bold].jpg", "c\x1b[2Jd.jpg"])))
    text = console.export_text()
    assert "[bold]x[/bold].jpg" in text
    assert "c\\x1b[2Jd.jpg" in text


def test_contact_sheet_lays_out_rows() -> None:
    red = Thumbnail(Image.new("RGB", (40, 40), "red"))
    sheet = contact_sheet([("1", red)] * 5 + [("6", Thumbnail(None, "gone"))], size=40, columns=4)
    assert sheet.size == (160, 120)
    assert sheet.getpixel((20, 20)) == (255, 0, 0)
    assert sheet.getpixel((20, 80)) == (255, 0, 0)
    assert contact_sheet([]).size[0] > 0


# --- the commands -------------------------------------------------------------------------------------------------------------


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
        counts.append(json.loads(run("search", made[0], "smiling", "--thresholds", file, "--json", "-").stdout)["matched_faces"])
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
