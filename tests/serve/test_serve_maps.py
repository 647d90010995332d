"""Maps of every kind that the networks here give reach the page: each attribute is told which map is its own."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from serve_toys import ToySource, map_model, toy_photo
from starlette.testclient import TestClient

from lineament.schema import CELEBA_40, MGMTN_GROUPS, SENSITIVE
from lineament.serve.app import create_app
from lineament.serve.photo_answer import map_name

KINDS = {
    "region": tuple(MGMTN_GROUPS),
    "group_attention": tuple(MGMTN_GROUPS),
    "branch_activation": ("objective", "subjective"),
    "activation": ("face",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_finds_its_map(tmp_path: Path, kind: str) -> None:
    with TestClient(create_app(ToySource(map_model(tmp_path / "toy.onnx", kind, KINDS[kind])), workers=1)) as client:
        record = client.post("/v1/analyze?maps=true", content=toy_photo(1)).json()
        told = client.get("/v1/attributes?profile=all").json()["attributes"]
        components = client.get("/openapi.json").json()["components"]
    jsonschema.validate(record, {"$ref": "#/components/schemas/Record", "components": components})
    maps = record["faces"][0]["maps"]
    assert maps["kind"] == kind
    assert set(maps["values"]) == set(KINDS[kind])
    assert {entry["name"]: entry["map"] for entry in told} == {name: map_name(name, KINDS[kind]) for name in CELEBA_40}
    assert all(entry["map"] in maps["values"] for entry in told)


def test_a_model_without_maps_says_so(tmp_path: Path) -> None:
    """A region network without masks names no maps in its card, though its graph has the output."""
    with TestClient(create_app(ToySource(map_model(tmp_path / "toy.onnx", "region", ())), workers=1)) as client:
        assert client.post("/v1/analyze?maps=true", content=toy_photo(1)).json()["faces"][0]["maps"] is None
        assert {entry["map"] for entry in client.get("/v1/attributes").json()["attributes"]} == {None}


def test_an_attribute_s_own_map_comes_first() -> None:
    assert map_name("Smiling", CELEBA_40) == "Smiling"
    assert map_name("Male", ("objective", "subjective")) == "objective"
    assert map_name("Attractive", ("objective", "subjective")) == "subjective"
    assert map_name("Young", [name for name in CELEBA_40 if name not in SENSITIVE]) is None
