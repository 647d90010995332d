"""Faces and photos per second, by runtime, precision, size and faces, with the targets beside them. Writes speed.md and
speed.json.

    python benchmarks/speed.py [--runs 9] [--out docs/benchmarks]

Run it on a quiet machine. Everything is measured by `lineament.bench`, as `lineament bench` does, on photos made from
the bundled portrait.
Workers: one process with one thread, one with two, and two processes with one thread each (as `--shard 1/2` and `2/2`
on one machine).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sheet

from lineament.api import Model, load
from lineament.bench import SCENES, SMALL, STAGES, Scene, measure, networks, rate, scene_photo
from lineament.errors import LineamentError

TARGETS = {"faces_per_s": 600.0, "photos_per_s": 60.0, "share_of_slowest": 0.7}
CONFIGURATIONS = (("onnx", None), ("onnx", "int8"), ("openvino", None), ("openvino", "bf16"), ("openvino", "int8"))
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
WORKER = """
import sys, time
from lineament.api import load
model = load(sys.argv[1], threads=1)
paths = sys.argv[3:]
for _ in model.stream(paths[:4]): pass
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    for _ in model.stream(paths): pass
"""


def models(name: str) -> dict[str, Model]:
    """Return a model per runtime and precision that is there; the first is the default."""
    found = {}
    for runtime, precision in CONFIGURATIONS:
        try:
            model = load(name, runtime=runtime, precision=precision)
        except LineamentError as error:
            print(f"left out: {runtime} {precision}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        found[f"{model.network.runtime} {model.network.precision}"] = model
    return found


def end_to_end(found: dict[str, Model], scenes: Sequence[Scene], runs: int) -> dict[str, dict[str, Any]]:
    """Return, per configuration and scene, stages, stream and shares."""
    rows: dict[str, dict[str, Any]] = {}
    for name, model in found.items():
        rows[name] = {}
        for scene in scenes:
            rows[name][scene.name] = measure(model, scene, runs)
            print(name, scene.name, rows[name][scene.name]["stream"], file=sys.stderr)
    return rows


def workers(name: str, photos: int) -> dict[str, Any]:
    """Return photos/s on 500-pixel one-face photos: one thread, two threads, two processes of one thread."""
    photo = scene_photo(SMALL)
    found = {
        f"{count} thread{'s' if count > 1 else ''}": rate(load(name, threads=count), photo, photos) for count in (1, 2)
    }
    return found | {"2 processes": {"photos_per_s": two_processes(name, photo, photos)}}


def two_processes(name: str, photo: bytes, photos: int, rounds: int = 3) -> float:
    """Return photos/s of two processes of one thread each that start together."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:04}.jpg" for number in range(photos)]
        for path in paths:
            path.write_bytes(photo)
        command = [sys.executable, "-c", WORKER, name, str(rounds), *map(str, paths)]
        environment = os.environ | {"PYTHONPATH": str(sheet.ROOT)}
        children = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
            for _ in range(2)
        ]
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise SystemExit("a worker did not start")
        start = time.perf_counter()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            child.communicate()
        return round(2 * rounds * photos / (time.perf_counter() - start), 2)


def small_photos(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of 500-pixel one-face photos by configuration."""
    return {name: scenes[SMALL.name] for name, scenes in document["end_to_end"].items() if SMALL.name in scenes}


def best(document: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Return what each target is held against: the best figure, and whose it is."""
    alone = [
        (row["batch_faces_per_s"], f"{row['runtime']} {row['precision']}")
        for row in document["attributes"]
        if "absent" not in row
    ]
    small = small_photos(document)
    return {
        "faces_per_s": max(alone), "photos_per_s": max((row["stream"]["photos_per_s"], name) for name,
        row in small.items()),
        "share_of_slowest": max((row["share_of_slowest"], f"{name}, slowest: {row['slowest']}") for name,
        row in small.items()),
    }  # fmt: skip


def verdicts(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the table of targets."""
    said = {
        "faces_per_s": "attribute network alone, batch, faces/s", "photos_per_s": (
            "500-pixel one-face photos end to end, photos/s"
        ),
        "share_of_slowest": "of the rate if the slowest stage ran alone",
    }  # fmt: skip
    rows = []
    for key, (value, whose) in best(document).items():
        shown = lambda number, key=key: f"{100 * number:.0f} %" if key == "share_of_slowest" else f"{number:.1f}"  # noqa: E731
        met = "met" if value >= TARGETS[key] else f"**not met**: {100 * value / TARGETS[key]:.0f} % of it"
        rows.append((f"{said[key]} ({whose})", shown(value), f"at least {shown(TARGETS[key])}", met))
    return rows


def limit(document: dict[str, Any]) -> str:
    """Return the sentence that says what share of the slowest stage's rate can be reached at all."""
    name, row = max(small_photos(document).items(), key=lambda item: item[1]["share_of_slowest"])
    most, reached = (
        row[row["slowest"]]["median_ms"] / sum(row[stage]["median_ms"] for stage in STAGES),
        row["share_of_all_stages"],
    )
    return (
        f"The third figure has a ceiling: with {name}, the slowest stage ({row['slowest']}) is {100 * most:.0f} % of "
        "the four stages' work,\n"
        f"and all four share the same processors, so no schedule could reach more than {100 * most:.0f} %;\n"
        f"the stream reaches {100 * reached:.0f} % of that."
    )


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    lines = sheet.about_lines("Speed", document)
    lines += [
        f"Of the instruction sets that runtimes use here ({', '.join(FLAGS)}) this processor has "
        f"{', '.join(document['processor_flags']) or 'none'}.",
        "Medians; in brackets the least and the largest of three streams, or the 10th and 90th percentile.", "",
        "## Targets", "",
    ]  # fmt: skip
    lines += sheet.table(("measured, best configuration", "figure", "target", ""), verdicts(document))
    lines += [limit(document), ""]
    lines += ["## The attribute network alone", ""]
    rows = [
        (row["runtime"], row["precision"], (
            f"{row['single']['median_ms']:.1f} ({row['single']['p10_ms']:.1f}-{row['single']['p90_ms']:.1f})"
        ),
         f"{row['single_faces_per_s']:.1f}", f"{row['batch_faces_per_s']:.1f} ({row['min']:.1f}-{row['max']:.1f})")
        if "absent" not in row else (row["runtime"], row["precision"], "-", "-", f"not here: {row['absent']}")
        for row in document["attributes"]
    ]  # fmt: skip
    lines += sheet.table(
        ("runtime", "precision", "one face, one thread, ms", "faces/s", "batch, all threads, faces/s"), rows
    )
    lines += rates_table(document["end_to_end"]) + stages_tables(document["end_to_end"])
    lines += ["## Workers", "", f"Photos per second, {SMALL.name}, default runtime.", ""]
    return lines + sheet.table(
        ("workers", "photos/s"), ((name, _rate(row)) for name, row in document["workers"].items())
    )


def rates_table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return photos per second by scene and configuration."""
    names = list(rows)
    about = (
        "Photos per second of `stream`, all threads (with OpenVINO's bf16 and int8 the detector computes in bf16, else "
        "in fp32)."
    )
    lines = ["## End to end", "", about, ""]
    return lines + sheet.table(
        ("photo", *names),
        ([scene, *(_rate(rows[name][scene]["stream"]) for name in names)] for scene in rows[names[0]]),
    )


def stages_tables(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return milliseconds by stage and the shares of the bounds, a table per configuration."""
    lines = [
        "## Where the time goes", "",
        "Milliseconds, one photo at a time on a warm model. *Of its bound*: the stream's share of the rate that all "
        "threads would reach if only the",
        "slowest stage were run; *of all stages*: of the rate if the four stages were all there is and threads "
        "cost nothing.", "",
    ]  # fmt: skip
    for name, scenes in rows.items():
        table = []
        for scene, row in scenes.items():
            times = (f"{row[stage]['median_ms']:.1f}" for stage in (*STAGES, "whole"))
            shares = (f"{100 * row[share]:.0f} %" for share in ("share_of_slowest", "share_of_all_stages"))
            table.append((scene, row["faces_found"], *times, row["slowest"], *shares))
        lines += [f"{name}:", ""]
        lines += sheet.table(("photo", "found", *STAGES, "whole", "slowest", "of its bound", "of all stages"), table)
    return lines


def _rate(row: dict[str, Any]) -> str:
    return (
        f"{row['photos_per_s']:.1f} ({row['min']:.1f}-{row['max']:.1f})"
        if "min" in row
        else f"{row['photos_per_s']:.1f}"
    )


def processor_flags() -> list[str]:
    """Return which of the instruction sets that matter here the processor has, as Linux names them."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [flag for flag in FLAGS if flag in words]


def main(arguments: Sequence[str] | None = None) -> None:
    options = sheet.parser(__doc__)
    options.add_argument("--runs", type=int, default=9, help="measurements per stage")
    options.add_argument("--scenes", type=int, default=len(SCENES), help="only the first so many")
    options.add_argument("--worker-photos", type=int, default=80)
    given = options.parse_args(arguments)
    found = models(given.model)
    first = next(iter(found.values()))
    document: dict[str, Any] = {"command": sheet.command("speed", arguments), "environment": sheet.environment(first)}
    document["processor_flags"] = processor_flags()
    document["attributes"] = list(networks(first, given.runs))
    document["end_to_end"] = end_to_end(found, SCENES[: given.scenes], given.runs)
    document["workers"] = workers(given.model, given.worker_photos)
    sheet.write(given.out, "speed", document, page(document))


if __name__ == "__main__":
    main()
