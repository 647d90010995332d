"""Copy what must be committed of a finished run from runs/ to results/: config, log, card, validation predictions; with
--system its weights.

    python scripts/collect_run.py runs/mgmtn --data $LINEAMENT_DATA/celeba/official --system --speed

Predictions are those of the exported ONNX file on the stored crops of the split, so that what is scored is what is
shipped. --speed times it, one thread, one face at a time: only on a quiet machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lineament.config import LossConfig, expand
from lineament.evaluation.evaluate import open_source, predict, to_predictions
from lineament.evaluation.predictions import Predictions, load
from lineament.evaluation.results import write_record
from lineament.export.onnx_export import export
from lineament.models.checkpoint import load_network_file, load_tensors
from lineament.runtime.onnx import OnnxNetwork
from lineament.runtime.threads import processor_name
from lineament.training.dataset import load_material
from lineament.types import Crops


def scored(model: Path, data: str, layout: str, split: str, threads: int) -> Predictions:
    """Return the predictions of an exported file on stored crops."""
    source, network = open_source(str(expand(data)), layout, split), OnnxNetwork(model, threads=threads)
    found = predict(source, network, network.card.attributes, threads=threads).predictions
    protocol = {"layout": layout, "split": split, "align": "stored", "runtime": "onnx"}
    return dataclasses.replace(found, meta={"data": f"{layout}/{split}@{found.fingerprint()}", "protocol": protocol})


def scored_with_masks(run: Path, data: str, layout: str, split: str) -> Predictions:
    """Return the predictions of a run that was given masks in training, given those of the split too (`data.regions`
    with its fingerprint).

    Its exported file holds the mean face's masks in their place, which it never saw.
    """
    network, config = load_network_file(run / "model.safetensors")
    images = dataclasses.replace(
        config.data, layout=layout, path=data, split=split, exclude=None, limit=None, attributes=None
    )
    material = load_material(dataclasses.replace(config, data=images, loss=LossConfig()))
    logits = []
    with torch.no_grad():
        for first in range(0, len(material.table), 64):
            batch = material.batch(np.arange(first, min(first + 64, len(material.table))))
            logits.append(network(network.preprocess(batch.crops), region=batch.region).logits.numpy())  # type: ignore[operator]
    found = to_predictions(material.table, np.concatenate(logits), tuple(network.attributes))  # type: ignore[arg-type]
    protocol = {"layout": layout, "split": split, "align": "stored", "runtime": "torch", "masks": "given"}
    return dataclasses.replace(found, meta={"data": f"{layout}/{split}@{found.fingerprint()}", "protocol": protocol})


def given_masks(config: Mapping[str, Any]) -> bool:
    """Whether a run's masks came with the images: neither predicted nor the mean face's."""
    return config["model"]["options"].get("mask") == "mean" and config["data"].get("regions") is not None


def timed(model: Path, runs: int = 60) -> dict[str, Any]:
    """Return the milliseconds of one face, one thread: median, 10th and 90th percentile."""
    network = OnnxNetwork(model, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 218, 178), np.uint8)
    crop = Crops(pixels, np.array([[[1, 0, 0], [0, 1, 0]]], np.float32))
    spent = []
    for _ in range(runs + 10):
        began = time.perf_counter()
        network(crop)
        spent.append(1000 * (time.perf_counter() - began))
    low, middle, high = np.percentile(spent[10:], [10, 50, 90])
    return {
        "ms_per_face": middle,
        "p10": low,
        "p90": high,
        "runs": runs,
        "threads": 1,
        "runtime": "onnx",
        "processor": processor_name(),
    }


def collect(run: Path, results: Path, *, data: str, layout: str = "official", split: str = "val",
name: str | None = None, system: bool = False,
            speed: bool = False, predictions: str | None = None, threads: int = 1) -> Path:  # fmt: skip
    """Export, score and copy one run; return its folder in `results`."""
    config = load_tensors(run / "model.safetensors")[1]["config"]
    name = name or str(config["name"])
    with tempfile.TemporaryDirectory() as scratch:
        model = (results / "systems" / name if system else Path(scratch)) / "model.onnx"
        card = export(run, model, name=name)
        if predictions:
            found = load(predictions)
        elif given_masks(config):
            found = scored_with_masks(run, data, layout, split)
        else:
            found = scored(model, data, layout, split, threads)
        folder = write_record(run, results, found, card.document, name=name, speed=timed(model) if speed else None)
    if system:  # the ONNX file holds the trained weights too
        (results / "systems" / name / "model.safetensors").unlink(missing_ok=True)
    return folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--name", help="name in tables; by default the config's")
    parser.add_argument("--data", default="$LINEAMENT_DATA/celeba/official")
    parser.add_argument("--layout", default="official")
    parser.add_argument("--split", default="val")
    parser.add_argument("--predictions", help="a prediction file of `lineament evaluate`, in place of scoring anew")
    parser.add_argument("--system", action="store_true", help="also put the weights into results/systems/NAME")
    parser.add_argument("--speed", action="store_true", help="also time one face (quiet machine)")
    parser.add_argument("--threads", type=int, default=1)
    given = vars(parser.parse_args(arguments))
    print(collect(given.pop("run"), given.pop("results"), **given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
