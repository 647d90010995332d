"""What the service's three benchmarks share: starting the real command, photos, memory, and the page written from their
results."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PORTRAIT = ROOT / "lineament" / "weights" / "astronaut.jpg"
OUT = ROOT / "docs" / "benchmarks"


class Server:
    """`lineament serve` on a free port, in a process of its own; use it in a `with`."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "lineament", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LINEAMENT_API_KEY": "", "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stderr is not None
        self.port = 0
        for line in self.process.stderr:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.port = int(found[1])
                break
        if not self.port:
            raise SystemExit("the service did not start")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.status = self.process.wait(timeout=120)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def processes(self) -> list[int]:
        """Return the process ids of the service and its workers (Linux); only the service's elsewhere."""
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")  # each thread has its own
        return [self.process.pid, *(int(pid) for children in lists for pid in children.read_text().split())]

    def workers(self) -> list[int]:
        return [pid for pid in self.processes()[1:] if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def megabytes(self) -> float | None:
        """Return the resident memory of the service and its workers together; None where the system does not tell."""
        total = 0.0
        for pid in self.processes():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                return None
            total += int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024 if "VmRSS" in status else 0
        return total


def portraits(count: int = 12, side: int = 500) -> list[bytes]:
    """Return JPEG photos of side x side pixels with one face each, all different: the bundled portrait, shifted,
    mirrored, in other light."""
    portrait = np.asarray(
        Image.open(PORTRAIT).convert("RGB").resize((side, side), Image.Resampling.LANCZOS), np.float64
    )
    photos = []
    for i in range(count):
        pixels = np.roll(portrait, (3 * i, 5 * i), (0, 1))
        pixels = (pixels[:, ::-1] if i % 2 else pixels) * (0.75 + 0.04 * (i % 8))
        stream = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=92)
        photos.append(stream.getvalue())
    return photos


def record(part: str, result: dict[str, Any], out: Path) -> None:
    """Keep one benchmark's result in serve.json and write serve.md from all of them."""
    from lineament.training.environment import describe_environment

    out.mkdir(parents=True, exist_ok=True)
    path = out / "serve.json"
    document = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    environment = describe_environment() | {"cpus": os.cpu_count(), "command": " ".join(["python", *sys.argv])}
    document[part] = {"environment": environment, **result}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "serve.md").write_text(_page(document), encoding="utf-8")


def _page(document: dict[str, Any]) -> str:
    lines = [
        "# The service: load, attacks, page",
        "",
        "Written by `benchmarks/serve_load.py`, `serve_attacks.py` and `serve_page.py`; do not edit.",
        "",
    ]
    for part, write in (("load", _load), ("attacks", _attacks), ("page", _page_times)):
        if part in document:
            environment = document[part]["environment"]
            told = (
                f"`{environment['command']}` on {environment['processor']}, {environment['cpus']} CPUs, Python "
                f"{environment['python']}."
            )
            lines += [*write(document[part]), "", told, ""]
    return "\n".join(lines)


def _load(result: dict[str, Any]) -> list[str]:
    lines = [
        "## Load",
        "",
        f"One-face photos of {result['side']} px, {result['seconds']:g} s per row, on loopback; the clients share the "
        "processor with the service. "
        f"In the same minutes the pipeline in one process does {result['in_process']['per_second']:.1f} photos per "
        "second with "
        f"{result['in_process']['threads']} threads, and one photo in {result['in_process']['milliseconds']:.1f} ms "
        "(median). Every answer is "
        "compared with the in-process answer to its photo. Memory is of the service and its workers.",
        "",
        "| clients | answered per second | of in-process | p50 ms | p95 ms | p99 ms | answered | 429 or 503 | wrong | "
        "failed "
        "| memory MB, begin to end (peak) |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        memory = (
            "-"
            if row["memory"] is None
            else f"{row['memory'][0]:.0f} to {row['memory'][1]:.0f} ({row['memory'][2]:.0f})"
        )
        lines.append(
            f"| {row['clients']} | {row['per_second']:.1f} | {row['of_in_process']:.2f} | {row['p50']:.1f} | "
            f"{row['p95']:.1f} | {row['p99']:.1f} "
            f"| {row['answered']} | {row['refused']} | {row['wrong']} | {row['failed']} | {memory} |"
        )
    return lines


def _attacks(result: dict[str, Any]) -> list[str]:
    lines = ["## Attacks", "", "After each attack a photo was sent; all of them had to be answered as before.", ""]
    lines += ["| attack | outcome | limit named | seconds | service after it |", "|---|---|---|---:|---|"]
    for row in result["rows"]:
        lines.append(
            f"| {row['attack']} | {row['outcome']} | {row['limit'] or '-'} | {row['seconds']:.2f} | {row['after']} |"
        )
    return lines


def _page_times(result: dict[str, Any]) -> list[str]:
    photo = f"{result['megapixels']:.1f} megapixels ({result['bytes'] / 1e6:.1f} MB JPEG)"
    times = f"median {result['median_ms']:.0f} ms, slowest {result['slowest_ms']:.0f} ms"
    told = (
        f"From dropping a photo of {photo} to drawn boxes and answers, in {result['browser']}, {result['runs']} runs: "
        f"{times}."
    )
    return ["## The page", "", told]
