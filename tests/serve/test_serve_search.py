"""Search over HTTP is the index's own search; its pictures exist only for what was found, and only while the photo is as indexed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from serve_support import Running
from starlette.testclient import TestClient

from lineament.schema import SENSITIVE
from lineament.search.find import Index
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


def test_the_page_is_there_only_with_an_index(running: Running) -> None:
    assert running.client.get("/search").status_code == 200
    assert running.client.get("/v1/service").json()["search"] is True
    without = TestClient(create_app(running.app.state.service, workers=1), raise_server_exceptions=False)
    assert without.get("/search").json()["error"]["message"].endswith("start it with --db FILE.")
    assert without.get("/v1/search?q=smiling").status_code == 404
