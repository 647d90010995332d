"""kill -9 at random moments, then --resume: is anything lost, done twice or different? Writes kill.md and kill.json.

    python benchmarks/kill.py [--kills 25] [--photos 1500] [--out docs/benchmarks]

The first kill comes before the first record, the others at random moments, while loading and while writing. After the
last the run is resumed to its end and compared, byte for byte after sorting, with one that nobody disturbed. Two
outputs are written at once, JSONL and CSV.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sheet
from PIL import Image

from lineament.api import load
from lineament.demo import portrait

LEAST_KILLS = 20


def write_photos(folder: Path, photos: int) -> None:
    """Write portraits of 96 to 220 pixels, every 29th of them cut."""
    made = []
    for side in (96, 120, 150, 180, 220):
        buffer = io.BytesIO()
        portrait().resize((side, side), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    folder.mkdir()
    for number in range(photos):
        data = made[number % len(made)]
        (folder / f"{number:05}.jpg").write_bytes(data[: len(data) // 2] if number % 29 == 28 else data)


def command(name: str, model: str) -> list[str]:
    outputs = ["--jsonl", f"{name}.jsonl", "--csv", f"{name}.csv"]
    return [
        sys.executable,
        "-m",
        "lineament",
        "analyze",
        "in",
        *outputs,
        "--model",
        model,
        "--resume",
        "--quiet",
        "--max-failed",
        "100%",
    ]


def records(path: Path) -> int:
    """Return how many whole records a JSONL file holds."""
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def kill_once(place: Path, model: str, chance: random.Random, *, first: bool, stride: int) -> dict[str, Any]:
    """Start the run, kill it at a random moment (most often while it writes, up to `stride` records further), and
    return what was written then."""
    out = place / "killed.jsonl"
    before = records(out)
    child = subprocess.Popen(
        command("killed", model), cwd=place, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    began = time.monotonic()
    writing = not first and chance.random() < 0.8  # the rest die while they load, or repair the output
    wanted = before + chance.randint(1, stride)
    while writing and child.poll() is None and records(out) < wanted and time.monotonic() - began < 120:
        time.sleep(0.002)
    time.sleep(chance.random() * (0.02 if writing else 0.3))
    alive = child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    after = records(out)
    torn = out.is_file() and bool(out.stat().st_size) and not out.read_bytes().endswith(b"\n")
    return {
        "before": before,
        "after": after,
        "torn_line": torn,
        "after_s": round(time.monotonic() - began, 2),
        "was_running": alive,
    }


def experiment(kills: int, photos: int, model: str) -> dict[str, Any]:
    """Kill, resume, compare."""
    chance, rows = random.Random(20), []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_photos(place / "in", photos)
        for number in range(kills):
            row = kill_once(place, model, chance, first=number == 0, stride=max(1, photos // kills))
            if not row["was_running"]:
                break
            rows.append(row)
        for name in ("killed", "whole"):
            subprocess.run(
                command(name, model),
                cwd=place,
                env=_environment(),
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return {"photos": photos, "kills": rows, **compare(place, photos)}


def compare(place: Path, photos: int) -> dict[str, Any]:
    """Return, over both outputs, inputs lost and repeated, and whether the sorted files are the same bytes."""
    wanted = {f"in/{number:05}.jpg" for number in range(photos)}
    lines = [json.loads(line)["source"] for line in (place / "killed.jsonl").read_text().splitlines()]
    with (place / "killed.csv").open(newline="") as file:
        cells = [row["source"] for row in csv.DictReader(file)]
    counts = [Counter(lines), Counter(cells)]
    same = [
        _sorted_lines(place / f"killed.{kind}") == _sorted_lines(place / f"whole.{kind}") for kind in ("jsonl", "csv")
    ]
    return {
        "lost": sum(len(wanted - set(count)) for count in counts),
        "repeated": sum(number - 1 for count in counts for number in count.values()), "identical": all(same),
    }  # fmt: skip


def _sorted_lines(path: Path) -> list[bytes]:
    return sorted(path.read_bytes().splitlines())


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(sheet.ROOT)}


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    found, rows = document["found"], document["found"]["kills"]
    lines = sheet.about_lines("kill -9 and resume", document)
    early = sum(row["after"] == 0 for row in rows)
    met = len(rows) >= LEAST_KILLS and early and not found["lost"] and not found["repeated"] and found["identical"]
    same = "yes" if found["identical"] else "no"
    lines += [
        f"{found['photos']} photos, {len(rows)} kills at random moments, {early} of them before the first record; "
        "JSONL and CSV written at once,",
        f"each run with `--resume`. Lost: **{found['lost']}**. Done twice: **{found['repeated']}**. The same bytes, "
        "sorted, as a run that nobody",
        f"disturbed: **{same}**. Target: at least {LEAST_KILLS} kills, one before the first record, nothing lost, "
        "nothing twice, identical:",
        f"{'met' if met else '**not met**'}.", "",
    ]  # fmt: skip
    table = [
        (i, f"{row['after_s']:.2f}", row["before"], row["after"], "yes" if row["torn_line"] else "no")
        for i, row in enumerate(rows, start=1)
    ]
    return lines + sheet.table(
        ("kill", "seconds after start", "records before", "records at the kill", "last line torn"), table
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    options.add_argument("--kills", type=int, default=25)
    options.add_argument("--photos", type=int, default=1500)
    given = options.parse_args(arguments)
    document = {"command": sheet.command("kill", arguments), "environment": sheet.environment(load(given.model))}
    document["found"] = experiment(given.kills, given.photos, given.model)
    sheet.write(given.out, "kill", document, page(document))


if __name__ == "__main__":
    main()
