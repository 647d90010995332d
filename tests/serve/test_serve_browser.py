"""The page in a real Chromium: photos in by every way, answers out, honest states, keyboard, phone, and no request to anywhere else."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serve_support import Server, start
from serve_toys import ToySource, map_model, toy_index, toy_photo

from lineament.schema import MGMTN_GROUPS
from lineament.serve.pages import load_example

pytestmark = pytest.mark.slow
PORTRAIT = load_example()
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("browser")
    db = toy_index(folder, ToySource(map_model(folder / "toy.onnx"))(), burst=3)
    running = start(folder / "toy.onnx", "--db", str(db), "--limit", "body_bytes=2000000")
    yield running
    running.process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(server: Server, browser: Any) -> Iterator[Any]:
    """A fresh page; at its end nothing may have gone wrong, broken the policy or gone elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True)
    opened = context.new_page()
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("console", lambda message: trouble.append(message.text) if "Failed to load resource" not in message.text else None)
    opened.on("request", lambda request: trouble.append(request.url) if not request.url.startswith((server.url, "blob:", "data:")) else None)
    opened.goto(server.url)
    yield opened
    context.close()
    assert trouble == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A portrait, a group of three, a sky, a text, and a file that is too large."""
    if PORTRAIT is None:
        pytest.skip("the bundled portrait is not in this tree")
    folder = tmp_path_factory.mktemp("photos")
    portrait = Image.open(io.BytesIO(PORTRAIT.data)).convert("RGB")
    group = Image.new("RGB", (1100, 520), (200, 190, 180))
    for side, place in ((512, (0, 0)), (400, (520, 60)), (170, (925, 200))):
        group.paste(portrait.resize((side, side)), place)
    portrait.save(folder / "portrait.jpg", quality=95)
    group.save(folder / "group.png")
    Image.new("RGB", (600, 400), (120, 150, 180)).save(folder / "sky.png")
    (folder / "notes.txt").write_text("hello")
    (folder / "large.jpg").write_bytes(bytes(2_500_000))
    portrait.save(folder / '<img src=x onerror=alert(1)>".png')
    return {path.stem: path for path in folder.iterdir()}


def answered(page: Any, faces: int) -> None:
    page.wait_for_function("n => document.querySelectorAll('.box').length === n", arg=faces)
    page.wait_for_function("() => document.querySelector('#veil').hidden")


def test_from_a_file_to_answers_map_and_downloads(page: Any, server: Server, photos: dict[str, Path]) -> None:
    page.set_input_files("#file", photos["portrait"])
    answered(page, 1)
    expected = httpx.post(f"{server.url}/v1/analyze?abstain=true", content=photos["portrait"].read_bytes()).json()
    shown = {row.get_attribute("data-name"): row.get_attribute("aria-label") for row in page.query_selector_all(".row")}
    answers = expected["faces"][0]["attributes"]
    assert set(shown) == set(answers)
    for name, answer in answers.items():
        assert answer["label"].replace("_", " ") in shown[name]
    assert page.inner_text("#live").startswith("portrait.jpg: one face.")
    page.hover(".row[data-name=Smiling]")
    assert page.evaluate("document.querySelector('#frame').classList.contains('mapped')")
    painted = "[...document.querySelector('#map').getContext('2d').getImageData(0, 0, 5000, 5000).data].some((value, i) => i % 4 === 3 && value > 20)"
    assert page.evaluate(painted)
    page.hover("h2")
    assert not page.evaluate("document.querySelector('#frame').classList.contains('mapped')")
    with page.expect_download() as download:
        page.click("#save-json")
    assert json.loads(Path(download.value.path()).read_text("utf-8")) == expected | {"source": "portrait.jpg"}
    with page.expect_download() as download:
        page.click("#save-png")
    assert download.value.suggested_filename == "portrait-lineament.png"
    picture = Image.open(download.value.path())
    assert picture.format == "PNG"
    assert picture.size[0] > 512, "the answers stand beside the photo"


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_photos_come_in_by_drop_and_paste(page: Any, photos: dict[str, Path], way: str) -> None:
    data = base64.b64encode(photos["portrait"].read_bytes()).decode()
    page.evaluate(
        """([data, way]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
            const event = way === "drop" ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
                                         : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [data, way],
    )
    answered(page, 1)


def test_several_faces_by_keyboard(page: Any, photos: dict[str, Path]) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.set_input_files("#file", photos["group"])
    answered(page, 3)
    page.focus("#faces [aria-selected=true]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Face 2 of 3"
    assert page.get_attribute(".box >> nth=1", "aria-pressed") == "true"
    page.keyboard.press("End")
    assert page.get_attribute(".box >> nth=2", "aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Face 1 of 3"
    page.focus(".row >> nth=0")
    assert page.evaluate("document.querySelector('#frame').classList.contains('mapped')"), "focus shows the map as pointing does"
    page.keyboard.press("Enter")
    assert page.get_attribute(".row >> nth=0", "aria-pressed") == "true"


def test_the_profile_switch_explains_itself_and_asks_again(page: Any, photos: dict[str, Path]) -> None:
    page.wait_for_function("() => document.querySelector('#profile-note').textContent.includes('leaves out eleven')")
    page.set_input_files("#file", photos["portrait"])
    answered(page, 1)
    assert page.locator(".row").count() == 29
    page.check("input[name=profile][value=all]", force=True)
    page.wait_for_function("() => document.querySelectorAll('.row').length === 40")
    assert "annotators guessed" in page.inner_text("#profile-note")
    page.check("input[name=profile][value=default]", force=True)
    page.wait_for_function("() => document.querySelectorAll('.row').length === 29")


def test_cannot_tell_where_the_card_has_it(page: Any, photos: dict[str, Path]) -> None:
    page.set_input_files("#file", photos["portrait"])
    answered(page, 1)
    assert page.locator(".row.cannot_tell").count() > 0
    page.uncheck("#abstain")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 29 && !document.querySelector('.row.cannot_tell')")


def test_the_camera(page: Any) -> None:
    page.click("#welcome [data-do=camera]")
    page.wait_for_selector("#shoot:not([disabled])")
    page.click("#shoot")
    page.wait_for_selector(".state strong")
    assert page.inner_text(".state strong") == "No face found"
    assert not page.evaluate("document.querySelector('#camera').open")
    assert page.evaluate("document.querySelector('#video').srcObject === null"), "the camera is off again"


@pytest.mark.parametrize(("photo", "title"), [("sky", "No face found"), ("notes", "Not a picture"), ("large", "Too large")])
def test_honest_states(page: Any, photos: dict[str, Path], photo: str, title: str) -> None:
    page.set_input_files("#file", photos[photo])
    page.wait_for_selector(".state strong")
    assert page.inner_text(".state strong") == title


def test_busy_waits_and_tries_again(page: Any, photos: dict[str, Path]) -> None:
    refusals = []

    def busy_once(route: Any) -> None:
        if refusals:
            route.continue_()
            return
        refusals.append(1)
        body = {"error": {"code": "queue", "message": "The service is busy.", "limit": {"name": "queue", "value": 6}}}
        route.fulfill(status=503, headers={"Retry-After": "1", "Content-Type": "application/json"}, body=json.dumps(body))

    page.route("**/v1/analyze*", busy_once)
    page.set_input_files("#file", photos["portrait"])
    page.wait_for_function("() => document.querySelector('#veil-text').textContent.includes('busy')")
    answered(page, 1)


def test_offline_says_so_and_can_try_again(page: Any, photos: dict[str, Path]) -> None:
    page.route("**/v1/analyze*", lambda route: route.abort())
    page.set_input_files("#file", photos["portrait"])
    page.wait_for_selector(".state strong")
    assert page.inner_text(".state strong") == "The service does not answer"
    page.unroute("**/v1/analyze*")
    page.click(".state button")
    answered(page, 1)


def test_file_names_are_text(page: Any, photos: dict[str, Path]) -> None:
    name = next(path for stem, path in photos.items() if stem.startswith("<img"))
    page.set_input_files("#file", [name, photos["sky"]])
    answered(page, 1)
    assert page.locator("#caption img, #strip img[src=x]").count() == 0
    assert "onerror" in page.inner_text("#caption")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(server: Server, browser: Any, photos: dict[str, Path], scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme)
    page = context.new_page()
    page.goto(server.url)
    page.set_input_files("#file", photos["group"])
    answered(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.tap(".row[data-name=Smiling]")
    assert page.evaluate("document.querySelector('#frame').classList.contains('mapped')")
    small = "[...document.querySelectorAll('button:not(.box)')].filter(b => b.offsetParent && b.getBoundingClientRect().height < 32).length"
    assert page.evaluate(small) == 0, "everything to press is large enough for a finger"
    context.close()


def test_search_by_words_chips_and_mistakes(page: Any, server: Server) -> None:
    page.click("#search-link")
    page.fill("#query", "smiling or not smiling")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.hit').length > 5")
    page.wait_for_function("() => [...document.querySelectorAll('.hit img')].every(image => image.naturalWidth === 224)")
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


def two_portraits(path: Path) -> None:
    """Write a photo of two faces that look different to the toy network: the portrait, and a smaller one without colour."""
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
    asked = httpx.post(f"{server.url}/v1/search/like?change=but+with+smiling&face=1", content=(tmp_path / "two.png").read_bytes())
    expected = asked.json()["matched_faces"]
    page.wait_for_function("told => document.querySelector('#told').textContent.startsWith(told)", arg=f"{expected} of ")
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
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{server.url}/search?way={way}")
    page.wait_for_selector(".chip")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    edge = "Math.max(...[...document.querySelectorAll('.finder *')].filter(e => e.offsetParent).map(e => e.getBoundingClientRect().right))"
    assert page.evaluate(edge) <= page.evaluate("document.querySelector('.finder').getBoundingClientRect().right - 10"), "nothing hangs over the card"
    context.close()


def test_a_region_is_shown_for_every_attribute_of_its_group(browser: Any, tmp_path: Path, photos: dict[str, Path]) -> None:
    server = start(map_model(tmp_path / "toy.onnx", "region", tuple(MGMTN_GROUPS)))
    try:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.set_input_files("#file", photos["portrait"])
        answered(page, 1)
        for name, part in (("Smiling", "mouth"), ("Bangs", "hair")):
            page.hover(f".row[data-name={name}]")
            assert page.evaluate("document.querySelector('#frame').classList.contains('mapped')")
            assert page.inner_text("#caption").endswith(f"the region it was read from ({part}).")
        context.close()
    finally:
        server.process.kill()


def test_a_key_is_asked_for_and_used(browser: Any, tmp_path: Path, photos: dict[str, Path]) -> None:
    key = tmp_path / "key"
    key.write_text("a long secret\n")
    server = start(map_model(tmp_path / "toy.onnx"), "--api-key-file", str(key))
    try:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.fill("#key-value", "a long secret")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#model-line').textContent.includes('toy@')")
        page.set_input_files("#file", photos["portrait"])
        answered(page, 1)
        context.close()
    finally:
        server.process.kill()
