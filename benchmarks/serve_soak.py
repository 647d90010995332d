"""The service under changing load for minutes: memory and latency over time. Writes serve_soak.json, serve_soak.md and
a drawing.

    python benchmarks/serve_soak.py [--minutes 60] [--out docs/benchmarks]

Clients come and go in waves of one to eight; each asks for one-face photos without a pause. Every ten seconds the
resident memory of the service and its workers and the latencies since the last sample are kept; at half time the model
is reloaded (SIGHUP). An hour is what the issue asks of a release; a run of minutes says so in its page.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from serve_common import OUT, Server, portraits

from lineament.runtime.threads import processor_name

SAMPLE_SECONDS, WAVE_SECONDS, MOST = 10.0, 90.0, 8
MOST_OWN_LOAD = 3
"""What the service, its worker and the clients load a machine with by themselves, at most."""
OTHER_WORK = " Other work was waiting too: the latencies are mostly waiting for it."
CURVES = (
    ("mb", "#2a6f97", "memory of the service and its worker, MB"),
    ("p50", "#b5651d", "median latency, ms"),
    ("clients", "#5a7d3a", "clients"),
)


def clients_at(seconds: float) -> int:
    """Return how many clients ask at a time: a wave from one to eight and back."""
    return 1 + round((MOST - 1) * 0.5 * (1 - math.cos(2 * math.pi * seconds / WAVE_SECONDS)))


class Load:
    """Clients that ask while their number is wanted; what they saw is taken by `take`."""

    def __init__(self, port: int) -> None:
        self._port, self._photos, self._wanted, self._lock = port, portraits(8, 320), 0, threading.Lock()
        self._seen: list[tuple[int, float]] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(MOST)]
        for thread in self._threads:
            thread.start()

    def use(self, clients: int) -> None:
        self._wanted = clients

    def take(self) -> list[tuple[int, float]]:
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        while not self._ended.is_set():
            if number >= self._wanted:
                time.sleep(0.05)
                continue
            begun = time.perf_counter()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
                connection.request("POST", "/v1/analyze", self._photos[number % len(self._photos)])
                status = connection.getresponse().status
                connection.close()
            except OSError:
                status = 0
            with self._lock:
                self._seen.append((status, (time.perf_counter() - begun) * 1e3))


def soak(minutes: float) -> dict[str, Any]:
    """Return samples and totals."""
    samples, statuses, reloaded = [], dict[int, int](), False
    with Server("--reload-model", "--threads", "1") as server:
        load, begun = Load(server.port), time.monotonic()
        last = begun
        while (now := time.monotonic()) - begun < minutes * 60:
            load.use(clients_at(now - begun))
            if not reloaded and now - begun > minutes * 30:
                server.process.send_signal(signal.SIGHUP)
                reloaded = True
            if now - last >= SAMPLE_SECONDS:
                last, seen = now, load.take()
                for status, _ in seen:
                    statuses[status] = statuses.get(status, 0) + 1
                times = [ms for status, ms in seen if status == 200]
                p50, p95 = (round(float(np.percentile(times, q)), 1) if times else None for q in (50, 95))
                samples.append(
                    {
                        "s": round(now - begun),
                        "clients": clients_at(now - begun),
                        "mb": server.megabytes(),
                        "p50": p50,
                        "p95": p95,
                        "n": len(seen),
                    }
                )
            time.sleep(0.2)
        load.end()
    return {
        "minutes": minutes,
        "processor": f"{processor_name()}, {os.cpu_count()} CPUs",
        "load_average": round(os.getloadavg()[2], 1),
        "samples": samples,
        "statuses": {str(key): value for key, value in sorted(statuses.items())},
        "reloads": int(reloaded),
    }


def draw(result: dict[str, Any]) -> str:
    """Return an SVG of memory, median latency and clients over time."""
    whole, lines = result["minutes"] * 60, []
    for place, (key, colour, label) in enumerate(CURVES):
        top, rows = 30 + 150 * place, [row for row in result["samples"] if row[key] is not None]
        high = max((row[key] for row in rows), default=1) * 1.1 or 1
        spots = [(60 + 620 * row["s"] / whole, top + 100 - 100 * row[key] / high) for row in rows]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        lines += [
            f'<polyline fill="none" stroke="#999" points="60,{top} 60,{top + 100} 680,{top + 100}"/>',
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>',
            _text(60, top - 8, label, colour, "start"),
            *(_text(54, top + 104 - 100 * part, f"{part * high:.0f}", "#555", "end") for part in (0, 0.5, 1)),
        ]
    bottom = 30 + 150 * len(CURVES) - 34
    lines += [
        _text(60 + 620 * part, bottom, f"{part * result['minutes']:.0f} min", "#555", "middle") for part in (0, 0.5, 1)
    ]
    back = '<rect width="720" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {bottom + 14}">{back}{"".join(lines)}</svg>\n'


def _text(x: float, y: float, words: str, colour: str, anchor: str) -> str:
    font = f'font-family="sans-serif" font-size="12" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {font}>{words}</text>'


def page(result: dict[str, Any]) -> str:
    """Return the page."""
    samples = result["samples"]
    third = max(1, len(samples) // 3)
    early, late = (
        float(np.median([row["mb"] for row in part]))
        for part in (samples[third : 2 * third] or samples, samples[-third:])
    )
    told = "; ".join(f"{key}: {value}" for key, value in result["statuses"].items())
    note = "" if result["minutes"] >= 60 else f" **A run of {result['minutes']:g} minutes, not of an hour.**"
    return "\n".join([
        "# The service under changing load", "", "Written by `benchmarks/serve_soak.py`; do not edit." + note, "",
        f"One worker, one to {MOST} clients in waves of {WAVE_SECONDS:g} s; the model reloaded {result['reloads']} "
        "time(s) in between.",
        f"Answers by status: {told}. {_latencies(samples)}",
        f"Memory of the service and its worker: {early:.0f} MB in the middle third, {late:.0f} MB in the last.",
        f"{result['processor']}; the machine's load over the last 15 minutes was {result['load_average']}."
        + OTHER_WORK * (result["load_average"] > MOST_OWN_LOAD), "",
        "![Memory and latency](serve_soak.svg)", "",
    ])  # fmt: skip


def _latencies(samples: list[dict[str, Any]]) -> str:
    """Say the median latency with few clients and with many."""
    said = []
    for few, many in ((1, 2), (MOST - 1, MOST)):
        times = [row["p50"] for row in samples if few <= row["clients"] <= many and row["p50"] is not None]
        if times:
            said.append(f"{np.median(times):.0f} ms with {few} or {many} clients")
    return f"Median latency: {', '.join(said)}." if said else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    result = soak(given.minutes)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "serve_soak.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (given.out / "serve_soak.svg").write_text(draw(result), encoding="utf-8")
    (given.out / "serve_soak.md").write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
