"""How fast and how good search is: writes docs/benchmarks/search.md and search.json.

    python benchmarks/search.py [--faces 1000000] [--records 20000 200000] [--threads 1] [--predictions val.parquet]
        [--out docs/benchmarks]

Speed needs no weights: synthetic faces whose 40 probabilities are correlated as a factor model makes them. Retrieval
quality needs a prediction file with targets (`lineament evaluate ... --predictions FILE` on the official validation
images); without one, what an earlier run found of it is kept, with that run's command. Run it on a quiet machine, or
say with --note what else ran.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import search_rows
from PIL import Image

from lineament.decision.layer import sigmoid
from lineament.evaluation import predictions as prediction_files
from lineament.metrics.ranking import average_precision_1d
from lineament.metrics.retrieval import ndcg_1d
from lineament.runtime.card import CARD_VERSION, INPUT_CONTRACT, Card
from lineament.schema import CELEBA_40, in_profile
from lineament.search.build import build_index
from lineament.search.database import FACE_COLUMNS, connect, create
from lineament.search.erase import rewrite
from lineament.search.index import Index
from lineament.search.query import parse
from lineament.search.sql import scores, where_mask
from lineament.search.write import insert_faces
from lineament.types import Answer, FaceReport, Quality, Report

FACTORS, CHUNK, REPEATS = 8, 100_000, 15
QUERIES = (
    "smiling and eyeglasses and not wearing_hat",
    "blond_hair and wavy_hair and wearing_lipstick",
    "goatee and mustache and not smiling",
    "bald and eyeglasses and wearing_necktie",
    "bangs and heavy_makeup and smiling > 0.8",
    "(gray_hair or bald) and smiling",
    "black_hair^2 and straight_hair and not bangs",
    "wearing_hat and not eyeglasses and no_beard sort by wearing_hat",
)


def synthetic(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities (n,40) float32: sigmoid of eight shared factors, an offset per attribute and noise."""
    mix = np.random.default_rng(0).normal(size=(FACTORS, 40)) * 0.9
    offset = np.random.default_rng(1).normal(-1.6, 1.3, 40)
    return sigmoid(rng.normal(size=(n, FACTORS)) @ mix + offset + rng.normal(size=(n, 40))).astype(np.float32)


def toy_card() -> Card:
    document = {
        "card_version": CARD_VERSION, "name": "synthetic", "architecture": "none", "attributes": list(CELEBA_40),
        "input": dict(INPUT_CONTRACT), "decision": {}, "data": "none", "licence": "none", "intended_use": "benchmark",
    }  # fmt: skip
    return Card.from_json(json.dumps(document), origin="benchmark")


def fill(db: Path, faces: int) -> float:
    """Write an index of synthetic faces, one per photo; return the seconds the writing took, drawing the numbers left
    out."""
    rng, spent = np.random.default_rng(2), 0.0
    con = connect(db, read_only=False)
    con.begin()
    create(con, model="synthetic@0", attributes=CELEBA_40, card_json=toy_card().to_json())
    con.execute("INSERT INTO roots VALUES (0, '/photos'::BLOB)")
    con.commit()
    for start in range(0, faces, CHUNK):
        n = min(CHUNK, faces - start)
        probs = synthetic(n, rng)
        columns: dict[str, Any] = {"file_id": np.arange(start, start + n), "face": np.zeros(n, np.int32)}
        columns |= {name: (rng.random(n) * 1000).astype(np.float32) for name in FACE_COLUMNS}
        columns |= {f"prob_{name}": np.ascontiguousarray(probs[:, i]) for i, name in enumerate(CELEBA_40)}
        began = time.perf_counter()
        con.begin()
        con.execute(
            "INSERT INTO files SELECT i, 0, ('d' || i // 1000 || '/IMG_' || i || '.jpg')::BLOB, 'd' || i // 1000 || "
            "'/IMG_' || i || '.jpg',"
            " 2000000 + i, i, sha256(i::VARCHAR), 'ok', NULL, 4000, 3000, 'synthetic@0', hash(i), NULL FROM range(?, "
            "?) AS numbers(i)",
            [start, start + n],
        )
        insert_faces(con, columns)
        con.commit()
        spent += time.perf_counter() - began
    began = time.perf_counter()
    con.close()
    return spent + time.perf_counter() - began


def latencies(db: Path, threads: int | None) -> dict[str, Any]:
    """Return milliseconds of `Index.search` with the 50 best: first query after opening, then warm medians per
    query."""
    began = time.perf_counter()
    with Index(db, threads=threads) as index:
        index.search(QUERIES[0])
        first = (time.perf_counter() - began) * 1e3
        rows = {}
        for query in QUERIES:
            index.search(query)
            times, spent = [], []
            for _ in range(REPEATS):
                began, busy = time.perf_counter(), time.process_time()
                found = index.search(query)
                times.append((time.perf_counter() - began) * 1e3)
                spent.append((time.process_time() - busy) * 1e3)
            own = {
                "median_ms": float(np.median(times)),
                "p95_ms": float(np.percentile(times, 95)),
                "cpu_ms": float(np.median(spent)),
            }
            rows[query] = own | {"matched": found.matched}
        pages = {offset: page_ms(index, offset) for offset in (0, 50, 5_000, 50_000, 500_000, 950_000)}
    return {
        "open_and_first_ms": first,
        "queries": rows,
        "pages_ms": pages,
        "median_ms": float(np.median([row["median_ms"] for row in rows.values()])),
    }


def page_ms(index: Index, offset: int) -> dict[str, float]:
    """Return the median milliseconds, and those of the processor, of a page of every face, `offset` hits down, where
    all of them are ranked."""
    times, spent = [], []
    for _ in range(REPEATS):
        began, busy = time.perf_counter(), time.process_time()
        index.search("smiling and eyeglasses", loose=True, offset=offset)
        times.append((time.perf_counter() - began) * 1e3)
        spent.append((time.process_time() - busy) * 1e3)
    return {"median_ms": float(np.median(times)), "cpu_ms": float(np.median(spent))}


class InstantModel:
    """One face per photo without looking at it: what remains is the cost of everything around the network."""

    id = "instant@0"

    def __init__(self) -> None:
        self.card, self.probs = toy_card(), synthetic(1000, np.random.default_rng(3))
        self.pixels = np.zeros((480, 640, 3), np.uint8)

    def stream(self, sources: Iterable[str], /, *, after: Any) -> Iterator[Report]:
        for i, path in enumerate(sources):
            answers = {name: Answer(float(p), "yes") for name, p in zip(CELEBA_40, self.probs[i % 1000], strict=True)}
            face = FaceReport((10, 10, 90, 110), 0.99, ((1.0, 1.0),) * 5, Quality(40.0, 0.5, 0.0, 0.0, 0.0), answers)
            report = Report(path, "ok", self.id, "all", (face,), width=640, height=480, pixels=self.pixels)
            after(report)
            yield report


def build_rates(photos: int) -> dict[str, float]:
    """Return photos per second of `build_index` around an instant network: a first run, and a run that finds nothing
    changed."""
    rng = np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        root.mkdir()
        for i in range(photos):
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(root / f"IMG_{i:06}.jpg")
        began = time.perf_counter()
        build_index(root, Path(folder) / "a.duckdb", InstantModel())
        first = time.perf_counter() - began
        began = time.perf_counter()
        build_index(root, Path(folder) / "a.duckdb", InstantModel())
        return {
            "photos": photos,
            "first_run_per_s": photos / first,
            "unchanged_run_per_s": photos / (time.perf_counter() - began),
        }


def make_queries(targets: np.ndarray, attributes: tuple[str, ...], per_size: int = 75, least: int = 10) -> list[str]:
    """Return conjunctions of two and of three attributes, some negated, drawn with a fixed seed from those with enough
    true images."""
    rng, names = np.random.default_rng(5), in_profile("default", attributes)
    queries = []
    for size in (2, 3):
        combinations = list(itertools.combinations(names, size))
        rng.shuffle(combinations)
        kept = 0
        for chosen in combinations:
            signs = rng.random(size) < 0.25
            true = np.all(
                [
                    targets[:, attributes.index(name)].astype(bool) != negated
                    for name, negated in zip(chosen, signs, strict=True)
                ],
                0,
            )
            if kept < per_size and not signs.all() and least <= true.sum() <= len(true) // 2:
                queries.append(
                    " and ".join(
                        f"not {name}" if negated else str(name) for name, negated in zip(chosen, signs, strict=True)
                    )
                )
                kept += 1
    return queries


def retrieval(path: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Score ranking, the default search, threshold filtering and chance on a prediction file with targets."""
    given = prediction_files.load(path)
    rows = given.found()
    rows = rows.take(np.flatnonzero(rows.known.all(1)))
    attributes, probs, thresholds = rows.attributes, rows.shipped, thresholds_of(rows.meta)
    queries = make_queries(rows.targets, attributes)
    results: dict[str, list[tuple[float, float]]] = {}
    better = 0
    for query in queries:
        tree = parse(query, attributes=attributes).where
        truth = where_mask(tree, rows.targets.astype(np.float64), attributes, {})
        joint, kept = scores(tree, probs, attributes), where_mask(tree, probs, attributes, thresholds)
        ways = {
            "joint probability, every face (--loose)": joint, (
                "default: threshold filter, then joint probability"
            ): np.where(kept, 1 + joint, 0),
            "threshold filter alone": kept.astype(float), "random": rng.random(len(rows)),
        }  # fmt: skip
        for way, values in ways.items():
            results.setdefault(way, []).append((average_precision_1d(values, truth), ndcg_1d(values, truth, 50)))
        better += results["joint probability, every face (--loose)"][-1][0] > results["threshold filter alone"][-1][0]
    means = {way: np.mean(values, 0) for way, values in results.items()}
    table = {way: {"map": float(mean[0]), "ndcg_at_50": float(mean[1])} for way, mean in means.items()}
    return {
        "images": len(rows), "left_out": len(given) - len(rows), "model": rows.meta.get("model"),
        "data": rows.fingerprint(), "calibrated": rows.probs is not None, "queries": len(queries),
        "ranking_beats_filter_on": better, "ways": table, "examples": queries[:3] + queries[-3:],
    }  # fmt: skip


def thresholds_of(meta: Mapping[str, Any]) -> dict[str, float]:
    decision = meta.get("decision") or {}
    return dict(decision.get("thresholds") or {})


def markdown(result: Mapping[str, Any]) -> str:
    """Return the page for people."""
    speed, rates, lines = result["speed"], result["build"], []
    lines += ["# Search", "", "<!-- written by benchmarks/search.py: do not edit -->", "", f"`{result['command']}`", ""]
    lines += [f"On {result['machine']}.{' ' + result['note'] if result.get('note') else ''}", "", "## Speed", ""]
    lines += [
        f"An index of {speed['faces']:,} synthetic faces with 40 correlated probabilities each, one face per photo; "
        "the 50 best of every query,",
        f"with the number of matches counted. Warm: median of {REPEATS} calls of `Index.search` after one, "
        f"{threads_in_words(speed)}. "
        "Target: under 300 ms.", "",
        "| query | matches | median ms | p95 ms | ms of processor |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for query, row in speed["queries"].items():
        lines.append(
            f"| `{query}` | {row['matched']:,} | {row['median_ms']:.0f} | {row['p95_ms']:.0f} | {row['cpu_ms']:.0f} |"
        )
    lines += [
        "", (
            f"A page of 50 where every face is ranked (`--loose --offset N`), median of {REPEATS}. Target: under 300 "
            "ms."
        ), "",
        "| after | median ms | ms of processor |", "|---:|---:|---:|",
        *(f"| {int(offset):,} | {page['median_ms']:.0f} | {page['cpu_ms']:.0f} |" for offset,
        page in speed["pages_ms"].items()),
        "", (
            f"- Median over the queries: {speed['median_ms']:.0f} ms; opening the file and the first query: "
            f"{speed['open_and_first_ms']:.0f} ms."
        ),
        f"- Index: {speed['bytes'] / 1e6:.0f} MB, {speed['bytes'] / speed['faces']:.0f} bytes per face.",
        f"- Forgetting one photo of it (`lineament forget`: the file is written anew): {speed['erase_s']:.1f} s.",
        f"- Writing it: {speed['faces'] / speed['write_s']:,.0f} faces per second (the database alone).",
        f"- `build_index` with a network that answers at once, {rates['photos']:,} small photos: "
        f"{rates['first_run_per_s']:,.0f} photos per second;",
        f"  again with nothing changed: {rates['unchanged_run_per_s']:,.0f} photos per second.", "",
    ]  # fmt: skip
    lines += search_rows.lines(result["records"]) if result.get("records") else []
    return "\n".join(lines + _retrieval_lines(result.get("retrieval"))) + "\n"


def threads_in_words(speed: Mapping[str, Any]) -> str:
    return "as many threads as processors" if speed.get("threads") is None else f"threads: {speed['threads']}"


def processor() -> str:
    """Return the processor's name as the system gives it."""
    try:
        found = [
            line
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        found = []
    return found[0].partition(":")[2].strip() if found else platform.processor() or platform.machine()


def _retrieval_lines(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["## Retrieval quality", "", "Not measured in this run: no prediction file was given."]
    probabilities = "calibrated" if found["calibrated"] else "uncalibrated"
    lines = [
        "## Retrieval quality", "", f"By `{found['command']}`.",
        f"{found['images']:,} labelled images, {probabilities} probabilities of {found['model']} (data "
        f"{found['data']}).",
        f"{found['queries']} queries of two and three attributes of the default profile, a quarter of the terms "
        "negated, drawn with a fixed",
        "seed among those that 10 images to half of all images meet.",
        "Equal scores share their place, so the order of files does not matter.", "",
        "| way of searching | mAP | NDCG@50 |", "|---|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {way} | {row['map']:.4f} | {row['ndcg_at_50']:.4f} |" for way, row in found["ways"].items()]
    lines += [
        "",
        f"Ranking beats filtering in average precision on {found['ranking_beats_filter_on']} of {found['queries']} "
        "queries.",
    ]
    if found["left_out"]:
        lines.append(f"{found['left_out']} rows without a face or a full set of labels were left out.")
    return [*lines, "", "Examples: " + "; ".join(f"`{query}`" for query in found["examples"]) + "."]


def through_the_commands(counts: list[int], threads: int) -> list[dict[str, Any]]:
    """Measure made records of the shipped model's name, a few and many."""
    import lineament

    name = lineament.load().id
    with tempfile.TemporaryDirectory() as folder:
        return [search_rows.measure(count, Path(folder), name, synthetic, threads) for count in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--photos", type=int, default=5_000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument(
        "--records", type=int, nargs="*", default=[20_000, 200_000], help="made records to send through the commands"
    )
    parser.add_argument("--note", help="what else ran on the machine")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "big.duckdb"
        written = fill(db, args.faces)
        began = time.perf_counter()
        rewrite(db, without=[0])
        erased = time.perf_counter() - began
        speed = {
            "erase_s": erased,
            "faces": args.faces,
            "write_s": written,
            "bytes": db.stat().st_size,
            "threads": args.threads,
        }
        speed |= latencies(db, args.threads)
    cpus = f"{os.cpu_count()} CPUs ({processor()})"
    machine = (
        f"{platform.system()} {platform.machine()}, {cpus}, Python {platform.python_version()}, DuckDB "
        f"{version('duckdb')}"
    )
    result: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/search.py",
        *(Path(a).name if "/" in a else a for a in sys.argv[1:])]), "machine": machine,
        "note": args.note, "speed": speed, "build": build_rates(args.photos),
        "records": through_the_commands(args.records, args.threads or 1),
    }  # fmt: skip
    if args.predictions is not None:
        result["retrieval"] = retrieval(args.predictions, np.random.default_rng(6)) | {"command": result["command"]}
    elif (earlier := args.out / "search.json").is_file():
        before = json.loads(earlier.read_text(encoding="utf-8"))
        result |= {"retrieval": {"command": before["command"], **before["retrieval"]}} if "retrieval" in before else {}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "search.json").write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (args.out / "search.md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
