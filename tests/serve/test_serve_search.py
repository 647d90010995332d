"""Search over HTTP is the index's own search; its pictures exist only for what was found, and only while the photo is
as indexed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serve_support import Running, form
from serve_toys import ToySource, map_model, toy_index, toy_photo
from starlette.testclient import TestClient

from lineament.schema import SENSITIVE
from lineament.search.index import Index
from lineament.serve.app import create_app


@pytest.mark.parametrize("query", ["smiling", "smiling or not bald", "eyeglasses > 0.2 sort by smiling desc", ""])
@pytest.mark.parametrize("profile", ["default", "all"])
def test_hits_are_those_of_the_index(running: Running, query: str, profile: str) -> None:
    answer = running.client.get("/v1/search", params={"q": query, "profile": profile, "limit": 5}).json()
    desk = running.service.desk
    assert desk is not None
    with Index(desk._index.path, threads=1) as index:
        expected = index.search(query, profile=profile, limit=5)
    assert answer.pop("mentioned") == list(expected.mentioned)
    pictures = [hit.pop("picture") for hit in answer["hits"]]
    assert answer == expected.to_dict()
    assert len(set(pictures)) == len(pictures)
    if profile == "default":
        assert not any(SENSITIVE & set(hit["attributes"]) for hit in answer["hits"])


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"q": "smilin"}, "query"),
        ({"q": "(smiling"}, "query"),
        ({"q": "young"}, "query"),
        ({"limit": 0}, "parameter"),
        ({"profile": "x"}, "parameter"),
    ],
)
def test_a_query_that_cannot_be_read_is_pointed_at(running: Running, params: dict[str, str], code: str) -> None:
    response = running.client.get("/v1/search", params=params)
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)
    if code == "query":
        assert "^" in response.json()["error"]["message"]


def test_a_picture_is_of_a_hit_and_of_nothing_else(running: Running) -> None:
    hit = running.client.get("/v1/search?q=smiling&loose=true&limit=1").json()["hits"][0]
    response = running.client.get(f"/v1/search/pictures/{hit['picture']}")
    assert response.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(response.content)).size == (224, 224)
    for name in ("x", "..%2f..%2fetc%2fpasswd", hit["file"].replace("/", "%2f"), hit["picture"][:-1]):
        assert running.client.get(f"/v1/search/pictures/{name}").status_code == 404
    photo = Path(hit["file"])
    before = photo.read_bytes()
    photo.write_bytes(before + b"x")
    assert running.client.get(f"/v1/search/pictures/{hit['picture']}").json()["error"]["code"] == "changed"


@pytest.mark.parametrize(
    ("change", "face", "profile"),
    [("", 0, "default"), ("but with mustache, without bald", 1, "default"), ("with young", 0, "all")],
)
def test_like_is_the_index_s_own_answer_for_the_photo(running: Running, change: str, face: int, profile: str) -> None:
    photo = toy_photo(2, seed=77)
    params = {"change": change, "face": str(face), "profile": profile, "limit": "5"}
    answer = running.client.post("/v1/search/like", params=params, content=photo).json()
    report = running.model.analyze(photo, source_name="body", profile="all")
    assert running.service.desk is not None
    with Index(running.service.desk._index.path, threads=1) as index:
        expected = index.like(report, change, face=face, profile=profile, limit=5)
    assert answer.pop("mentioned") == list(expected.mentioned)
    assert answer.pop("faces") == 2
    assert all(hit.pop("picture") for hit in answer["hits"])
    assert answer == expected.to_dict()


def test_a_photo_that_is_indexed_is_not_like_itself(running: Running) -> None:
    hit = running.client.get("/v1/search?limit=1").json()["hits"][0]
    photo = running.client.post(
        "/v1/search/like", params={"limit": 200}, files=form(("x.png", Path(hit["file"]).read_bytes()))
    ).json()
    assert photo["hits"]
    assert hit["file"] not in {one["file"] for one in photo["hits"]}


@pytest.mark.parametrize(
    ("params", "content", "status", "code"),
    [
        ({}, toy_photo(0), 422, "no_face"),
        ({"face": 1}, toy_photo(1), 422, "usage"),
        ({"change": "but with smilin"}, toy_photo(1), 422, "query"),
        ({"change": "but with young"}, toy_photo(1), 422, "query"),
        ({"face": -1}, toy_photo(1), 422, "parameter"),
        ({}, b"hello", 415, "not_a_picture"),
        ({}, b"", 400, "empty"),
        ({}, b"x" * 400_000, 413, "body_bytes"),
    ],
)
def test_like_refuses_with_the_reason(
    running: Running, params: dict[str, Any], content: bytes, status: int, code: str
) -> None:
    response = running.client.post("/v1/search/like", params=params, content=content)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_like_takes_one_photo(running: Running) -> None:
    response = running.client.post("/v1/search/like", files=form(("a.png", toy_photo(1)), ("b.png", toy_photo(1))))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "files")


def test_best_shots_are_those_of_the_index_with_pictures(tmp_path: Path) -> None:
    model = ToySource(map_model(tmp_path / "toy.onnx"))
    db = toy_index(tmp_path, model(), photos=2, burst=3)
    with Index(db, threads=1) as index:
        expected = [[entry.to_dict() for entry in group] for group in index.best_shots()]
    assert [len(group) for group in expected] == [3]
    with TestClient(create_app(model, workers=1, db=db), raise_server_exceptions=False) as client:
        answer = client.get("/v1/search/best-shots").json()
        pictures = [shot.pop("picture") for burst in answer["bursts"] for shot in burst]
        assert (answer["bursts"], answer["found"]) == (expected, 1)
        assert max(Image.open(io.BytesIO(client.get(f"/v1/search/pictures/{pictures[0]}").content)).size) == 160
        assert client.get("/v1/search/best-shots?q=smiling > 0.5 and smiling < 0.5").json()["bursts"] == []
        assert client.get("/v1/search/best-shots?q=young").json()["error"]["code"] == "query"
        Path(expected[0][0]["file"]).unlink()
        assert client.get(f"/v1/search/pictures/{pictures[0]}").status_code == 404


def test_the_page_is_there_only_with_an_index(running: Running) -> None:
    assert running.client.get("/search").status_code == 200
    assert running.client.get("/v1/service").json()["search"] is True
    without = TestClient(create_app(running.app.state.service, workers=1), raise_server_exceptions=False)
    assert without.get("/search").json()["error"]["message"].endswith("start it with --db FILE.")
    assert without.get("/v1/search?q=smiling").status_code == 404
