"""Made records through the commands: `index --from records.parquet`, `search` to its files, and pages. Part of
benchmarks/search.py.

Rows, not pixels: one face a photo, probabilities of a factor model. Every command runs as a process of its own, so its
time has Python's start and the reading of the model in it, and its memory is the most it ever held.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lineament.outputs.rows import COUNT_COLUMNS, TEXT_COLUMNS, columns
from lineament.schema import CELEBA_40

CHUNK, REPEATS = 4096, 3
FILES = ("json", "csv", "parquet")


def write_records(path: Path, count: int, model: str, draw: Callable[[int, np.random.Generator], np.ndarray]) -> None:
    """Write records as `analyze --profile all --parquet` does. draw: how many -> probabilities (n,40)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(7), None
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        probs = np.round(draw(n, rng).astype(np.float64), 4)
        table = pa.table({name: _column(name, start, n, model, probs, rng) for name in columns(CELEBA_40)})
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _column(name: str, start: int, n: int, model: str, probs: np.ndarray, rng: np.random.Generator) -> Any:
    import pyarrow as pa

    kind, _, attribute = name.partition("_")
    if attribute in CELEBA_40:
        own = probs[:, CELEBA_40.index(attribute)]
        return pa.array(own if kind == "prob" else np.where(own >= 0.5, "yes", "no"))
    if name == "source":
        return pa.array([f"/photos/d{i // 1000}/IMG_{i}.jpg" for i in range(start, start + n)])
    if name in TEXT_COLUMNS:
        return pa.array([{"status": "ok", "model": model, "profile": "all"}.get(name)] * n, pa.string())
    if name in COUNT_COLUMNS:
        return pa.array([{"width": 4000, "height": 3000, "face": 0}[name]] * n, pa.int32())
    return pa.array(np.round(rng.random(n) * (1 if name in ("detection_prob", "sharpness") else 1000), 1))


LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
arguments = [sys.executable, "-m", "lineament", *sys.argv[1:]]
_, status, used = os.wait4(os.spawnv(os.P_NOWAIT, sys.executable, arguments), 0)
spent = {"s": time.perf_counter() - began, "cpu_s": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}
print(json.dumps(spent), file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts a command from a small process: what a process held before it became another counts as that one's memory."""


def ran(*arguments: str | Path) -> dict[str, float]:
    """Run `lineament` once; return its wall-clock seconds, its processor's, and the most memory it held (MB)."""
    command = [sys.executable, "-c", LAUNCHER, *map(str, arguments), "--quiet"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    spent: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return spent


def median(*arguments: str | Path) -> dict[str, float]:
    runs = [ran(*arguments) for _ in range(REPEATS)]
    return {key: float(np.median([run[key] for run in runs])) for key in runs[0]}


def measure(
    count: int, folder: Path, model: str, draw: Callable[[int, np.random.Generator], np.ndarray], threads: int
) -> dict[str, Any]:
    """Return what each command took on `count` made records: built once, asked again, then searched."""
    records, db, one = folder / f"{count}.parquet", folder / f"{count}.duckdb", f"--threads={threads}"
    write_records(records, count, model, draw)
    steps = {
        "index --from": ran("index", "--from", records, "--db", db, one),
        "index --from, again": ran("index", "--from", records, "--db", db, one),
    }
    page = ("search", db, "smiling and eyeglasses", "--loose", one)
    outs = [f"--{kind}={folder / f'hits.{kind}'}" for kind in FILES]
    for offset in (0, count // 2):
        steps[f"search --offset {offset:,}, a page of 50 to JSON, CSV and Parquet"] = median(
            *page, f"--offset={offset}", *outs
        )
        steps[f"search --offset {offset:,} --html, a gallery of 50"] = median(
            *page, f"--offset={offset}", f"--html={folder / 'page.html'}"
        )
    for kind, out in zip(FILES, outs, strict=True):
        steps[f"search --limit {count:,}, all of them to {kind}"] = ran(*page, f"--limit={count}", out)
    return {"records": count, "bytes": db.stat().st_size, "steps": steps}


def lines(found: list[dict[str, Any]]) -> list[str]:
    """Return the page's part."""
    text = [
        "## Records through the commands", "",
        "Made records (rows, no pixels; one face a photo, 40 probabilities) as `analyze --profile all --parquet` "
        "writes them, one thread.",
        "Every line is a process of its own: Python's start is in its time, and memory is the most it held. On a "
        "quiet machine the seconds",
        f"are about those of the processor. Pages: median of {REPEATS} runs; the others ran once.", "",
    ]  # fmt: skip
    for run in found:
        text += [
            f"**{run['records']:,} records** (index {run['bytes'] / 1e6:.0f} MB)",
            "",
            "| command | s | s of processor | MB |",
            "|---|---:|---:|---:|",
        ]
        text += [
            f"| {name} | {step['s']:.1f} | {step['cpu_s']:.1f} | {step['mb']:.0f} |"
            for name, step in run["steps"].items()
        ]
        text.append("")
    return text
