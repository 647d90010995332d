"""The service answers what the API answers, to the byte, whatever shares its queue."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from serve_support import Running, form
from serve_toys import toy_photo
from starlette.testclient import TestClient

from lineament.schema import SENSITIVE
from lineament.serve.guard import SECURITY_HEADERS, Guard
from lineament.serve.limits import Limits
from lineament.serve.metrics import Metrics

SCHEMA = json.loads(files("lineament").joinpath("record.schema.json").read_text("utf-8"))


@pytest.mark.parametrize("faces", [0, 1, 3])
@pytest.mark.parametrize("settings", [{}, {"profile": "all"}, {"abstain": True, "consistent": True}, {"keep": 1}])
def test_a_record_equals_the_apis_to_the_byte(running: Running, faces: int, settings: dict[str, Any]) -> None:
    photo = toy_photo(faces, seed=faces)
    response = running.client.post("/v1/analyze", params=settings, content=photo)
    assert response.status_code == 200
    assert response.content == running.line(photo, **settings) + b"\n"
    jsonschema.validate(response.json(), SCHEMA)
    assert response.json()["status"] == ("ok" if faces else "no_face")


def test_attributes_are_chosen_by_name_ignoring_case(running: Running) -> None:
    photo = toy_photo()
    response = running.client.post("/v1/analyze?attributes=smiling,EYEGLASSES", content=photo)
    assert list(response.json()["faces"][0]["attributes"]) == ["Eyeglasses", "Smiling"]
    assert response.content == running.line(photo, attributes=["Smiling", "Eyeglasses"]) + b"\n"


def test_an_aligned_crop_needs_no_detection(running: Running) -> None:
    crop = toy_photo(0, size=(218, 178))
    response = running.client.post("/v1/analyze?faces=aligned", content=crop)
    assert response.content == running.line(crop, faces="aligned") + b"\n"
    assert response.json()["faces"][0]["detection_prob"] is None


def test_a_form_answers_in_order_and_keeps_bad_photos_apart(running: Running) -> None:
    photos = [
        ("one.png", toy_photo(1, seed=1)),
        ("text.txt", b"hello there"),
        ("two.png", toy_photo(2, seed=2)),
        ("none.png", toy_photo(0)),
    ]
    response = running.client.post("/v1/analyze", files=form(*photos))
    results = response.json()["results"]
    assert [(one["source"], one["status"]) for one in results] == [
        ("one.png", "ok"), ("text.txt", "unreadable"), ("two.png", "ok"), ("none.png", "no_face"),
    ]  # fmt: skip
    lines = [running.line(photos[i][1], photos[i][0]) for i in (0, 2, 3)]
    assert all(line in response.content for line in lines)
    for one in results:
        jsonschema.validate(one, SCHEMA)


def test_concurrent_requests_are_never_mixed_up(running: Running) -> None:
    photos = [toy_photo(1 + seed % 3, seed=seed) for seed in range(24)]
    expected = [running.line(photo) + b"\n" for photo in photos]
    assert len(set(expected)) == len(photos), "photos that answer alike could hide a mix-up"

    def ask(photo: bytes) -> bytes:
        for _ in range(200):
            response = running.client.post("/v1/analyze", content=photo)
            if response.status_code == 200:
                return response.content
            assert response.status_code in (429, 503), response.text
        raise AssertionError("never answered")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, photos)) == expected


def test_maps_are_an_addition_that_changes_nothing_else(running: Running) -> None:
    photo = toy_photo(2)
    record = running.client.post("/v1/analyze?maps=true", content=photo).json()
    for face in record["faces"]:
        maps = face.pop("maps")
        assert maps["kind"] == "class_activation"
        assert maps["size"] == [7, 6]
        assert maps["crop_size"] == [218, 178]
        assert set(maps["values"]) == set(face["attributes"]), "what the profile leaves out has no map either"
        assert not set(maps["values"]) & SENSITIVE
        assert [len(row) for row in maps["values"]["Smiling"]] == [6] * 7
    assert record == json.loads(running.line(photo))


def test_the_cards_and_schemas_are_served(running: Running) -> None:
    card = running.client.get("/v1/model").json()
    assert card.pop("id") == running.model.id
    assert card == running.model.card.document
    assert running.client.get("/v1/schema").json() == SCHEMA
    about = running.client.get("/v1/service").json()
    assert about["limits"]["files"] == 4
    shown = running.client.get("/v1/attributes").json()
    assert len(shown["attributes"]) == 29
    assert not any(entry["sensitive"] for entry in shown["attributes"])
    assert len(running.client.get("/v1/attributes?profile=all").json()["attributes"]) == 40


def test_the_probes_and_the_counters(running: Running) -> None:
    assert running.client.get("/healthz").json() == {"status": "ok"}
    assert running.client.get("/readyz").json() == {"status": "ready"}
    running.client.post("/v1/analyze", content=toy_photo(2))
    running.client.get("/no/such/page")
    page = running.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'lineament_photos_total{status="ok"}' in page.text
    assert 'lineament_requests_total{route="/v1/analyze",status="200"}' in page.text
    assert 'route="other",status="404"' in page.text
    assert "/no/such/page" not in page.text


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/model", "/static/app.js", "/nowhere"])
def test_every_response_carries_the_security_headers(running: Running, path: str) -> None:
    headers = running.client.get(path).headers
    for name, value in SECURITY_HEADERS.items():
        assert headers[name] == value
    assert "unsafe" not in headers["content-security-policy"]
    assert (
        "access-control-allow-origin"
        not in running.client.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    )
    assert "server" not in headers


def test_preflights_are_not_answered_with_permission(running: Running) -> None:
    response = running.client.options(
        "/v1/analyze", headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    )
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


def guarded(running: Running, **options: Any) -> TestClient:
    return TestClient(Guard(running.app, Limits(), Metrics(), **options))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic secret-key"}, 401),
        ({"X-API-Key": "secret-ke"}, 401),
        ({"Authorization": "Bearer \xff\xfe"}, 401),
        ({"Authorization": "Bearer secret-key"}, 200),
        ({"authorization": "bearer secret-key"}, 200),
        ({"X-API-Key": "secret-key"}, 200),
    ],
)
def test_the_api_key(running: Running, headers: dict[str, str], status: int) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    client = guarded(running, api_key="secret-key")
    for path in ("/v1/model", "/v1/schema", "/v1/service", "/v1/attributes", "/metrics", "/openapi.json"):
        response = client.get(path, headers=raw)
        assert response.status_code == status
        if status == 401:
            assert response.json()["error"]["code"] == "api_key"
            assert response.headers["www-authenticate"] == "Bearer"


def test_what_the_key_does_not_cover_tells_nothing(running: Running) -> None:
    client = guarded(running, api_key="secret-key")
    assert {client.get(path).status_code for path in ("/", "/healthz", "/readyz", "/static/app.js")} == {200}
    assert client.get("/static/../v1/model").status_code in (401, 404)
    assert client.post("/v1/analyze", content=toy_photo()).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("evil.example", 400), ("", 400)],
)
def test_other_host_names_are_refused_on_loopback(running: Running, host: str, status: int) -> None:
    """A web page whose name is made to mean 127.0.0.1 must not reach the service (DNS rebinding)."""
    client = guarded(running, hosts=("localhost", "127.0.0.1", "[::1]"))
    assert client.get("/v1/model", headers={"Host": host}).status_code == status
