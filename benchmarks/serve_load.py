"""Load on loopback: 1, 8 and 64 clients, every response compared with the in-process answer to its photo.

Run on a quiet machine: python benchmarks/serve_load.py        writes docs/benchmarks/serve.json and serve.md (about 4
minutes); exit status 1 if any answer was wrong, any request failed, or any was neither answered nor refused with 429 or
503. Try it: python benchmarks/serve_load.py --seconds 3 --out /tmp/serve
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from serve_common import OUT, Server, portraits, record

TIME_OUT = 70.0


@dataclass
class Seen:
    """What the clients of one row saw."""

    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)


async def client(port: int, photos: list[bytes], expected: list[bytes], begin: int, until: float, seen: Seen) -> None:
    """Send photo after photo on one connection until the time is over; wait a moment where the service asks for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = begin
    while time.perf_counter() < until:
        index = number % len(photos)
        number += 1
        start = time.perf_counter()
        try:
            status, headers, body = await asyncio.wait_for(_ask(reader, writer, photos[index]), TIME_OUT)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            seen.failed.append(type(error).__name__)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if status == 200:
            seen.milliseconds.append(1000 * (time.perf_counter() - start))
            seen.wrong += body != expected[index]
        elif status in (429, 503) and "retry-after" in headers:
            seen.refused += 1
            await asyncio.sleep(min(1.0, float(headers["retry-after"])))
        else:
            seen.failed.append(str(status))
        if headers.get("connection") == "close":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, photo: bytes
) -> tuple[int, dict[str, str], bytes]:
    writer.write(
        b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        % len(photo)
        + photo
    )
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def row(
    server: Server, clients: int, photos: list[bytes], expected: list[bytes], seconds: float
) -> dict[str, Any]:
    """Return one row of the table."""
    seen, memory, begin = Seen(), [server.megabytes()], time.perf_counter()
    tasks = [
        asyncio.create_task(client(server.port, photos, expected, i * 7, begin + seconds, seen)) for i in range(clients)
    ]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.5)
        memory.append(server.megabytes())
    await asyncio.gather(*tasks)
    took = time.perf_counter() - begin
    p50, p95, p99 = np.percentile(seen.milliseconds or [float("nan")], [50, 95, 99]).tolist()
    return {
        "clients": clients, "answered": len(seen.milliseconds), "per_second": len(seen.milliseconds) / took, "p50": p50,
        "p95": p95, "p99": p99, "refused": seen.refused, "wrong": seen.wrong, "failed": len(seen.failed),
        "failures": sorted(set(seen.failed)),
        "memory": None if memory[0] is None else [memory[0], memory[-1], max(memory)],
    }  # fmt: skip


def in_process(model: Any, photos: list[bytes], seconds: float) -> dict[str, float]:
    """Return the pipeline's photos per second on all its threads, and the median milliseconds of one photo by
    itself."""
    from lineament.inputs.item import Item
    from lineament.runs.stream import report_of, stream

    tools, until, done = model.tools(model.settings), time.perf_counter() + seconds, 0

    def endless() -> Any:
        while time.perf_counter() < until:
            yield from (Item("body", data=photo) for photo in photos)

    begin = time.perf_counter()
    for _ in stream(endless(), lambda item: report_of(item, tools, model.settings), workers=model.threads):
        done += 1
    per_second, times = done / (time.perf_counter() - begin), []
    for photo in photos * 3:
        begin = time.perf_counter()
        model.analyze(photo)
        times.append(1000 * (time.perf_counter() - begin))
    return {"per_second": per_second, "milliseconds": float(np.median(times)), "threads": model.threads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    from lineament.api import load
    from lineament.outputs.sinks import record_line

    model, photos = load(chosen.model), portraits()
    expected = [record_line(model.analyze(photo, source_name="body")) + b"\n" for photo in photos]
    assert len(set(expected)) == len(photos), "photos that are answered alike could hide a mix-up"
    assert all(b'"status": "ok"' in line for line in expected)
    before = in_process(model, photos, chosen.seconds / 2)
    with Server("--model", chosen.model, "--threads", str(model.threads)) as server:
        rows = [asyncio.run(row(server, clients, photos, expected, chosen.seconds)) for clients in chosen.clients]
    after = in_process(model, photos, chosen.seconds / 2)
    baseline = {name: (before[name] + after[name]) / 2 for name in before} | {"threads": model.threads}
    for one in rows:
        one["of_in_process"] = one["per_second"] / baseline["per_second"]
        print(one)
    print(baseline, "server status", server.status)
    record(
        "load",
        {"seconds": chosen.seconds, "side": 500, "in_process": baseline, "rows": rows, "server_status": server.status},
        chosen.out,
    )
    raise SystemExit(
        int(server.status != 0 or any(one["wrong"] or one["failed"] or not one["answered"] for one in rows))
    )


if __name__ == "__main__":
    main()
