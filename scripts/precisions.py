"""What bf16 and int8 cost in accuracy, and whether int8 is shipped. `make refit` runs it; by hand it shows what refit
would do.

    default.onnx + training images -> default.int8.onnx -> official validation images -> accuracy of fp32, bf16 and int8
      -> int8 kept or not -> the card's `precisions`, a section of docs/benchmarks/decision.md

    python scripts/precisions.py [--data ../shared/data] [--model FILE] [--time]

By hand it prints, and writes the int8 file below runs/; --time also prints faces per second (quiet machine).

The recipe (what stays in fp32) is chosen on training images that were not calibrated on, by how many labels change; the
validation images only decide whether the result is kept: where it costs more than 0.1 point of mean accuracy in any
runtime, it is not.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from lineament.data.celeba import Official
from lineament.data.labelled import Source
from lineament.errors import LineamentError
from lineament.evaluation.evaluate import open_source, predict, stored_crop
from lineament.evaluation.predictions import Predictions
from lineament.evaluation.scorecard import scorecard
from lineament.export.card_update import write_card_beside
from lineament.export.quantise import KEPT_IN_FP32, quantise
from lineament.images import load_image
from lineament.runtime.card import Card
from lineament.runtime.network import Network
from lineament.runtime.onnx_file import read_card, with_card
from lineament.runtime.registry import load_network
from lineament.runtime.threads import default_threads, int8_is_exact, processor_name
from lineament.types import Crops, UInt8

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 0.001
"""Mean accuracy that a precision may cost, as a fraction."""
CALIBRATED_ON, CHOSEN_ON = 150, 250
GOOD_ENOUGH = 0.005
"""Labels on the choosing images that may change for a recipe to be taken; else the next one is tried."""


def measure(
    model: Path, source: Source, data: Path, threads: int, out: Path, base: float | None = None
) -> dict[str, Any]:
    """Return mean accuracy and cost per precision and runtime, and whether int8 is kept; `out` is then the int8 file.

    base: the accuracy of fp32 in ONNX Runtime where it is known already.

    What cannot be measured here (no OpenVINO, a processor whose 8-bit arithmetic saturates) says why.
    """
    measured: dict[str, Any] = {"processor": processor_name(), "limit": LIMIT}
    if base is None:
        base = _accuracy(_scored(load_network(model, threads=threads), source, threads))
    measured["fp32"] = {"onnx": base}
    for precision, runtime in (("fp32", "openvino"), ("bf16", "openvino")):
        measured.setdefault(precision, {})[runtime] = _try(model, runtime, precision, source, threads)
    out.unlink(missing_ok=True)
    if not int8_is_exact():
        measured["int8"] = {"kept": False, "why": "8-bit arithmetic saturates on the processor this was run on"}
        return _with_costs(measured, base)
    recipe, tried = choose(model, _faces(data), out, threads)
    measured["int8"] = {runtime: _try(out, runtime, "int8", source, threads) for runtime in ("onnx", "openvino")}
    costs = [base - value for value in measured["int8"].values() if isinstance(value, float)]
    kept = max(costs) <= LIMIT
    measured["int8"] |= {"kept": kept, "fp32_layers": KEPT_IN_FP32[recipe], "tried": tried, "bytes": out.stat().st_size}
    return _with_costs(measured, base)


def choose(model: Path, faces: UInt8, out: Path, threads: int) -> tuple[str, dict[str, float]]:
    """Write the int8 file by the first recipe that changes few labels of faces it was not calibrated on, else by the
    best one."""
    split = len(faces) * CALIBRATED_ON // (CALIBRATED_ON + CHOSEN_ON)
    calibrate, others = faces[:split], _crops(faces[split:])
    expected = load_network(model, threads=threads)(others).logits >= 0
    tried: dict[str, float] = {}
    for keep in KEPT_IN_FP32:
        quantise(model, calibrate, out, keep=keep)
        tried[keep] = float(
            np.mean((load_network(out, precision="int8", threads=threads)(others).logits >= 0) != expected)
        )
        if tried[keep] <= GOOD_ENOUGH:
            return keep, tried
    best = min(tried, key=lambda keep: tried[keep])
    if best != keep:
        quantise(model, calibrate, out, keep=best)
    return best, tried


def embed(model: Path, int8: Path, measured: dict[str, Any]) -> None:
    """Write what was measured into the card of the model and of the int8 file, with the decision layer they share;
    remove what is not kept."""
    if not measured["int8"]["kept"]:
        int8.unlink(missing_ok=True)
    card = read_card(model).document
    with_card(model, Card({**card, "precisions": measured}), model)
    write_card_beside(model, read_card(model))
    if not int8.is_file():
        int8.with_suffix(".card.json").unlink(missing_ok=True)
        return
    own = read_card(int8).document
    metrics = dict(card.get("metrics") or {})
    metrics["official_val"] = {
        "images": (metrics.get("official_val") or {}).get("images"),
        "mean_accuracy": measured["int8"]["onnx"],
    }
    shared = {
        key: value for key, value in card.items() if key not in ("views", "speed")
    }  # measured of the fp32 file alone
    with_card(
        int8, Card({**shared, "precision": own.get("precision"), "metrics": metrics, "precisions": measured}), int8
    )
    write_card_beside(int8, read_card(int8))


def section(measured: dict[str, Any], images: int) -> str:
    """Return the section of docs/benchmarks/decision.md."""
    rows = [
        f"| {precision} | {runtime} | {_percent(value)} | {_points(measured[precision].get('cost', {}).get(runtime))} |"
        for precision in ("fp32", "bf16", "int8")
        for runtime, value in measured[precision].items()
        if runtime in ("onnx", "openvino")
    ]
    int8 = measured["int8"]
    verdict = (
        "It is shipped as `default.int8.onnx`"
        if int8["kept"]
        else f"It is not shipped ({int8.get('why', 'it costs more than that')})"
    )
    lines = [
        "## What a precision costs",
        "",
        f"On the {images:,} official validation images, stored crops, threshold 0.5, on {measured['processor']}.",
        "Percent and points of mean accuracy; the cost is against fp32 in ONNX Runtime.",
        "",
        "| precision | runtime | mean accuracy | cost |",
        "|---|---|---:|---:|",
        *rows,
        "",
        f"int8 may cost {100 * measured['limit']:.1f} point in each runtime. {verdict}.",
    ]
    if "tried" in int8:
        tried = ", ".join(f"{KEPT_IN_FP32[keep]} in fp32: {100 * share:.2f} %" for keep, share in int8["tried"].items())
        lines += [
            "",
            f"Calibrated on {CALIBRATED_ON} training images (post-training quantisation, bias correction). Labels "
            f"that change on {CHOSEN_ON} other",
            f"training images: {tried}. File: {int8['bytes'] / 1e6:.1f} MB.",
        ]
    return "\n".join([*lines, ""])


def _try(model: Path, runtime: str, precision: str, source: Source, threads: int) -> float | str:
    try:
        network = load_network(model, runtime, precision, threads)
    except LineamentError as error:
        return str(error)
    return _accuracy(_scored(network, source, threads))


def _scored(network: Network, source: Source, threads: int) -> Predictions:
    print(f"{network.id}, {network.runtime}, {network.precision}: scoring {len(source.table)} images", flush=True)
    return predict(source, network, network.card.attributes, threads=threads).predictions


def _accuracy(found: Predictions) -> float:
    return float(scorecard(found)["mean_accuracy"])


def _with_costs(measured: dict[str, Any], base: float) -> dict[str, Any]:
    for precision in ("fp32", "bf16", "int8"):
        values = measured[precision]
        values["cost"] = {
            runtime: base - value
            for runtime, value in values.items()
            if runtime in ("onnx", "openvino") and isinstance(value, float)
        }
    return measured


def _faces(data: Path) -> UInt8:
    """Return the first training images of the shuffled shards as crops (N,3,218,178)."""
    source = open_source(str(data / "celeba" / "train-parquet"), "parquet", "all")
    rows = min(CALIBRATED_ON + CHOSEN_ON, len(source.table))
    return np.stack([stored_crop(load_image(source.read_bytes(row)).pixels)[0].pixels[0] for row in range(rows)])


def _crops(pixels: UInt8) -> Crops:
    return Crops(pixels, np.zeros((len(pixels), 2, 3), np.float32))


def _percent(value: float | str) -> str:
    return f"{100 * value:.3f}" if isinstance(value, float) else f"not measured: {value}"


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.3f}"


def faces_per_second(network: Network, faces: UInt8, runs: int = 7) -> dict[str, float]:
    """Return the median, least and most faces per second of the attribute network alone over `runs` passes, all threads
    at work."""
    crops, rates = _crops(faces), []
    network(crops)
    for _ in range(runs):
        start = perf_counter()
        network(crops)
        rates.append(len(faces) / (perf_counter() - start))
    return {"median": round(median(rates), 1), "least": round(min(rates), 1), "most": round(max(rates), 1)}


def time_all(model: Path, int8: Path, data: Path, threads: int) -> None:
    """Print faces per second of each precision and runtime on real faces."""
    faces = _faces(data)
    for precision, runtime in (
        ("fp32", "onnx"),
        ("fp32", "openvino"),
        ("bf16", "openvino"),
        ("int8", "onnx"),
        ("int8", "openvino"),
    ):
        file = int8 if precision == "int8" else model
        if file.is_file():
            print(
                precision,
                runtime,
                f"{threads} threads",
                faces_per_second(load_network(file, runtime, precision, threads), faces),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data")
    )
    parser.add_argument("--model", type=Path, default=ROOT / "lineament" / "weights" / "default.onnx")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--time", action="store_true", help="also print faces per second")
    arguments = parser.parse_args()
    source = Official(arguments.data / "celeba" / "official", "val")
    int8 = ROOT / "runs" / "refit" / "default.int8.onnx"
    measured = measure(arguments.model, source, arguments.data, arguments.threads, int8)
    print(json.dumps(measured, indent=1))
    print(section(measured, len(source.table)))
    if arguments.time:
        time_all(arguments.model, int8, arguments.data, arguments.threads)


if __name__ == "__main__":
    main()
