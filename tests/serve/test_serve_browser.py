"""The page in a real Chromium: photos in by every way, answers out, honest states, keyboard, phone, and no request to
anywhere else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serve_support import Server, start
from serve_toys import map_model

from lineament.schema import MGMTN_GROUPS

pytestmark = pytest.mark.slow


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
    painted = (
        "[...document.querySelector('#map').getContext('2d').getImageData(0, 0, 5000, 5000).data].some((value, i) => i "
        "% 4 === 3 && value > 20)"
    )
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
            const how = { bubbles: true, cancelable: true };
            const event = way === "drop" ? new DragEvent("drop", { dataTransfer: transfer, ...how })
                                         : new ClipboardEvent("paste", { clipboardData: transfer, ...how });
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
    assert page.evaluate("document.querySelector('#frame').classList.contains('mapped')"), (
        "focus shows the map as pointing does"
    )
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
    page.wait_for_function(
        "() => document.querySelectorAll('.row').length === 29 && !document.querySelector('.row.cannot_tell')"
    )


def test_the_camera(page: Any) -> None:
    page.click("#welcome [data-do=camera]")
    page.wait_for_selector("#shoot:not([disabled])")
    page.click("#shoot")
    page.wait_for_selector(".state strong")
    assert page.inner_text(".state strong") == "No face found"
    assert not page.evaluate("document.querySelector('#camera').open")
    assert page.evaluate("document.querySelector('#video').srcObject === null"), "the camera is off again"


@pytest.mark.parametrize(
    ("photo", "title"), [("sky", "No face found"), ("notes", "Not a picture"), ("large", "Too large")]
)
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
        route.fulfill(
            status=503, headers={"Retry-After": "1", "Content-Type": "application/json"}, body=json.dumps(body)
        )

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
def test_a_phone_needs_no_sideways_scrolling(
    server: Server, browser: Any, photos: dict[str, Path], scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme
    )
    page = context.new_page()
    page.goto(server.url)
    page.set_input_files("#file", photos["group"])
    answered(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.tap(".row[data-name=Smiling]")
    assert page.evaluate("document.querySelector('#frame').classList.contains('mapped')")
    small = (
        "[...document.querySelectorAll('button:not(.box)')].filter(b => b.offsetParent && "
        "b.getBoundingClientRect().height < 32).length"
    )
    assert page.evaluate(small) == 0, "everything to press is large enough for a finger"
    context.close()


def test_a_region_is_shown_for_every_attribute_of_its_group(
    browser: Any, tmp_path: Path, photos: dict[str, Path]
) -> None:
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
