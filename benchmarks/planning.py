"""From measured rates to a plan: hours per million photos, more workers, a billion. Reads speed.json, writes planning.md and planning.json.

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
    """Return the serial share s of Amdahl's law that takes one worker's rate to two workers': two/one = 2 / (1 + s), never under 0.

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
    """Return hours per million photos by configuration and scene, and rates by workers: measured to two, simulated beyond."""
    hours = {
        name: {scene: round(1e6 / row["stream"]["photos_per_s"] / 3600, 2) for scene, row in rows.items()}
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
        rows.append({"workers": count, "measured": count <= 2, "threads": round(threads, 1), "processes": round(processes, 1)})
    return {"hours_per_million": hours, "serial_share": round(share, 4), "per_process": round(per_process, 2), "workers": rows}


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    found, lines = document["plan"], sheet.about_lines("Planning: a million photos, a billion", document)
    lines += ["Made from [speed.json](speed.json): run `benchmarks/speed.py` first.", "", "## Hours per million photos on this machine", "",
              "One process, all of its threads; reading from a local disk whose files are in the system's cache.", ""]  # fmt: skip
    names = list(found["hours_per_million"])
    scenes = list(found["hours_per_million"][names[0]])
    lines += sheet.table(("photo", *names), ([scene, *(f"{found['hours_per_million'][name][scene]:.2f}" for name in names)] for scene in scenes))
    lines += [
        "## More workers", "",
        f"Photos per second, {SMALL.name}, default runtime. One and two workers are measured, what is beyond is **simulated**: threads of one process by",
        f"Amdahl's law with the serial share that two threads show here ({100 * found['serial_share']:.1f} %); processes (shards, Ray actors) share nothing, so their rate here",
        f"with two side by side ({found['per_process']:.1f} a second each) times their number. The model leaves out what the processes may come to share: memory bandwidth of",
        "one machine, the storage's bandwidth, and stragglers at the end.", "",
    ]  # fmt: skip
    rows = [
        (row["workers"], "measured" if row["measured"] else "simulated", row["threads"], row["processes"], f"{_hours(row['processes']):.2f}")
        for row in found["workers"]
    ]
    lines += sheet.table(("workers", "", "threads of one process", "processes", "hours per million (processes)"), rows)
    cores_for_a_day = 1e9 / 86400 / found["per_process"]
    lines += [
        "## A billion", "",
        f"At {found['per_process']:.1f} photos a second and core a billion photos of this kind are {1e9 / found['per_process'] / 3600:,.0f} core-hours: {cores_for_a_day:,.0f} cores for a day, "
        f"or {cores_for_a_day / 7:,.0f} for a week.",
        "At 100 KB a photo they are 100 TB to read, "
        f"{1e9 * 100e3 / 86400 / 1e9:.1f} GB/s if it is to be done in a day, and the records, at about 2 KB each, 2 TB of JSONL (Parquet is smaller).", "",
        "- **Shards**: with a job scheduler, give every job its part: `lineament analyze @list.txt --shard $I/$N --threads 1 --jsonl part-$I.jsonl --resume`. The parts are",
        "  split by a stable hash of the source, need not know of each other, and concatenate to the whole; a job that is killed is started again with the same line.",
        "- **Ray**: `--engine ray` spreads one run over a cluster's actors, each holding the networks; the records are the same.",
        "- Use one thread per process and as many processes as there are cores: processes share nothing, threads of one process share Python's lock.",
        "- Large photos cost decoding and closer looks at small faces: see the table above for 12 megapixels before you plan with the first line.",
    ]  # fmt: skip
    return lines


def _hours(rate: float) -> float:
    return 1e6 / rate / 3600


def main(arguments: Sequence[str] | None = None) -> None:
    given = sheet.parser(__doc__).parse_args(arguments)
    speed = json.loads((given.out / "speed.json").read_text(encoding="utf-8"))
    document = {"command": sheet.command("planning", arguments), "environment": speed["environment"], "plan": plan(speed)}
    document["scenes"] = [scene._asdict() for scene in SCENES]
    sheet.write(given.out, "planning", document, page(document))


if __name__ == "__main__":
    main()
