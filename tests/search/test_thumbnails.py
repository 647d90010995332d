"""Bursts and the best shot of each; hits as gallery, table and contact sheet: hostile names stay text, nothing comes
from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("duckdb")
pytest.importorskip("lark")

from lineament.schema import CELEBA_40, in_profile
from lineament.search.build import build_index
from lineament.search.bursts import Shot, bursts, difference_hash, rank_burst
from lineament.search.index import Hit, Index, SearchResult
from lineament.search.thumbnails import table
from lineament.types import Report
from lineament.visual.contact_sheet import visible
from tests.search_toys import ToyModel, face, hit_of, photo

# --- bursts
# -------------------------------------------------------------------------------------------------------------------


def shot(path: str, scene: int = 0, taken: float | None = None, smiling: tuple[float, ...] = (0.5,),
sizes: tuple[float, ...] = (),
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
    assert [[s.path for s in group] for group in groups] == [
        ["a/IMG_1.jpg", "a/IMG_2.jpg", "a/IMG_4.jpg"],
        ["c/x.jpg", "c/y.jpg"],
    ]


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
    build_index(
        tmp_path / "p",
        tmp_path / "a.duckdb",
        Burst(),
        read_eyes=lambda pixels, points: np.array([lids[next(order)]], np.float32),
    )
    with Index(tmp_path / "a.duckdb") as index:
        (group,) = index.best_shots()
    by_name = {Path(entry.shot.path).stem: entry for entry in group}
    assert group[-1] is by_name["s_12"]
    assert by_name["s_12"].eyes_open < 0.1 < 0.9 < by_name["s_10"].eyes_open
    assert by_name["s_11"].eyes_open == pytest.approx(by_name["s_10"].eyes_open), "one eye seen is enough"


# --- shown
# --------------------------------------------------------------------------------------------------------------------


HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&\u202egpj.\x1b[31m"


def hostile_found(folder: Path, names: Iterable[str]) -> SearchResult:
    attributes = dict.fromkeys(in_profile("default"), 0.5)
    hits = tuple(Hit(str(folder / name), 0, (0, 0, 20, 20), 0.5, 10.0, attributes, 1, 1) for name in names)
    return SearchResult("Smiling < 0.5", ("Smiling",), "default", "toy@<b>0", hits, 1, 1, 1)


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
    hit = hit_of(path)
    page = gallery.hits_page(
        replace(hostile_found(tmp_path, []), hits=(hit, replace(hit, size=1), replace(hit, path="/gone.jpg")))
    )
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
