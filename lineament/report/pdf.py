"""A page as PDF: a headless Chromium prints it, so that it looks as the page does, with the style sheet's rules for
paper.

    page (HTML) -> every fold open, paper size -> Chromium --print-to-pdf -> FILE.pdf

Nothing is loaded and nothing is sent: the page is complete in itself, the browser runs in a folder of its own that is
deleted, and its background requests are off. Why a browser: the libraries of permissive licence that draw HTML lay out
neither grids nor inline SVG charts as the page has them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lineament.errors import LineamentError, UsageError
from lineament.files import replacing

PAPERS = {"a4": "A4", "letter": "Letter"}
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--disable-extensions",
    "--no-pdf-header-footer",
)  # fmt: skip
BROWSER_VARIABLE = "LINEAMENT_BROWSER"


def find_browser() -> str:
    """Return the path of a Chromium: of the environment variable LINEAMENT_BROWSER, else the first that is on the path.

    Raises: UsageError naming what to install where there is none.
    """
    named = os.environ.get(BROWSER_VARIABLE)
    found = shutil.which(named) if named else next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        where = f"{BROWSER_VARIABLE}={named} is no program" if named else "There is no Chromium or Chrome on the path"
        raise UsageError(
            f"{where}, and a PDF needs one. Install it (Debian and Ubuntu: apt-get install chromium), name it in "
            f"{BROWSER_VARIABLE}, or write --html "
            "and print that from any browser."
        )
    return found


def for_paper(html: str, paper: str) -> str:
    """Return a page with the size of its paper and every fold open. Raises: UsageError for a paper that is not
    known."""
    if paper not in PAPERS:
        raise UsageError(f"Unknown --paper {paper!r}. Use one of: {', '.join(PAPERS)}.")
    opened = html.replace("<details>", "<details open>")
    return opened.replace("</style>", f"@page {{ size: {PAPERS[paper]}; }}</style>", 1)


def write_pdf(html: str, path: Path, *, paper: str = "a4", timeout: float = 180) -> None:
    """Print a page to a PDF file, whole or not at all.

    Raises: UsageError without a browser or for an unknown paper; LineamentError where the browser fails or takes longer
        than `timeout` seconds.
    """
    text, browser = for_paper(html, paper), find_browser()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lineament-pdf-") as folder:
        source, made = Path(folder) / "page.html", Path(folder) / "page.pdf"
        source.write_text(text, encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={made}", source.as_uri()]
        try:
            ran = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise LineamentError(
                f"{browser} did not finish the PDF within {timeout:g} seconds. Write --html and print it from a "
                "browser."
            ) from error
        if ran.returncode or not made.is_file() or not made.stat().st_size:
            said = ran.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["nothing"]
            raise LineamentError(
                f"{browser} made no PDF (it said: {said[0]}). Write --html and print it from a browser."
            )
        with replacing(path, unique=True) as partial:
            shutil.copyfile(made, partial)
