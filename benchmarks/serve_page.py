"""The page's time from dropping a 2-megapixel photo to drawn answers, in Chromium.

Run on a quiet machine: python benchmarks/serve_page.py        writes docs/benchmarks/serve.json and serve.md. Needs
Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import statistics
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from serve_common import OUT, PORTRAIT, Server, record

DROP_AND_WAIT = """async (data) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
  const start = performance.now();
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  while (!document.querySelector(".row") || !document.querySelector("#veil").hidden)
    await new Promise(requestAnimationFrame);
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const took = performance.now() - start;
  document.querySelector("#clear").click();
  document.querySelector("#answers").replaceChildren();
  return took;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    stream = io.BytesIO()
    Image.open(PORTRAIT).convert("RGB").resize((1448, 1448), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=92)
    photo = base64.b64encode(stream.getvalue()).decode()
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with Server("--model", chosen.model) as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(server.url)
        page.wait_for_function("() => document.querySelector('#model-line').textContent.includes('@')")
        page.evaluate(DROP_AND_WAIT, photo)  # the first one warms up and is not counted
        times = [page.evaluate(DROP_AND_WAIT, photo) for _ in range(chosen.runs)]
        name = f"Chromium {browser.version}"
        browser.close()
    result = {
        "megapixels": 1448 * 1448 / 1e6, "bytes": len(stream.getvalue()), "runs": chosen.runs, "browser": name,
        "times_ms": times, "median_ms": statistics.median(times), "slowest_ms": max(times),
    }  # fmt: skip
    print(result)
    record("page", result, chosen.out)


if __name__ == "__main__":
    main()
