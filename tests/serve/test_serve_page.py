"""The page's files: complete, self-contained, and within the policy they are served under."""

from __future__ import annotations

import re

import pytest
from serve_support import Running

from lineament.serve.pages import load_assets

ASSETS = load_assets()
TEXTS = {name: asset.data.decode("utf-8") for name, asset in ASSETS.items()}


def test_everything_a_page_names_is_served(running: Running) -> None:
    for page in ("/", "/search"):
        html = running.client.get(page).text
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', html)
        assert named
        for path in named:
            response = running.client.get(path)
            assert response.status_code == 200
            again = running.client.get(path, headers={"If-None-Match": response.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
    for name, text in TEXTS.items():
        for module in re.findall(r'from "\./([^"]+)"', text):
            assert module in ASSETS, f"{name} imports {module}"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_nothing_needs_another_host_or_an_inline_permission(name: str) -> None:
    text = TEXTS[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://(?!\s)[a-z0-9]", text)
    assert "innerHTML" not in text
    assert "eval(" not in text
    if name.endswith(".html"):
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", text)


def test_every_id_a_script_asks_for_exists() -> None:
    pages = {"index.html": ("app.js", "stage.js", "answers.js", "camera.js"), "search.html": ("search.js",)}
    for page, scripts in pages.items():
        ids = re.findall(r'\bid="([^"]+)"', TEXTS[page])
        assert len(ids) == len(set(ids))
        for script in scripts:
            assert set(re.findall(r'\$\("([^"]+)"\)', TEXTS[script])) <= set(ids), script


@pytest.mark.parametrize(
    "name", ["app.py", "../app.py", "..%2fapp.py", "%2e%2e/app.py", "style.css/", "STYLE.CSS", "", "index.html%00.js"]
)
def test_no_request_becomes_a_path(running: Running, name: str) -> None:
    assert running.client.get(f"/static/{name}").status_code == 404


def test_the_example_is_the_bundled_portrait(running: Running) -> None:
    response = running.client.get("/example")
    expected = 200 if running.service.example else 404
    assert response.status_code == expected
    if expected == 200:
        assert response.headers["content-type"] == "image/jpeg"
