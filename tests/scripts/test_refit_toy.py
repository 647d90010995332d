"""`make refit` on a network of another architecture, with maps as a second output, on drawn faces: everything is
written and belongs together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import refit  # noqa: E402
import refit_views  # noqa: E402

from lineament.data.celeba import Official  # noqa: E402
from lineament.data.synthetic import make  # noqa: E402
from lineament.data.synthetic_files import write_official, write_parquet  # noqa: E402
from lineament.runtime.onnx_file import read_card  # noqa: E402

TOYS = {
    "mgmtn": {"region_scale": "toy", "region_trainable": True, "width": 16, "hidden": 32},
    "far-amtn": {"fusion_size": 16, "reduction": 2},
}


def drawn(root: Path, astronaut: Any) -> Path:
    """Write a data folder as the shared one: official and parquet layouts of drawn faces, FairFace's of the
    portrait."""
    write_official(root / "celeba" / "official", make(400))
    write_parquet(root / "celeba" / "train-parquet", make(60))
    (root / "fairface" / "images").mkdir(parents=True)
    rows = []
    for number in range(4):
        Image.fromarray(astronaut).save(root / "fairface" / "images" / f"{number}.jpg")
        rows.append(f"{number}.jpg,30-39,{'Female' if number % 2 else 'Male'},{'A' if number < 2 else 'B'}")
    (root / "fairface" / "labels.csv").write_text("\n".join(["file,age,gender,race", *rows]) + "\n")
    return root


def trained(kind: str, data: Path, out: Path) -> Path:
    """Train a toy of one system for a few steps; return its ONNX file."""
    from lineament.config import load_config
    from lineament.export.onnx_export import export
    from lineament.training.trainer import Trainer

    record = {
        "name": "default", "model": {"name": kind, "backbone": "toy", "input_size": [110, 90], "options": TOYS[kind]},
        "data": {"layout": "official", "path": str(data / "celeba" / "official"), "split": "train", "holdout": 0,
        "cache": str(out / "cache")},
        "augment": {"crop": [100, 82]},
        "optimiser": {"epochs": 1, "batch": 32, "precision": "fp32", "warmup_steps": 2, "lr": 3e-3, "threads": 1,
        "ema": 0.5},
    }  # fmt: skip
    config = out / "toy.yaml"
    config.write_text(json.dumps(record))
    Trainer(load_config(config), out / "run").run()
    export(out / "run", out / "lineament" / "weights" / "default.onnx", name="default")
    return out / "lineament" / "weights" / "default.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(TOYS))
def test_refit_takes_a_network_with_maps(
    kind: str, tmp_path: Path, astronaut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, home = drawn(tmp_path / "data", astronaut), tmp_path / "home"
    pages = home / "docs" / "benchmarks"
    pages.mkdir(parents=True)
    model = trained(kind, data, home)
    before = read_card(model)
    assert before.document["maps"] is not None
    for name, value in {
        "ROOT": home,
        "WEIGHTS": model.parent,
        "BENCHMARKS": pages,
        "STAMP": pages / "refit.json",
    }.items():
        monkeypatch.setattr(refit, name, value)
    monkeypatch.setattr(refit.check_rules, "PAGE", pages / "rules.md")
    monkeypatch.setattr(refit.audit_page, "PAGE", pages / "audit.md")
    monkeypatch.setattr(refit_views, "UNSEEN_SHARDS", (0, 1))  # the drawn release has few shards
    refit.refit(data, "half", 2, 40)
    card, document = read_card(model), json.loads((pages / "decision.json").read_text())
    assert card.document["maps"] == before.document["maps"]
    assert card.document["fitted_on"] == document["fitted_on"]
    assert card.decision.calibration
    assert card.decision.thresholds == {}
    assert card.document["metrics"]["official_val"]["images"] == len(
        Official(data / "celeba" / "official", "val").table
    )
    stamp = json.loads((pages / "refit.json").read_text())
    assert refit.stamp(model) == stamp
    refit.refit(data, "half", 1, 40)
    assert json.loads((pages / "refit.json").read_text())["network_sha256"] == stamp["network_sha256"]
    assert read_card(model).decision == card.decision, "running it twice changes nothing"
