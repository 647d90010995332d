"""From measured rates to a plan: hours per million photos, more workers, a billion. Reads speed.json, writes
planning.md and planning.json.

python benchmarks/speed.py && python benchmarks/planning.py [--out docs/benchmarks]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sheet

from lineament.bench import SCENES, SMALL

WORKERS = (1, 2, 4, 8, 16, 64, 256, 1024)


def contention(one: float, two: float) -> float:
    """Return the serial share s of Amdahl's law that takes one worker's rate to two workers': two/one = 2 / (1 + s),
    never under 0.

    >>> contention(10.0, 20.0), round(contention(10.0, 16.0), 3)
    (0.0, 0.25)
    """
    return max(0.0, 2 * one / two - 1)


def scaled(one: float, share: float, count: int) -> float:
    """Return the rate of `count` workers in one process by Amdahl's law.

    >>> scaled(10.0, 0.0, 8), round(scaled(10.0, 0.25, 2), 6)
    (80.0, 16.0)
    """
    return one * count / (1 + share * (count - 1))


def plan(speed: dict[str, Any]) -> dict[str, Any]:
    """Return hours per million photos by configuration and scene, and rates by workers: measured to two, simulated
    beyond."""
    hours = {
        name: {scene: _hours(row["stream"]["photos_per_s"]) for scene, row in rows.items()}
        for name, rows in speed["end_to_end"].items()
    }
    measured = speed["workers"]
    one, two, apart = (measured[key]["photos_per_s"] for key in ("1 thread", "2 threads", "2 processes"))
    share = contention(one, two)
    per_process = apart / 2
    rows = []
    for count in WORKERS:
        threads = {1: one, 2: two}.get(count, scaled(one, share, count))
        processes = {1: one, 2: apart}.get(count, per_process * count)
        rows.append(
            {"workers": count, "measured": count <= 2, "threads": round(threads, 1), "processes": round(processes, 1)}
        )
    return {
        "hours_per_million": hours,
        "serial_share": round(share, 4),
        "per_process": round(per_process, 2),
        "workers": rows,
    }


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    found, lines = document["plan"], sheet.about_lines("Planning: a million photos, a billion", document)
    lines += ["Made from [speed.json](speed.json): run `benchmarks/speed.py` first.", "", (
        "## Hours per million photos on this machine"
    ), "",
              "One process, all of its threads; reading from a local disk whose files are in the system's "
              "cache.", ""]  # fmt: skip
    names = list(found["hours_per_million"])
    scenes = list(found["hours_per_million"][names[0]])
    lines += sheet.table(
        ("photo", *names),
        ([scene, *(f"{found['hours_per_million'][name][scene]:.2f}" for name in names)] for scene in scenes),
    )
    lines += [
        "## More workers", "",
        f"Photos per second, {SMALL.name}, default runtime. One and two workers are measured, what is beyond is "
        "**simulated**: threads of one",
        f"process by Amdahl's law with the serial share that two threads show here ({100 * found['serial_share']:.1f} "
        "%); processes (`--processes`,",
        f"shards, Ray actors) share nothing, so their rate here with two side by side ({found['per_process']:.1f} a "
        "second each) times their",
        "number. The model leaves out what processes may come to share: one machine's memory bandwidth, the "
        "storage, and stragglers at the end.", "",
    ]  # fmt: skip
    head = ("workers", "", "threads of one process", "processes", "hours per million (processes)")
    rows = [
        (row["workers"], _known(row), row["threads"], row["processes"], f"{_hours(row['processes']):.2f}")
        for row in found["workers"]
    ]
    return lines + sheet.table(head, rows) + billion(found["per_process"])


def billion(rate: float) -> list[str]:
    """Return what a billion photos need at `rate` photos per second and core."""
    for_a_day = 1e9 / 86400 / rate
    return [
        "## A billion", "",
        f"At {rate:.1f} photos a second and core, a billion photos of this kind are {1e9 / rate / 3600:,.0f} "
        "core-hours:",
        f"{for_a_day:,.0f} cores for a day, or {for_a_day / 7:,.0f} for a week. At 100 KB a photo they are 100 TB to "
        "read",
        f"({1e9 * 100e3 / 86400 / 1e9:.1f} GB/s for a day); records of 2 KB are 2 TB of JSONL (Parquet is "
        "smaller).", "",
        "- **Shards**, for people with a job scheduler: every job takes its part,",
        "  `lineament analyze @list.txt --shard $I/$N --threads 1 --jsonl part-$I.jsonl --resume`. A stable hash of "
        "the source splits",
        "  them, so they need not know of each other and concatenate to the whole; a job that was killed is started "
        "again with the same line.",
        "- **One machine with many cores**: `--processes N`, a process per core; threads alone end at the ceiling of "
        "the table above.",
        "- **Ray**: `--engine ray` spreads one run over a cluster's actors, each holding the networks; the records "
        "are the same.",
        "- Large photos cost decoding and a closer look at small faces: read the table above at your photos' size "
        "before you plan.",
    ]  # fmt: skip


def _known(row: dict[str, Any]) -> str:
    return "measured" if row["measured"] else "simulated"


def _hours(rate: float) -> float:
    return round(1e6 / rate / 3600, 2)


def main(arguments: Sequence[str] | None = None) -> None:
    given = sheet.parser(__doc__).parse_args(arguments)
    speed = json.loads((given.out / "speed.json").read_text(encoding="utf-8"))
    document = {
        "command": sheet.command("planning", arguments),
        "environment": speed["environment"],
        "plan": plan(speed),
    }
    document["scenes"] = [scene._asdict() for scene in SCENES]
    sheet.write(given.out, "planning", document, page(document))


if __name__ == "__main__":
    main()
