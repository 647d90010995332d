"""One visual language: one style sheet with both schemes and print; sheets carry what was asked, what is shown and the
day."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFont

from lineament.visual.contact_sheet import Thumbnail, Tile, contact_sheet, cut_to, fitted, photo_of, wrapped
from lineament.visual.stylesheet import base_css, colour

FONT = ImageFont.load_default(13)


def luminance(hexadecimal: str) -> float:
    parts = [int(hexadecimal[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["day", "night", "paper"])
def test_text_can_be_read_on_every_ground_in_every_scheme(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", base_css(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ink in ("ink", "muted", "accent"):
        for ground in ("paper", "surface"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["accent-ink"], colours["accent"]) >= 4.5


def test_pages_of_every_room_use_the_one_style_sheet_and_define_no_colours_of_their_own() -> None:
    root = Path(__file__).parents[2] / "lineament"
    tokens = [
        path
        for path in root.rglob("*")
        if path.suffix in (".css", ".py", ".html", ".js") and "--paper:" in path.read_text("utf-8")
    ]
    assert [path.name for path in tokens] == ["base.css"]
    assert colour("surface").startswith("#")


def test_a_sheet_says_what_was_asked_when_and_holds_every_tile(tmp_path: Path) -> None:
    Image.new("RGB", (50, 80), "red").save(tmp_path / "a.png")
    tiles = [
        Tile(tmp_path / "a.png", "one"),
        Tile(b"no picture", "two"),
        Tile(Thumbnail(None, "gone"), "three"),
        Tile(tmp_path / "no.png", "x\ny"),
    ]

    def made(title: str = "Search: smiling", day: date = date(2026, 1, 2)) -> Image.Image:
        return contact_sheet(tiles, title=title, facts=["4 faces"], size=(60, 90), columns=3, day=day)

    sheet = made()
    assert sheet.width >= 3 * 60
    assert (np.asarray(sheet) == (255, 0, 0)).all(2).sum() > 2000, "the picture is on it"
    for other in (made(title="Search: bald"), made(day=date(2026, 1, 3))):
        box = ImageChops.difference(sheet, other).getbbox()
        assert box is not None, "title and date are written"
        assert box[3] < sheet.height - 2 * 90, "above the tiles"
    assert contact_sheet([], title="x").height > 60


def test_the_hits_sheet_carries_query_and_name_and_hostile_names_stay_in_their_cell() -> None:
    long = "a" * 500 + "\u202e\x1b.jpg"
    sheet = contact_sheet([Tile(Thumbnail(Image.new("RGB", (40, 40), "red")), f"1\n{long}")], title=long, size=(40, 40))
    assert sheet.width < 400


def test_text_is_cut_and_wrapped_to_its_width() -> None:
    assert cut_to("short", FONT, 500) == "short"
    cut = cut_to("a long line of text", FONT, 60)
    assert cut.endswith("...")
    assert FONT.getlength(cut) <= 60
    lines = wrapped("some words that go over several lines", FONT, 90)
    assert " ".join(lines) == "some words that go over several lines"
    assert all(FONT.getlength(line) <= 90 for line in lines)


def test_what_cannot_be_read_has_a_reason() -> None:
    assert photo_of(b"no picture").note is not None
    assert fitted(b"no picture", (10, 20)).size == (10, 20)
