"""Memory of one long run of the command line: 20,000 photos of mixed sizes. Writes soak.md and soak.json.

    python benchmarks/soak.py [--photos 20000] [--out docs/benchmarks]

The photos are hard links with names of their own to a few files made from the bundled portrait: 80 to 640 pixels, a
mosaic of many faces, one without a face, a cut file, and once in 2,000 one of 2 megapixels. The resident memory of the
process (VmRSS) is read while it writes.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sheet
from PIL import Image

from lineament.api import load
from lineament.bench import Scene, scene_photo
from lineament.demo import mosaic, portrait

TARGET_MB = 30.0


def files() -> list[tuple[bytes, int]]:
    """Return (a file's bytes, how often it comes among 100 photos)."""
    made = []
    for side, times in ((80, 15), (120, 20), (160, 20), (220, 20), (320, 12), (500, 6), (640, 1)):
        buffer = io.BytesIO()
        portrait().resize((side, side * 5 // 4), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
        made.append((buffer.getvalue(), times))
    crowd, plain = io.BytesIO(), io.BytesIO()
    Image.fromarray(mosaic([96, 72, 96, 72], 168)).save(crowd, "PNG")
    Image.new("RGB", (60, 40), (90, 120, 90)).save(plain, "JPEG")
    return [*made, (crowd.getvalue(), 3), (plain.getvalue(), 2), (made[0][0][:900], 1)]


def lay_out(folder: Path, photos: int) -> None:
    """Fill a folder with `photos` names of the files, mixed evenly."""
    deck = [index for index, (_, times) in enumerate(files()) for _ in range(times)]
    deck = [deck[place * 37 % len(deck)] for place in range(len(deck))]
    store = folder.parent / "files"
    store.mkdir()
    for index, (data, _) in enumerate(files()):
        (store / str(index)).write_bytes(data)
    (store / "large").write_bytes(scene_photo(Scene(1, 1632, 1224)))
    for number in range(photos):
        source = "large" if number % 2000 == 1000 else str(deck[number % len(deck)])
        os.link(store / source, folder / f"{number:06}.jpg")


def resident_mb(pid: int) -> float | None:
    """Return VmRSS in megabytes; None once the process has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")]
    return found[0] * 1024 / 1e6 if found else None


def soak(photos: int, model: str) -> dict[str, Any]:
    """Run the command line over the photos; return samples [records, MB] and what came out."""
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "in", Path(place) / "out.jsonl"
        folder.mkdir()
        lay_out(folder, photos)
        command = [
            sys.executable,
            "-m",
            "lineament",
            "analyze",
            "in",
            "--jsonl",
            str(out),
            "--model",
            model,
            "--quiet",
            "--max-failed",
            "100%",
        ]
        began = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=place, env=os.environ | {"PYTHONPATH": str(sheet.ROOT)}, stderr=subprocess.DEVNULL
        )
        samples = watch(child, out, max(1, photos // 200))
        seconds = time.perf_counter() - began
        if child.returncode:
            raise SystemExit(f"the command line ended with {child.returncode}")
        statuses: dict[str, int] = {}
        with out.open() as lines:
            for line in lines:
                status = json.loads(line)["status"]
                statuses[status] = statuses.get(status, 0) + 1
    return {
        "photos": photos,
        "seconds": round(seconds, 1),
        "photos_per_s": round(photos / seconds, 1),
        "statuses": statuses,
        "samples": samples,
    }


def watch(child: subprocess.Popen[bytes], out: Path, every: int) -> list[tuple[int, float]]:
    """Return (records written, MB) about every `every` records until the process ends."""
    samples: list[tuple[int, float]] = []
    records, position = 0, 0
    while child.poll() is None:
        time.sleep(0.05)
        if not out.exists():
            continue
        with out.open("rb") as file:
            file.seek(position)
            new = file.read()
        records, position = records + new.count(b"\n"), position + len(new)
        memory = resident_mb(child.pid)
        if memory is not None and (not samples or records - samples[-1][0] >= every):
            samples.append((records, round(memory, 1)))
    return samples


def verdict(samples: Sequence[tuple[int, float]], photos: int) -> dict[str, float]:
    """Return the memory at a tenth, the half and the end (medians of the samples around), and what the second half
    added."""

    def around(share: float) -> float:
        near = sorted(samples, key=lambda one: abs(one[0] - share * photos))[:5]
        return sorted(memory for _, memory in near)[len(near) // 2]

    tenth, half, end = around(0.1), around(0.5), around(1.0)
    first, last = ([m for n, m in samples if (n > photos / 2) == late] for late in (False, True))
    return {
        "tenth_mb": tenth,
        "half_mb": half,
        "end_mb": end,
        "added_mb": round(end - half, 1),
        "peak_added_mb": round(max(last) - max(first), 1),
    }


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    run, found = document["run"], document["memory"]
    met = "met" if found["added_mb"] < TARGET_MB else "**not met**"
    lines = sheet.about_lines("Memory over a long run", document)
    lines += [
        f"{run['photos']} photos in one run of `lineament analyze`, {run['photos_per_s']:.1f} a second: hard links "
        "with names of their own to a",
        "few files of 80 to 640 pixels made from the bundled portrait, with crowds, photos without a face and cut "
        "files among them, and one of",
        "2 megapixels in 2,000.", "",
        f"The last {run['photos'] // 2} photos added **{found['added_mb']:.1f} MB** (target: less than {TARGET_MB:g}, "
        f"{met}); the highest sample of",
        f"the second half lies {found['peak_added_mb']:.1f} MB above the highest of the first.", "",
    ]  # fmt: skip
    rows = [
        (name, f"{found[key]:.1f}") for name, key in (("a tenth", "tenth_mb"), ("half", "half_mb"), ("all", "end_mb"))
    ]
    lines += sheet.table(("photos done", "resident memory, MB"), rows)
    return lines + sheet.table(("status", "records"), sorted(run["statuses"].items()))


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    options.add_argument("--photos", type=int, default=20_000)
    given = options.parse_args(arguments)
    run = soak(given.photos, given.model)
    document = {
        "command": sheet.command("soak", arguments),
        "environment": sheet.environment(load(given.model)),
        "run": run,
    }
    document["memory"] = verdict(run["samples"], given.photos)
    sheet.write(given.out, "soak", document, page(document))


if __name__ == "__main__":
    main()
