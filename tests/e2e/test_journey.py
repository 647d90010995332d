"""The whole journey, no data set needed: drawn faces -> train 20 steps -> export -> evaluate -> analyze -> HTTP,
through the real command line.

Once with CelebA's names, once with a user's own network and own attribute names, which nothing in the package has heard
of.
"""

from __future__ import annotations

import csv
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from lineament.cli import app
from lineament.data.synthetic import make
from lineament.data.synthetic_files import write_official, write_table
from lineament.schema import CELEBA_40
from lineament.serve.app import create_app
from lineament.serve.photo_answer import ModelSource

OWN = ("Smiling", "Has_Fringe", "Wears_Specs")
DRAWN_AS = {"Smiling": "Smiling", "Has_Fringe": "Bangs", "Wears_Specs": "Eyeglasses"}
NETWORK = """
    from torch import nn

    from lineament.models.layers import TorchOutput


    class MyNet(nn.Module):
        def __init__(self, backbone, preprocess, attributes, groups, *, width=16):
            super().__init__()
            self.backbone, self.preprocess, self.attributes, self.groups = backbone, preprocess, attributes, groups
            last = nn.Linear(width, len(attributes))
            self.head = nn.Sequential(nn.Linear(backbone.channels[-1], width), nn.ReLU(), last)

        def forward(self, x, region=None):
            return TorchOutput(self.head(self.backbone(x)[-1].mean((2, 3))).float())
"""


def lineament(*arguments: Any, status: int = 0) -> Any:
    """Run one command; return its result, whose exit status is as expected."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


def config(folder: Path, name: str, **parts: Any) -> Path:
    record = {
        "name": name,
        "model": {"backbone": "toy", "input_size": [64, 52]},
        "augment": {"crop": [58, 48]},
        "optimiser": {
            "epochs": 4,
            "batch": 8,
            "precision": "fp32",
            "warmup_steps": 2,
            "lr": 5e-3,
            "threads": 1,
            "ema": 0.5,
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(record | parts))  # JSON is YAML
    return path


def served(model: Path, photo: bytes, profile: str = "default") -> dict[str, Any]:
    """Return what the service answers about a photo."""
    with TestClient(create_app(ModelSource(model), workers=1)) as client:
        answer = client.post(
            "/v1/analyze", content=photo, params={"profile": profile}, headers={"content-type": "image/jpeg"}
        )
        assert answer.status_code == 200, answer.text
        assert client.get("/v1/model").status_code == 200
    record: dict[str, Any] = answer.json()
    return record


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, astronaut: Any) -> Path:
    path = tmp_path_factory.mktemp("photo") / "portrait.jpg"
    Image.fromarray(astronaut).save(path, quality=95)
    return path


def test_drawn_faces_to_http(tmp_path: Path, photo: Path) -> None:
    release = write_official(tmp_path / "release", make(50))
    data = {
        "layout": "official",
        "path": str(release),
        "split": "train",
        "holdout": 0,
        "cache": str(tmp_path / "cache"),
    }
    run, model = tmp_path / "run", tmp_path / "toy.onnx"
    lineament("train", "--config", config(tmp_path, "toy", data=data), "--out", run, "--quiet")
    with (run / "log.csv").open() as file:
        assert int(list(csv.DictReader(file))[-1]["step"]) == 20
    lineament("export", run, "--out", model)
    lineament(
        "evaluate",
        release,
        "--layout",
        "official",
        "--split",
        "val",
        "--model",
        model,
        "--json",
        tmp_path / "val.json",
        "--quiet",
    )
    card = json.loads((tmp_path / "val.json").read_text())
    assert (card["images"], card["missing"]) == (9, 0)
    assert card["model"].startswith("toy@")
    assert 0.5 < card["mean_accuracy"] <= 1
    lineament("analyze", photo, "--model", model, "--jsonl", tmp_path / "out.jsonl", "--quiet")
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert record["status"] == "ok"
    assert set(record["faces"][0]["attributes"]) < set(CELEBA_40)
    assert served(model, photo.read_bytes())["faces"] == record["faces"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: my_package/net.py, labels.csv with own names (some cells empty), config; trained and
    exported."""
    folder, faces = tmp_path_factory.mktemp("own"), make(50)
    write_table(folder / "celeba.csv", faces)
    columns = [CELEBA_40.index(DRAWN_AS[name]) for name in OWN]
    with (folder / "labels.csv").open("w", newline="") as file, (folder / "celeba.csv").open() as drawn:
        writer = csv.writer(file)
        writer.writerow(["file", "identity", "split", *OWN])
        for row, given in enumerate(csv.DictReader(drawn)):
            labels = [
                "" if row % 7 == 0 and place == 1 else int(faces.targets[row, column])
                for place, column in enumerate(columns)
            ]
            writer.writerow([given["file"], given["identity"], given["split"], *labels])
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "net.py").write_text(textwrap.dedent(NETWORK))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        data = {
            "layout": "table",
            "path": str(folder / "labels.csv"),
            "split": "train",
            "attributes": list(OWN),
            "holdout": 0,
        }
        network = {"name": "my_package.net:MyNet", "backbone": "toy", "input_size": [64, 52], "options": {"width": 24}}
        path = config(folder, "mine", data=data | {"cache": str(folder / "cache")}, model=network)
        lineament("train", "--config", path, "--out", folder / "run", "--quiet")
        lineament("export", folder / "run", "--out", folder / "mine.onnx")
    return folder


def test_own_names_are_scored_where_they_are_known(own: Path, tmp_path: Path) -> None:
    where = ("--layout", "table", "--align", "stored", "--split", "val", "--model", own / "mine.onnx", "--quiet")
    lineament(
        "evaluate", own / "labels.csv", *where, "--json", tmp_path / "v.json", "--predictions", tmp_path / "p.csv"
    )
    card = json.loads((tmp_path / "v.json").read_text())
    assert tuple(card["attributes"]) == OWN
    assert card["images"] == 9
    with (own / "labels.csv").open() as file:
        val = [row for row in csv.DictReader(file) if row["split"] == "val"]
    assert [card["attributes"][name]["images"] for name in OWN] == [sum(row[name] != "" for row in val) for name in OWN]
    again = lineament("evaluate", tmp_path / "p.csv", "--layout", "predictions", "--json", "-", "--quiet")
    assert json.loads(again.stdout)["mean_accuracy"] == pytest.approx(card["mean_accuracy"])
    lineament("report", tmp_path / "p.csv", "--html", tmp_path / "report.html")
    assert "Wears_Specs" in (tmp_path / "report.html").read_text("utf-8").replace(" ", "_")
    lineament("compare", tmp_path / "p.csv", tmp_path / "p.csv", "--json", tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["mean"]["accuracy"]["difference"] == 0


def test_own_names_stand_in_records_csv_and_http(own: Path, photo: Path, tmp_path: Path) -> None:
    model = own / "mine.onnx"
    lineament(
        "analyze",
        photo,
        "--model",
        model,
        "--jsonl",
        tmp_path / "o.jsonl",
        "--csv",
        tmp_path / "o.csv",
        "--consistent",
        "--abstain",
        "--quiet",
    )
    record = json.loads((tmp_path / "o.jsonl").read_text())
    assert tuple(record["faces"][0]["attributes"]) == OWN
    with (tmp_path / "o.csv").open() as file:
        assert "prob_Wears_Specs" in next(csv.reader(file))
    lineament(
        "analyze", photo, "--model", model, "--attributes", "wears_specs", "--json", tmp_path / "one.json", "--quiet"
    )
    assert '"Wears_Specs"' in (tmp_path / "one.json").read_text()
    assert '"Has_Fringe"' not in (tmp_path / "one.json").read_text()
    refused = lineament("analyze", photo, "--model", model, "--attributes", "Bangs", "--json", "-", status=2)
    assert f"Known here: {', '.join(OWN)}" in " ".join(refused.output.split())
    assert tuple(served(model, photo.read_bytes())["faces"][0]["attributes"]) == OWN


def test_own_names_are_calibrated_indexed_and_searched(own: Path, photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    pytest.importorskip("lark")
    lineament("index", photo.parent, "--db", tmp_path / "i.duckdb", "--model", own / "mine.onnx", "--quiet")
    names = [
        lineament("search", tmp_path / "i.duckdb", query, "--json", "-").stdout
        for query in ("Wears_Specs", "not wears_specs")
    ]
    assert sum("portrait.jpg" in found for found in names) == 1
    refused = lineament("search", tmp_path / "i.duckdb", "Bangs", status=2)
    assert "Bangs" in refused.output
    rng, rows = np.random.default_rng(0), 300
    with (tmp_path / "p.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "identity", *(f"{kind}_{name}" for name in OWN for kind in ("raw", "target"))])
        for row in range(rows):
            cells = [(p, int(rng.random() < p)) for p in rng.random(len(OWN))]
            writer.writerow([f"{row}.jpg", row // 2, *(value for cell in cells for value in cell)])
    lineament(
        "calibrate",
        "--predictions",
        tmp_path / "p.csv",
        "--model",
        own / "mine.onnx",
        "--out",
        tmp_path / "fitted.onnx",
    )
    lineament(
        "analyze", photo, "--model", tmp_path / "fitted.onnx", "--abstain", "--jsonl", tmp_path / "f.jsonl", "--quiet"
    )
    assert tuple(json.loads((tmp_path / "f.jsonl").read_text())["faces"][0]["attributes"]) == OWN
