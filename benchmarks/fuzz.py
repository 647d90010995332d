"""Fuzz every reader: seeded damage to small valid inputs, and random schemas; whatever is not one of our own errors is
a finding.

    reader, seed -> cases -> outcomes: read, or an error of `lineament.errors` by name; anything else is kept with its
        traceback and its bytes

    python benchmarks/fuzz.py                                 all readers, 20,000 cases each; writes
        docs/benchmarks/fuzz.{json,md}
    python benchmarks/fuzz.py --reader zip --cases 20000      one of them (its row of the JSON is replaced)

Case N of a reader depends on (seed, reader, N) alone, so that a finding is made again by
`--reader R --first N --cases 1`.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.fuzz_readers import READERS  # noqa: E402
from lineament.errors import LineamentError  # noqa: E402

CASES, SEED = 20_000, 17
MOST_KEPT = 20


def fuzz(name: str, cases: int, seed: int, first: int = 0) -> dict[str, Any]:
    """Return the outcomes of so many cases of a reader, and what broke."""
    outcomes: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    slowest, started = (0.0, 0), time.perf_counter()
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)  # parsers of forms log each refusal
        reader = READERS[name](Path(folder))
        for number in range(first, first + cases):
            rng = random.Random(f"{seed}/{name}/{number}")
            case, began = reader.make(rng), time.perf_counter()
            try:
                outcomes.update(reader.read(case))
            except LineamentError as error:
                outcomes[type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                outcomes["finding"] += 1
                if len(found) < MOST_KEPT:
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    where = next(
                        (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "lineament" in f.filename),
                        last,
                    )
                    found.append(
                        {
                            "case": number,
                            "error": f"{type(error).__name__}: {error}"[:300],
                            "at": f"{Path(where.filename).name}:{where.lineno}",
                        }
                    )
            slowest = max(slowest, (time.perf_counter() - began, number))
    return {
        "reader": name, "cases": cases, "seed": seed, "findings": outcomes["finding"],
        "outcomes": dict(sorted(outcomes.items())), "found": found, "seconds": round(time.perf_counter() - started, 1),
        "slowest_ms": round(1000 * slowest[0]), "slowest_case": slowest[1],
        "check": zlib.crc32(json.dumps(sorted(outcomes.items())).encode()),
    }  # fmt: skip


def markdown(document: dict[str, Any]) -> str:
    """Return the page."""
    rows = []
    for row in document["readers"]:
        said = ", ".join(
            f"{name} {count:,}" for name, count in sorted(row["outcomes"].items(), key=lambda pair: -pair[1])
        )
        rows.append(f"| {row['reader']} | {row['cases']:,} | {row['findings']} | {row['slowest_ms']} | {said} |")
    head = f"""# Fuzzing the readers

Every reader of foreign bytes, given damaged ones. A case is a small valid input with one to eight changes (bits, bytes, numbers at the edges of
their range, cuts, doubled and swapped parts, text where bytes belong), or a random schema for Parquet, or words of the grammar in random order for
queries. Right is an answer, or an error of `lineament/errors.py`, which commands show as one sentence and runs as a record; anything else is a
finding. Found so far, and kept as tests: `tests/data/test_fuzz_finds.py`.

Command: `python benchmarks/fuzz.py` (seed {document["seed"]}, {document["machine"]}). The harness is `benchmarks/fuzz.py`, the readers
and their inputs are in `benchmarks/fuzz_readers.py`; a short run of each is part of the tests. Not here: LFWA's `.mat`, which is read in a process
of its own, since SciPy's C code can end on damaged files (3 of 240 did); its tests are in `tests/data/test_lfwa.py`.

| Reader | Cases | Findings | Slowest, ms | Outcomes |
|---|---|---|---|---|
"""
    return head + "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reader", choices=sorted(READERS), help="only this one")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the page and the JSON"
    )
    options = parser.parse_args()
    path = options.out / "fuzz.json"
    before = json.loads(path.read_text())["readers"] if options.reader and path.is_file() else []
    rows = {row["reader"]: row for row in before}
    for name in [options.reader] if options.reader else sorted(READERS):
        rows[name] = fuzz(name, options.cases, options.seed, options.first)
        print(json.dumps(rows[name], indent=1))
    if options.first == 0:
        machine = f"Python {platform.python_version()}, {sys.platform}"
        document = {"seed": options.seed, "machine": machine, "readers": [rows[name] for name in sorted(rows)]}
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (options.out / "fuzz.md").write_text(markdown(document), encoding="utf-8")
    return 1 if any(row["findings"] for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
