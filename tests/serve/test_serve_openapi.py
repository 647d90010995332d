"""The OpenAPI document tells the truth: by hand here, fuzzed by schemathesis in the slow suite."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from serve_support import Running, form, start
from serve_toys import ToySource, map_model, toy_index, toy_photo

DOCUMENTED = {"/v1/analyze", "/v1/schema", "/v1/model", "/v1/attributes", "/v1/service", "/v1/search",
"/v1/search/like", "/v1/search/best-shots",
              "/healthz", "/readyz", "/metrics"}  # fmt: skip


def test_every_route_is_described(running: Running) -> None:
    document = running.client.get("/openapi.json").json()
    assert set(document["paths"]) >= DOCUMENTED
    analyze = document["paths"]["/v1/analyze"]["post"]
    assert {parameter["name"] for parameter in analyze["parameters"]} == {
        "profile",
        "attributes",
        "abstain",
        "consistent",
        "keep",
        "faces",
        "maps",
        "small_faces",
    }
    assert set(analyze["responses"]) == {"200", "400", "401", "413", "415", "422", "429", "503"}
    assert set(analyze["requestBody"]["content"]) == {"image/*", "application/octet-stream", "multipart/form-data"}


def test_answers_and_refusals_are_as_described(running: Running) -> None:
    document = running.client.get("/openapi.json").json()

    def check(name: str, body: object) -> None:
        jsonschema.validate(body, {"$ref": f"#/components/schemas/{name}", "components": document["components"]})

    check("Record", running.client.post("/v1/analyze?maps=true&profile=all", content=toy_photo(2)).json())
    for record in running.client.post("/v1/analyze", files=form(("a", toy_photo(0)), ("b", b"no"))).json()["results"]:
        check("Record", record)
    check("Error", running.client.post("/v1/analyze", content=b"no").json())
    check("Error", running.client.post("/v1/analyze", content=b"x" * 400_000).json())


@pytest.mark.slow
def test_fuzzed(tmp_path: Path) -> None:
    """Random parameters, bodies, methods and headers never give a server error or anything undescribed.

    Left out: that every body of the described media types is accepted (a random one is no picture), and that a wrong
    Authorization header is refused (this service runs without a key).
    """
    schemathesis = pytest.importorskip("schemathesis")
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    schemathesis.checks.load_all_checks()
    left_out = schemathesis.checks.CHECKS.get_by_names(["positive_data_acceptance", "ignored_auth"])
    db = toy_index(tmp_path, ToySource(map_model(tmp_path / "toy.onnx"))())
    server = start(tmp_path / "toy.onnx", "--db", str(db), "--limit", "body_bytes=5000")
    try:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert {operation.path for operation in operations} >= DOCUMENTED
        for operation in operations:
            for mode in modes:
                _fuzz(operation, mode, left_out)
        assert httpx.post(f"{server.url}/v1/analyze", content=toy_photo(1, size=(20, 20))).status_code == 200
    finally:
        server.process.kill()


def _lost_on_the_way(case: Any) -> bool:
    """Say whether what is wrong in a form's body is a field without a value: no part of the form is made of it, so
    nobody can refuse it."""
    if case.media_type != "multipart/form-data" or not isinstance(case.body, dict):
        return False
    sent = case.as_transport_kwargs().get("files") or []
    return {name for name, _ in sent} != set(case.body)


def _fuzz(operation: Any, mode: Any, left_out: list[Any]) -> None:
    try:
        strategy = operation.as_strategy(generation_mode=mode)
    except Unsatisfiable:
        return

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(strategy)
    def one(case: Any) -> None:
        assume(not _lost_on_the_way(case))
        case.call_and_validate(excluded_checks=left_out)

    with suppress(Unsatisfiable):  # nothing to get wrong: the operation takes no parameters
        one()
