"""The search page in a real Chromium: words, a photo, best shots; mistakes are shown where they are; it fits a
phone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serve_support import Server, start
from serve_toys import ToySource, map_model, toy_index, toy_photo

from lineament.serve.pages import load_example

pytestmark = pytest.mark.slow
PORTRAIT = load_example()


def test_search_by_words_chips_and_mistakes(page: Any, server: Server) -> None:
    page.click("#search-link")
    page.fill("#query", "smiling or not smiling")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.hit').length > 5")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.hit img')].every(image => image.naturalWidth === 224)"
    )
    assert "are shown" in page.inner_text("#told")
    page.fill("#query", "smilin and bald")
    page.click("form button")
    page.wait_for_selector("#query-error:not([hidden])")
    assert "^^^^^^" in page.inner_text("#query-error")
    page.fill("#query", "smiling")
    page.click(".chip >> text=Bald")
    assert page.input_value("#query") == "smiling and bald"
    page.goto(f"{server.url}/search?q=eyeglasses")
    assert page.input_value("#query") == "eyeglasses"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service over an index of more faces than two pages hold."""
    folder = tmp_path_factory.mktemp("many")
    db = toy_index(folder, ToySource(map_model(folder / "toy.onnx"))(), photos=60)
    running = start(folder / "toy.onnx", "--db", str(db))
    yield running
    running.process.kill()
    running.process.wait()


def test_more_adds_the_next_page_without_repeats_until_all_are_shown(browser: Any, many: Server) -> None:
    whole = httpx.get(f"{many.url}/v1/search?limit=200&loose=true&q=smiling", timeout=60).json()
    total = whole["matched_faces"]
    assert total > 2 * 48
    page = browser.new_page()
    page.goto(f"{many.url}/search?q=smiling")
    page.check("#loose")
    said = "text => document.querySelector('#told').textContent === text"
    for count in (48, 96, total):
        page.wait_for_function(said, arg=f"{total} of {total} faces match, in 60 photos; the best {count} are shown.")
        assert page.locator("#hits .hit").count() == count
        assert page.is_visible("#more") == (count < total)
        if count == 48:
            page.fill("#query", "bald")  # typed, not asked: more is of what is shown
            page.focus("#more")
            page.keyboard.press("Enter")
        elif count == 96:
            page.wait_for_function("() => document.activeElement.id === 'more'")
            page.click("#more")
    cards = page.locator("#hits .hit").all_inner_texts()
    names = [hit["file"].rpartition("/")[2] for hit in whole["hits"]]
    assert [name in card for name, card in zip(names, cards, strict=True)] == [True] * total, (
        "the pages are the whole, in its order"
    )
    page.close()


def two_portraits(path: Path) -> None:
    """Write a photo of two faces that look different to the toy network: the portrait, and a smaller one without
    colour."""
    if PORTRAIT is None:
        pytest.skip("the bundled portrait is not in this tree")
    photo = Image.new("RGB", (900, 512), (90, 120, 160))
    with Image.open(io.BytesIO(PORTRAIT.data)) as portrait:
        photo.paste(portrait.convert("RGB"), (0, 0))
        photo.paste(portrait.convert("L").convert("RGB").resize((380, 380)), (516, 60))
    photo.save(path)


def test_search_like_a_photo(page: Any, server: Server, tmp_path: Path) -> None:
    page.goto(f"{server.url}/search?way=like")
    assert page.inner_text("#told") == "", "nothing is asked before there is a photo"
    two_portraits(tmp_path / "two.png")
    page.set_input_files("#like-file", tmp_path / "two.png")
    page.wait_for_function("() => document.querySelectorAll('#hits .hit').length > 5")
    assert page.inner_text("#hits .hit .badge").endswith("alike")
    first = "[...document.querySelectorAll('#hits .hit .badge')].map(badge => badge.textContent).join()"
    before = page.evaluate(first)
    page.select_option("#like-face", "1")
    page.wait_for_function(f"before => ({first}) && ({first}) !== before", arg=before)
    page.fill("#query", "but with smiling")
    page.keyboard.press("Enter")
    asked = httpx.post(
        f"{server.url}/v1/search/like?change=but+with+smiling&face=1", content=(tmp_path / "two.png").read_bytes()
    )
    expected = asked.json()["matched_faces"]
    page.wait_for_function(
        "told => document.querySelector('#told').textContent.startsWith(told)", arg=f"{expected} of "
    )
    page.fill("#query", "but with smilin")
    page.keyboard.press("Enter")
    page.wait_for_selector("#query-error:not([hidden])")
    assert "^^^^^^" in page.inner_text("#query-error")
    page.fill("#query", "")
    (tmp_path / "sky.png").write_bytes(toy_photo(0))
    page.set_input_files("#like-file", tmp_path / "sky.png")
    page.wait_for_function("() => document.querySelector('#query-error').textContent.startsWith('No face was found')")


def test_search_best_shots_by_keyboard(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/search")
    page.focus("[name=way][value=words]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelectorAll('#bursts .hit').length === 3")
    page.wait_for_function("() => [...document.querySelectorAll('#bursts img')].every(image => image.naturalWidth > 0)")
    assert page.inner_text("#told") == "One burst of one moment."
    assert page.locator("#bursts .hit").first.locator(".badge").inner_text() == "Best shot"
    assert page.url.endswith("?way=best")
    assert {"Everyone smiles", "Eyes open"} <= set(page.locator("#bursts .hit").first.inner_text().split("\n"))


@pytest.mark.parametrize("way", ["words", "like", "best"])
def test_search_fits_a_phone(browser: Any, server: Server, way: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = context.new_page()
    page.goto(f"{server.url}/search?way={way}")
    page.wait_for_selector(".chip")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    edge = (
        "Math.max(...[...document.querySelectorAll('.finder *')].filter(e => e.offsetParent).map(e => "
        "e.getBoundingClientRect().right))"
    )
    assert page.evaluate(edge) <= page.evaluate(
        "document.querySelector('.finder').getBoundingClientRect().right - 10"
    ), "nothing hangs over the card"
    context.close()
