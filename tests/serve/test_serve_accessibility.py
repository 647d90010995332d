"""axe-core finds nothing to object to on any page that is made here: served, search, gallery, report, audit,
comparison, card; day and night.

axe-core (MPL-2.0) is fetched from npm for this test alone and is not shipped; LINEAMENT_AXE names a copy of axe.min.js
where there is no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_support import Server
from toy_model import toy_card
from toy_predictions import simulated

from lineament.evaluation.audit import audit, join
from lineament.evaluation.compare import compare
from lineament.report.html import Extras, report_page
from lineament.report.model_card import card_page
from lineament.report.pages import audit_page, comparison_page
from lineament.schema import CELEBA_40

pytestmark = pytest.mark.slow
AXE = "4.14.1"
SOME = CELEBA_40[18:22]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    if named := os.environ.get("LINEAMENT_AXE"):
        return Path(named).read_text("utf-8")
    if shutil.which("npm") is None:
        pytest.skip("no npm here to fetch axe-core, and LINEAMENT_AXE names no copy")
    folder = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run(
        ["npm", "pack", f"axe-core@{AXE}", "--silent"], cwd=folder, capture_output=True, timeout=120, check=False
    )
    if fetched.returncode:
        pytest.skip("npm cannot fetch axe-core (no network?)")
    with tarfile.open(folder / f"axe-core-{AXE}.tgz") as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode("utf-8")


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate(axe + "; null")
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found["violations"]
    ]


def gallery(folder: Path) -> str:
    from lineament.search.gallery import hits_page
    from lineament.search.index import SearchResult
    from tests.search_toys import hit_of, photo

    path = photo(folder / "a.jpg", 1)
    hit = hit_of(path)
    return hits_page(
        SearchResult(
            "smiling", ("Smiling", "Bangs"), "default", "toy@0", (hit, replace(hit, path="/gone.jpg")), 2, 2, 2
        )
    )


def pages(folder: Path) -> dict[str, str]:
    found, other = simulated(300, SOME, calibrated=True), simulated(300, SOME, distortion=1.5)
    unlabelled = replace(found, known=np.zeros(found.raw.shape, bool))
    document = audit(join(found, None, ["Male"]), draws=100)
    return {
        "report": report_page([("a", found)], Extras(by=["Male"], since=("b", other), card=toy_card().document)),
        "unlabelled": report_page([("a", unlabelled)]),
        "audit": audit_page(document | {"by": ["Male"], "rate": "tpr"}),
        "comparison": comparison_page(compare(found, other, draws=100) | {"a": "one", "b": "two"}),
        "card": card_page(toy_card().document),
        "gallery": gallery(folder),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_documents(browser: Any, axe: str, tmp_path: Path, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    objections = {}
    for name, html in pages(tmp_path).items():
        (tmp_path / f"{name}.html").write_text(html, encoding="utf-8")
        page = context.new_page()
        page.goto((tmp_path / f"{name}.html").as_uri())
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        objections[name] = violations(page, axe)
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.close()
    context.close()
    assert not {name: found for name, found in objections.items() if found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_served_page(server: Server, browser: Any, photos: dict[str, Path], axe: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => document.querySelector('#profile-note').textContent.length > 0")
    assert violations(page, axe) == []
    page.set_input_files("#file", photos["group"])
    page.wait_for_function(
        "() => document.querySelectorAll('.box').length === 3 && document.querySelector('#veil').hidden"
    )
    assert violations(page, axe) == []
    assert {row.inner_text() for row in page.query_selector_all(".row.cannot_tell .label")} <= {
        "too small",
        "too blurred",
        "not sure enough",
    }
    page.set_viewport_size({"width": 390, "height": 800})
    assert violations(page, axe) == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_search_page(server: Server, browser: Any, axe: str, scheme: str) -> None:
    context = browser.new_context(
        color_scheme=scheme, bypass_csp=True, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(f"{server.url}/search?q=smiling or not smiling")
    page.wait_for_function("() => document.querySelectorAll('.hit').length > 5")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.hit img')].every(image => image.naturalWidth === 224)"
    )
    assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lefts = page.evaluate(
        "new Set([...document.querySelectorAll('.hit')].map(hit => Math.round(hit.getBoundingClientRect().left))).size"
    )
    assert lefts == 2, "two columns on a phone"
    chips = page.evaluate(
        "(({scrollHeight, clientHeight}) => [scrollHeight, clientHeight])(document.querySelector('#chips'))"
    )
    assert chips[0] <= chips[1], "chips wrap, none is hidden behind a scroll bar that is not shown"
    page.goto(server.url)
    assert not page.is_visible("#welcome .keys"), "no word of keys where there are none"
    context.close()
