"""How fast training's batches are read: cached crops, and masks beside them, in the order of an epoch. Writes loader.md
and loader.json.

    python benchmarks/loader.py [--config mgmtn] [--batches 200] [--runs 5] [--out docs/benchmarks]

Images per second of *one core's* time (reading is one thread's work, and other processes do not count), and per second
on the clock. What the config reads must have been made: `lineament prepare --config NAME`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import sheet

from lineament.api import load
from lineament.config import load_config
from lineament.training.dataset import Material, load_material
from lineament.training.prefetch import ahead

TARGET = 2000.0


def read(material: Material, batch: int, batches: int, depth: int, seed: int) -> dict[str, float]:
    """Read so many batches in a random order; return images per second of processor time and on the clock."""
    order = np.random.default_rng(seed).permutation(len(material.table))[: batch * batches].reshape(-1, batch)
    wall, cpu = time.perf_counter(), time.process_time()
    images = sum(len(found.crops) for _, found in ahead(material.batch, order, depth))
    return {"a_core": images / (time.process_time() - cpu), "clock": images / (time.perf_counter() - wall)}


def measure(name: str, batches: int, runs: int) -> dict[str, Any]:
    """Return the spread of both rates, without and with batches read ahead; the first run fills the system's cache."""
    config = load_config(name)
    material = load_material(config)
    rows = {}
    for depth in (0, config.optimiser.prefetch or 2):
        found = [read(material, config.optimiser.batch, batches, depth, seed) for seed in range(runs + 1)][1:]
        rows[str(depth)] = {key: sheet.spread([one[key] for one in found]) for key in ("a_core", "clock")}
    return {
        "config": config.name,
        "images": len(material.table),
        "batch": config.optimiser.batch,
        "batches": batches,
        "runs": runs,
        "masks": material.region is not None,
        "landmarks": material.landmarks is not None,
        "ahead": rows,
    }


def page(document: dict[str, Any]) -> list[str]:
    """Return the page."""
    lines = sheet.about_lines("Reading training batches", document)
    beside = [name for name in ("masks", "landmarks") if document[name]]
    lines += [
        f"Cached uint8 crops (3,218,178){''.join(f' with {name}' for name in beside)} of `{document['config']}`: "
        f"{document['batches']} batches of {document['batch']} in random order from {document['images']:,} images, "
        f"{document['runs']} runs after one that fills the system's cache.",
        f"Asked: at least {TARGET:,.0f} images per second of one core. Median, in brackets least and largest.",
        "",
    ]
    rows = [
        (depth, _spread(row["a_core"]), _spread(row["clock"]), "met" if row["a_core"]["median"] >= TARGET else "missed")
        for depth, row in document["ahead"].items()
    ]
    return lines + sheet.table(("batches read ahead", "images per second of a core", "on the clock", "target"), rows)


def _spread(row: dict[str, float]) -> str:
    return f"{row['median']:,.0f} ({row['min']:,.0f}-{row['max']:,.0f})"


def main(arguments: list[str] | None = None) -> None:
    parser = sheet.parser(__doc__)
    parser.add_argument("--config", default="mgmtn")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(arguments)
    document = measure(given.config, given.batches, given.runs)
    document |= {"command": sheet.command("loader", arguments), "environment": sheet.environment(load(given.model))}
    sheet.write(given.out, "loader", document, page(document))


if __name__ == "__main__":
    main(sys.argv[1:])
