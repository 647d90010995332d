"""The gallery in a real browser: keyboard, no request to anywhere, no error under its own policy, fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from needed import launched

from lineament.schema import in_profile
from lineament.search.index import Hit, SearchResult
from tests.search_toys import photo

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_gallery_by_keyboard_and_offline(tmp_path: Path, scheme: str, width: int) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    from lineament.search.gallery import hits_page

    hits = []
    for i in range(7):
        path = photo(tmp_path / f'{i}"><script>document.title="owned"<_script>.jpg', i)
        seen = path.stat()
        attributes = dict.fromkeys(in_profile("default"), 0.5)
        hits.append(Hit(str(path), 0, (5, 5, 35, 45), 0.5, 10.0, attributes, seen.st_size, seen.st_mtime_ns))
    page_file = tmp_path / "gallery.html"
    page_file.write_text(
        hits_page(SearchResult("Smiling", ("Smiling",), "default", "toy@0", tuple(hits), 7, 7, 7)), encoding="utf-8"
    )
    with sync_api.sync_playwright() as play:
        browser = launched(play)
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text))
        page.on(
            "request",
            lambda request: trouble.append(request.url) if request.url.split(":")[0] not in ("data", "file") else None,
        )
        page.goto(page_file.as_uri())
        where = "[...document.querySelectorAll('li a')].indexOf(document.activeElement)"
        places = []
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowDown"):
            page.keyboard.press(key)
            places.append(page.evaluate(where))
        columns = page.evaluate("getComputedStyle(document.querySelector('ol')).gridTemplateColumns.split(' ').length")
        shown = page.evaluate("[...document.images].filter(image => image.complete && image.naturalWidth).length")
        title, wide = page.title(), page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert trouble == []
    assert places == [0, 1, 0, 6, 6, 0, columns]
    assert shown == 7
    assert "owned" not in title.replace("Smiling", "")
    assert wide <= width
