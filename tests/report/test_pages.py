"""Pages: complete in themselves, escaped, the same for the same numbers; charts follow the page's colours; energy
shares are right."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from needed import launched
from PIL import Image
from toy_model import toy_card
from toy_predictions import simulated

from lineament.evaluation.calibrate import Plan, fit_decision
from lineament.evaluation.compare import compare
from lineament.evaluation.scorecard import decision_in, scorecard
from lineament.report.comparison_tables import by_change
from lineament.report.figures import _two_lines
from lineament.report.html import Extras, report_page
from lineament.report.overlays import energy, expected_region, overlay, overlays_of, share_inside
from lineament.report.pages import comparison_page, table
from lineament.schema import CELEBA_40
from lineament.types import Crops, ModelOutput

SOME = CELEBA_40[18:22]
VOID = {"meta", "img", "br", "link", "input", "path", "use", "line", "rect", "circle"}


class Checker(HTMLParser):
    """Collects ids, references, sources, headings; fails on tags that are closed out of order."""

    def __init__(self):
        super().__init__()
        self.stack, self.ids, self.references, self.sources, self.images_without_text = [], [], [], [], 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.references += [v[1:] for k, v in attrs if k in ("href", "xlink:href") and v.startswith("#")]
        self.references += re.findall(r"url\(#([^)]+)\)", " ".join(v or "" for _, v in attrs))
        self.sources += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not v.startswith("#")]
        self.images_without_text += tag == "img" and not found.get("alt")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag


def checked(text):
    checker = Checker()
    checker.feed(text)
    assert checker.stack == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert set(checker.references) <= set(checker.ids)
    assert all(source.startswith("data:") for source in checker.sources)
    assert checker.images_without_text == 0
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert "@import" not in text
    return text


@pytest.fixture(scope="module")
def calibrated():
    from dataclasses import replace

    from lineament.metrics.calibration import logit

    found = simulated(300, SOME, distortion=1.5)
    layer = fit_decision(found, Plan(method="platt"))
    probs = layer.probs(logit(found.raw), found.attributes)
    return replace(found, probs=probs, meta={"model": "toy@1", "decision": layer.to_dict()})


def test_the_report_is_complete_in_itself_and_says_the_same_twice(tmp_path, calibrated):
    pytest.importorskip("matplotlib")
    for name in calibrated.files[:100]:
        Image.new("RGB", (178, 218), (90, 60, 30)).save(tmp_path / name)
    extras = Extras(by=["Male"], images=tmp_path, examples=1, card={**toy_card().document, "name": "<toy>"})
    text = checked(report_page([("a.parquet", calibrated), ("b.parquet", simulated(50, SOME))], extras))
    assert text == report_page([("a.parquet", calibrated), ("b.parquet", simulated(50, SOME))], extras)
    for section in (
        "summary",
        "attributes",
        "calibration",
        "abstaining",
        "consistency",
        "cohorts",
        "examples",
        "protocol",
    ):
        assert f'<section id="{section}"' in text
    assert "var(--c1)" in text
    assert "#020201" not in text
    assert 'lang="en"' in text
    assert "prefers-color-scheme: dark" in text
    assert "&lt;toy&gt;" in text


def test_a_report_without_labels_has_no_accuracy_to_tell(calibrated):
    pytest.importorskip("matplotlib")
    from dataclasses import replace

    text = checked(report_page([("a", replace(calibrated, known=np.zeros(calibrated.raw.shape, bool)))]))
    assert '<section id="calibration"' not in text
    assert '<section id="answers"' in text
    assert "holds no labels" in text
    assert "What needs labels is left out" in text
    assert "None" not in text
    assert "<td >-</td>" not in text, "what is missing has a reason, not a dash"


def test_the_first_screen_is_a_verdict_in_sentences_of_the_scorecards_numbers(calibrated):
    pytest.importorskip("matplotlib")
    earlier = simulated(300, SOME, distortion=1.5, seed=0)
    text = checked(report_page([("a", calibrated)], Extras(by=["Male"], since=("old", earlier))))
    start = text.index('<section id="summary"')
    assert start < text.index("<svg viewBox", start) < text.index("<table"), "sentences, then charts, then tables"
    said = text[start : text.index('<dl class="facts">')].replace("\u00a0", " ")
    card = scorecard(calibrated, decision=decision_in(calibrated.meta))
    assert f"Of all answers {100 * card['fitted']['mean_accuracy']:.1f} %" in said
    assert f"off by {100 * card['calibrated']['ece']:.1f} points [" in said
    for question in ("How right", "How sure", "For whom worst", "What changed since"):
        assert f"<dt>{question}</dt>" in said
    assert "of all answers differ from those of old" in said
    assert '<section id="change"' in text


def test_an_attribute_without_a_wrong_answer_is_named_and_has_no_empty_heading(tmp_path, calibrated):
    from dataclasses import replace

    from lineament.report.pictures import confident_errors

    for name in calibrated.files:
        Image.new("RGB", (178, 218)).save(tmp_path / name)
    right = calibrated.probs.copy()
    right[:, 1] = calibrated.targets[:, 1]
    text = confident_errors(replace(calibrated, probs=right, meta={}), tmp_path, 1)
    assert [name.removesuffix(" *") for name in re.findall(r"No wrong answer: ([^<]*)\.", text)] == [SOME[1]]
    assert text.count("<summary>") == len(SOME) - 1
    assert text.count("<img") > 0


def test_differences_come_largest_first():
    rows = {"a": {"difference": 0.01}, "b": {"difference": None}, "c": {"difference": -0.05}, "d": {"difference": 0.02}}
    assert by_change({"attributes": rows}) == ["c", "d", "a", "b"]


def test_chart_titles_break_between_words_only():
    for name in CELEBA_40:
        assert _two_lines(name).replace("\n", " ") == name.replace("_", " ")


def test_the_comparison_page_is_complete_in_itself(calibrated):
    pytest.importorskip("matplotlib")
    document = compare(calibrated, simulated(300, SOME, distortion=1.5), draws=100) | {"a": "one", "b": "<two>"}
    assert "&lt;two&gt;" in checked(comparison_page(document))


def test_cells_are_escaped_and_tables_have_headers():
    text = checked(table("a & b", ("name", "value"), [("<x>", "1")]))
    assert "<x>" not in text
    assert text.count('scope="col"') == 2
    assert text.count('scope="row"') == 1


def test_energy_shares():
    region = expected_region("Eyeglasses")
    assert region.shape == (218, 178)
    assert expected_region("Tattoo") is None
    assert share_inside(region.astype(float), region) == 1.0
    assert share_inside((~region).astype(float), region) == 0.0
    assert np.isnan(share_inside(np.zeros((218, 178)), region))
    assert energy(np.array([[-1.0, 2.0]])).min() == 0.0
    painted = overlay(np.zeros((3, 218, 178), np.uint8), region.astype(float))
    assert painted[region].max(1).mean() > 80
    assert painted[~region].mean() < 20
    bump = np.exp(-((np.mgrid[:218, :178] - np.array([100, 80])[:, None, None]) ** 2).sum(0) / 800)
    drawn = overlay(np.full((3, 218, 178), 90, np.uint8), bump)
    assert (drawn == 90).all(2).mean() > 0.5, "what is far from it stays the photo"
    assert len(np.unique(drawn[100], axis=0)) > 20, "a map, not one colour"


def test_looking_only_counts_faces_that_are_answered_yes():
    crops = [Crops(np.zeros((1, 3, 218, 178), np.uint8), np.zeros((1, 2, 3), np.float32)) for _ in range(4)]
    answers = iter([1.0, -1.0, 2.0, -3.0])
    inside = expected_region("Eyeglasses").astype(np.float32)[None, None]

    def network(one):
        return ModelOutput(np.array([[next(answers)]], np.float32), ("Eyeglasses",), inside)

    found = overlays_of(crops, network, ["Eyeglasses"], ("Eyeglasses",))["Eyeglasses"]
    assert found.examples == 2
    assert found.share == 1.0
    assert 0 < found.chance < 0.5


@pytest.mark.slow
def test_the_report_opens_in_a_real_browser_without_errors_or_requests(tmp_path, calibrated):
    sync = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "report.html"
    path.write_text(report_page([("a", calibrated)], Extras(by=["Male"])), encoding="utf-8")
    with sync.sync_playwright() as play:
        browser = launched(play)
        page = browser.new_page(color_scheme="dark")
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
        page.goto(path.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        head = page.locator("#attributes thead button").nth(1)
        head.focus()
        page.keyboard.press("Enter")
        assert page.locator("#attributes th[aria-sort=ascending]").count() == 1
        shown = [float(text) for text in page.locator("#attributes tbody tr td:nth-of-type(1)").all_inner_texts()]
        assert shown == sorted(shown)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 24)"
        assert troubles == []
        browser.close()
