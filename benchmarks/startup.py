"""Cold start of the command line, its peak memory on a 12-megapixel photo, and milliseconds per stage. Writes
startup.md and startup.json.

    python benchmarks/startup.py [--runs 5] [--python .venv-demo/bin/python] [--out docs/benchmarks]

Run it on a quiet machine. Each run is a new process: interpreter, imports, both networks, one photo. "First answer" is
the time until the first record arrives on its standard output. The files are in the system's cache (a first run, not
counted, sees to that). Memory is the process's own high-water mark (VmHWM), asked for by itself as it ends:
`lineament.bench.CHILD`. Stages are timed by `lineament.bench`, as `lineament bench` does.
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
from lineament.bench import CHILD, bench
from lineament.demo import portrait

SIZE = (4000, 3000)
TARGET_SECONDS, TARGET_MEGABYTES = 2.5, 600.0

STEPS = """
import sys, json
from time import perf_counter
start = perf_counter()
import lineament.cli, lineament.cli.analyze, lineament.api, lineament.runs.run, lineament.outputs.sinks
imported = perf_counter()
model = lineament.api.load(sys.argv[2])
loaded = perf_counter()
model.analyze(sys.argv[1])
answered = perf_counter()
spent = {"imports": imported - start, "loading both networks": loaded - imported, "the photo": answered - loaded}
print(json.dumps(spent))
"""


def photo(columns: int, rows: int) -> bytes:
    """Return a 12-megapixel JPEG, quality 90: the portrait in a grid of columns x rows, on grey."""
    side = min(SIZE[0] // columns, SIZE[1] // rows)
    canvas, face, buffer = (
        Image.new("RGB", SIZE, (196, 198, 204)),
        portrait().resize((side, side), Image.Resampling.BICUBIC),
        io.BytesIO(),
    )
    left = (SIZE[0] - side * columns) // 2
    for index in range(columns * rows):
        canvas.paste(face, (left + side * (index % columns), side * (index // columns)))
    canvas.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def start(python: str, path: Path, model: str) -> dict[str, float]:
    """Return seconds to the first record and to the end, peak megabytes and faces of one fresh process."""
    command = [python, "-c", CHILD, "analyze", str(path), "--jsonl", "-", "--model", model]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ())
    assert child.stdout is not None
    record = child.stdout.readline()
    first = time.perf_counter() - began
    _, said = child.communicate()
    if child.returncode:
        raise SystemExit(f"the command line failed: {said}")
    return {
        "first_answer_s": first, "end_s": time.perf_counter() - began, "peak_mb": float(said.split()[-1]),
        "faces": len(json.loads(record)["faces"])
    }  # fmt: skip


def steps(python: str, path: Path, model: str) -> dict[str, float]:
    """Return seconds of imports, loading and the first photo inside one fresh process."""
    done = subprocess.run(
        [python, "-c", STEPS, str(path), model], capture_output=True, text=True, check=True, env=environ()
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def environ() -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(sheet.ROOT), os.environ.get("PYTHONPATH", "")]))
    }


def cold(python: str, model: str, runs: int) -> dict[str, Any]:
    """Return the cold start on a 12-megapixel portrait and on a photo of twelve such faces, and where the portrait's
    time goes."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, grid in (("one face", (1, 1)), ("twelve faces", (4, 3))):
            path = Path(folder) / f"{name}.jpg"
            path.write_bytes(photo(*grid))
            times = [start(python, path, model) for _ in range(runs + 1)][1:]
            found[name] = {
                "photo": [*SIZE],
                "file_bytes": path.stat().st_size,
                "faces_found": int(times[0]["faces"]),
                "runs": runs,
            }
            found[name] |= {
                key: sheet.spread([one[key] for one in times]) for key in ("first_answer_s", "end_s", "peak_mb")
            }
        inside = [steps(python, Path(folder) / "one face.jpg", model) for _ in range(runs)]
    return found | {"inside": {key: sheet.spread([one[key] for one in inside]) for key in inside[0]}}


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    lines, cold_start = sheet.about_lines("Cold start, memory, stages", document), document["cold_start"]
    headline = cold_start["one face"]
    seconds, peak = headline["first_answer_s"]["median"], headline["peak_mb"]["median"]
    met = "met" if seconds < TARGET_SECONDS and peak < TARGET_MEGABYTES else "**not met**"
    lines += [
        f"One photo of {SIZE[0]}x{SIZE[1]} pixels, a new process: first answer after **{seconds:.2f} s**, peak memory "
        f"**{peak:.0f} MB** (target:",
        f"{TARGET_SECONDS} s and {TARGET_MEGABYTES:.0f} MB, {met}). Medians of {headline['runs']} processes, least to "
        "largest in brackets; files in",
        f"the system's cache. Interpreter: {document['interpreter']}.", "",
    ]  # fmt: skip
    rows = [
        (name, row["faces_found"], _seconds(row["first_answer_s"]), _seconds(row["end_s"]),
         f"{row['peak_mb']['median']:.0f} ({row['peak_mb']['min']:.0f}-{row['peak_mb']['max']:.0f})")
        for name, row in cold_start.items() if name != "inside"
    ]  # fmt: skip
    lines += sheet.table(("12-megapixel photo of", "faces found", "first answer, s", "end, s", "peak MB"), rows)
    lines += [
        "Where the time of the first goes, inside the process (what is missing is the start of the interpreter):",
        "",
    ]
    lines += sheet.table(("step", "s"), ((name, _seconds(row)) for name, row in cold_start["inside"].items()))
    lines += [
        "## Stages",
        "",
        "Milliseconds per photo, one photo at a time, in a warm process: median (10th to 90th percentile).",
        "",
    ]
    names = ("decode", "detect", "align", "attributes", "whole")
    rows = [
        (f"{row['faces_found']} of {count}", "x".join(map(str, row["photo"])),
        *(_milliseconds(row[name]) for name in names),
         f"{document['stream'][count]['photos_per_s']:.1f}")
        for count, row in document["stages"].items()
    ]  # fmt: skip
    return lines + sheet.table(("faces", "photo", *names, "stream, photos/s"), rows)


def _seconds(row: dict[str, float]) -> str:
    return f"{row['median']:.2f} ({row['min']:.2f}-{row['max']:.2f})"


def _milliseconds(row: dict[str, float]) -> str:
    return f"{row['median_ms']:.1f} ({row['p10_ms']:.1f}-{row['p90_ms']:.1f})"


def shown(python: str) -> str:
    """Return an interpreter's path as the page shows it: no folder of this machine."""
    return Path(python).name if Path(python).is_absolute() else python


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    options.add_argument("--runs", type=int, default=5, help="processes per photo, after one that is not counted")
    options.add_argument("--stage-runs", type=int, default=15, help="measurements per stage")
    options.add_argument(
        "--python", default=sys.executable, help="interpreter to start, for example the core-only one of `make demo`"
    )
    given = options.parse_args(arguments)
    model = load(given.model)
    staged = bench(model, runs=given.stage_runs, cold=False)
    document = {
        "command": sheet.command("startup", arguments), "environment": staged["environment"],
        "interpreter": "this environment" if given.python == sys.executable else shown(given.python),
        "cold_start": cold(given.python, given.model, given.runs), "stages": staged["stages"],
        "stream": staged["stream"],
    }  # fmt: skip
    sheet.write(given.out, "startup", document, page(document))


if __name__ == "__main__":
    main()
