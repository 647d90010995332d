"""The model card as a person reads it, with every figure of the file; the PDF: every page white, whole tables, headings
repeated."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_pages import checked
from toy_model import toy_card, write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import UsageError
from lineament.report import pdf
from lineament.report.model_card import card_page, sections, to_markdown
from lineament.report.pages import page, table

MITCHELL = (
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data", "Quantitative analyses",
    "Ethical considerations", "Caveats and recommendations",
)  # fmt: skip
SHIPPED = Path(__file__).parents[2] / "lineament" / "weights" / "default.card.json"


def test_the_card_has_the_papers_headings_and_the_files_figures() -> None:
    card = json.loads(SHIPPED.read_text("utf-8"))
    assert tuple(heading for heading, _ in sections(card)) == MITCHELL
    text = to_markdown(card)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(MITCHELL)
    for key in ("mean_accuracy", "majority_accuracy", "balanced_accuracy", "mean_ap"):
        assert f"{100 * card['metrics']['official_val'][key]:.2f} %" in text
    assert card["licence"] in text
    assert card["file_sha256"] in text
    assert "None" not in text
    page_text = checked(card_page(card))
    assert all(f">{heading}</h2>" in page_text for heading in MITCHELL)


def test_a_bare_card_says_what_is_unknown() -> None:
    kept = (
        "card_version",
        "name",
        "architecture",
        "attributes",
        "input",
        "decision",
        "data",
        "licence",
        "intended_use",
    )
    bare = {key: toy_card().document[key] for key in kept}
    text = to_markdown(bare)
    assert "Nothing was measured into this file" in text
    assert "Not stated in this file" in text
    checked(card_page(bare | {"name": "<b>"}))


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.onnx")
    printed = CliRunner().invoke(app, ["card", str(model)])
    assert printed.exit_code == 0, printed.output
    assert printed.output.startswith("# Model card: ")
    assert CliRunner().invoke(app, ["card", str(model), "--html", str(tmp_path / "c.html")]).exit_code == 0
    assert "<h2" in (tmp_path / "c.html").read_text("utf-8")
    assert CliRunner().invoke(app, ["card", str(model), "--md", "--out", str(tmp_path / "c.md")]).exit_code == 0
    assert (tmp_path / "c.md").read_text("utf-8") == printed.output
    for wrong in (["--md", "--html"], ["two"], ["x.html", "--out", "y"]):
        assert CliRunner().invoke(app, ["card", str(model), *wrong]).exit_code == 2


def test_without_a_browser_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(pdf.BROWSER_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="apt-get install chromium"):
        pdf.write_pdf("<html></html>", tmp_path / "a.pdf")
    monkeypatch.setenv(pdf.BROWSER_VARIABLE, "no-such-browser")
    with pytest.raises(UsageError, match="no-such-browser is no program"):
        pdf.find_browser()
    with pytest.raises(UsageError, match="a4, letter"):
        pdf.for_paper("", "a3")


def test_for_paper_opens_every_fold_and_names_the_size() -> None:
    made = pdf.for_paper("<style>x</style><details><summary>s</summary></details>", "letter")
    assert "@page { size: Letter; }</style>" in made
    assert "<details open>" in made


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "size"), [("a4", "594.96 x 841.92"), ("letter", "612 x 792")])
def test_a_printed_table_is_whole_and_repeats_its_headings(tmp_path: Path, paper: str, size: str) -> None:
    if not any(shutil.which(name) for name in pdf.BROWSERS) or not shutil.which("pdftotext"):
        pytest.skip("needs Chromium and poppler-utils")
    heads = ("attribute", *(f"head{n}" for n in range(11)))
    rows = [(f"Attribute_{n}", *(f"{n}.{k:02d}" for k in range(11))) for n in range(130)]
    pdf.write_pdf(
        page("Title", "lead", [("a", "A", table("caption", heads, rows, last=("mean", *["0"] * 11)))]),
        tmp_path / "t.pdf",
        paper=paper,
    )
    text = subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "t.pdf"), "-"], capture_output=True, text=True, check=True
    ).stdout
    pages = text.split("\f")[:-1]
    assert len(pages) > 1
    for one in pages:  # every page of the table has its headings, to the last column
        assert "Attribute_" not in one or re.search(r"attribute\s+head0\s.*head10", one)
    for n in range(130):
        assert f"{n}.10" in text
    about = subprocess.run(["pdfinfo", str(tmp_path / "t.pdf")], capture_output=True, text=True, check=True).stdout
    assert size in about


def test_the_docs_hold_the_card_of_the_weights_that_ship() -> None:
    card = json.loads(SHIPPED.read_text("utf-8"))
    written = (Path(__file__).parents[2] / "docs" / "model-card.md").read_text("utf-8")
    assert written == to_markdown(card), "write it again: lineament card default --md docs/model-card.md"
