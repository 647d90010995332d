"""Every limit holds, and its refusal names it."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_support import LIMITS, Running, form
from serve_toys import toy_photo
from starlette.requests import Request

from lineament.errors import UsageError
from lineament.serve.body import Body, Buffer, Upload
from lineament.serve.limits import Limits, RefusedError
from lineament.serve.metrics import Metrics

UNENDED_FORM = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx'


def pixel_bomb(side: int = 60_000) -> bytes:
    """Return a few hundred bytes that say they are a PNG of side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def refused(response: Any, status: int, code: str, limit: str | None) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "limit"}
    assert error["code"] == code
    assert error["message"]
    assert (error["limit"] and error["limit"]["name"]) == limit
    if limit is not None:
        assert error["limit"]["value"] == getattr(LIMITS, limit)
    assert ("retry-after" in response.headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "limit"),
    [
        (b"x" * 300_001, {}, 413, "body_bytes", "body_bytes"),
        (pixel_bomb(), {}, 413, "too_large", "pixels"),
        (toy_photo(7), {}, 422, "too_many_faces", "faces"),
        (b"", {}, 400, "empty", None),
        (b"just words", {}, 415, "not_a_picture", None),
        (b"%PDF-1.7 ...", {}, 415, "unsupported", None),
        (b"PK\x03\x04" + bytes(200), {}, 415, "not_a_picture", None),
        (toy_photo(kind="JPEG")[:-400], {}, 422, "truncated", None),
        (toy_photo()[:-400], {}, 422, "truncated", None),
        (toy_photo(), {"content-type": "application/json"}, 415, "media_type", None),
        (toy_photo(), {"content-type": "text/html; charset=utf-8"}, 415, "media_type", None),
        (zlib.compress(toy_photo()), {"content-encoding": "gzip"}, 415, "encoding", None),
        (b"x", {"content-type": "multipart/form-data"}, 400, "multipart", None),
        (b"no parts", {"content-type": "multipart/form-data; boundary=b"}, 400, "multipart", None),
        (b"--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}, 400, "empty", None),
        (b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n", {"content-type": (
            "multipart/form-data; boundary=b"
        )}, 400, "multipart", None),
        (UNENDED_FORM, {"content-type": "multipart/form-data; boundary=b"}, 400, "multipart", None),
        (b"x", {"content-type": "multipart/form-data; boundary=" + "b" * 300}, 400, "multipart", None),
        (b"crash", {}, 503, "worker_lost", None),
    ],
)  # fmt: skip
def test_a_raw_body_that_cannot_be_answered(
    running: Running, body: bytes, headers: dict[str, str], status: int, code: str, limit: str | None
) -> None:
    refused(running.client.post("/v1/analyze", content=body, headers=headers), status, code, limit)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("profile=everything", "parameter"), ("profle=all", "parameter"), ("keep=0", "parameter"),
        ("keep=-1", "parameter"), ("abstain=perhaps", "parameter"), ("faces=all", "parameter"),
        ("attributes=" + "x" * 3000, "parameter"), ("attributes=Smilin", "unknown_attribute"),
        ("attributes=Attractive", "usage"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(running: Running, query: str, code: str) -> None:
    response = running.client.post(f"/v1/analyze?{query}", content=toy_photo())
    refused(response, 422, code, None)
    assert query.partition("=")[0][:6] in response.text or query.partition("=")[2][:6] in response.text


def test_forms_with_too_many_photos_or_another_field(running: Running) -> None:
    many = form(*((f"{i}.png", b"x") for i in range(5)))
    refused(running.client.post("/v1/analyze", files=many), 413, "files", "files")
    refused(running.client.post("/v1/analyze", files=[("photo", ("a.png", b"x"))]), 422, "field", None)
    refused(running.client.post("/v1/analyze", files=[("files", (None, b"text"))]), 422, "field", None)
    refused(
        running.client.post("/v1/analyze", files=[("files", ("a.png", b"x" * 310_000))]),
        413,
        "body_bytes",
        "body_bytes",
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/analyze", 405), ("GET", "/v2", 404), ("DELETE", "/", 405), ("POST", "/healthz", 405)],
)
def test_other_routes_and_methods_are_refused_in_the_same_form(
    running: Running, method: str, path: str, status: int
) -> None:
    response = running.client.request(method, path)
    assert set(response.json()["error"]) == {"code", "message", "limit"}
    assert response.status_code == status
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\windows\\a.png",
        "a\x00b.png",
        "..%2f..%2fa.png",
        "é\u202egnp.jpg",
        "x" * 2000,
        "<script>.png",
    ],
)
def test_file_names_are_only_text(running: Running, name: str) -> None:
    photo = toy_photo()
    response = running.client.post("/v1/analyze", files=form((name, photo)))
    assert response.status_code == 200
    record = response.json()["results"][0]
    assert len(record["source"]) <= 1024
    assert record["faces"] == running.client.post("/v1/analyze", content=photo).json()["faces"]


def test_a_hung_worker_is_replaced_and_its_neighbours_are_answered(running: Running) -> None:
    before = [worker.pid for worker in running.service.pool.workers]
    response = running.client.post("/v1/analyze", files=form(("hang.png", toy_photo()), ("good.png", toy_photo(2))))
    statuses = {record["source"]: record["status"] for record in response.json()["results"]}
    assert statuses == {"hang.png": "timed_out", "good.png": "ok"}
    assert running.client.post("/v1/analyze", content=toy_photo()).status_code == 200
    assert "lineament_workers_replaced_total 0.0" not in running.client.get("/metrics").text
    assert before != [worker.pid for worker in running.service.pool.workers]


def test_a_photo_whose_worker_died_is_tried_once_more(running: Running) -> None:
    response = running.client.post("/v1/analyze", files=form(("crash-once.png", toy_photo(2, seed=5))))
    assert response.content == b'{"results": [' + running.line(toy_photo(2, seed=5), "crash-once.png") + b"]}\n"


def test_past_capacity_the_service_says_so_and_answers_the_rest(running: Running) -> None:
    def ask(index: int) -> Any:
        return running.client.post("/v1/analyze", files=form((f"slow{index}.png", toy_photo(seed=index))))

    with ThreadPoolExecutor(32) as pool:
        responses = list(pool.map(ask, range(32)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429, 503} or set(statuses) == {200, 503}
    assert statuses.count(200) >= LIMITS.queue
    for index, response in enumerate(responses):
        if response.status_code == 200:
            assert running.line(toy_photo(seed=index), f"slow{index}.png") in response.content
        else:
            assert response.json()["error"]["limit"]["name"] in ("queue", "requests_per_client")
            assert int(response.headers["retry-after"]) >= 1


# Bodies by themselves


def arriving(*chunks: bytes, pause: float = 0.0, **headers: str) -> Request:
    """Return a request whose body comes in these chunks."""
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


def read(request: Request, limits: Limits = LIMITS) -> tuple[list[Upload], bool]:
    metrics = Metrics()
    buffer = Buffer(limits, metrics)
    body = Body(request, limits, buffer)
    try:
        return asyncio.run(body.read())
    finally:
        body.close()
        assert metrics.buffered._value.get() == 0, "what was held is given back"


def test_a_trickling_body_has_a_time_limit() -> None:
    with pytest.raises(RefusedError, match="did not arrive") as caught:
        read(arriving(*[b"x"] * 100, pause=0.02), Limits(body_seconds=0.1))
    assert (caught.value.status, caught.value.limit) == (400, ("body_seconds", 0.1))


def test_reading_stops_at_the_limit_whatever_is_stated() -> None:
    endless = arriving(*[b"x" * 50_000] * 100)
    with pytest.raises(RefusedError) as caught:
        read(endless)
    assert caught.value.status == 413
    with pytest.raises(RefusedError):
        read(arriving(b"", content_length="999999999"))


def test_all_bodies_together_are_bounded() -> None:
    with pytest.raises(RefusedError) as caught:
        read(arriving(b"x" * 1000), Limits(buffered_bytes=999))
    assert (caught.value.status, caught.value.code) == (503, "buffered_bytes")


FILE_NAMES = st.text(st.characters(exclude_categories=["C"], exclude_characters='"\\'), min_size=1, max_size=40)


@given(
    st.lists(st.tuples(FILE_NAMES, st.binary(max_size=300)), min_size=1, max_size=4),
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
)
def test_a_form_is_read_the_same_however_it_is_cut(parts: list[tuple[str, bytes]], cuts: list[int]) -> None:
    boundary = "zxq0123456789"
    stream = io.BytesIO()
    for name, data in parts:
        stream.write(
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; '
            f'filename="{name}"\r\nContent-Type: image/png\r\n\r\n'.encode()
        )
        stream.write(data + b"\r\n")
    stream.write(f"--{boundary}--\r\n".encode())
    stream.seek(0)
    chunks = [chunk for cut in cuts for chunk in [stream.read(cut)] if chunk] + [stream.read()]
    uploads, is_form = read(arriving(*chunks, content_type=f"multipart/form-data; boundary={boundary}"))
    assert is_form
    assert [upload.data for upload in uploads] == [data for _, data in parts]


@pytest.mark.parametrize("name", list(Limits.__dataclass_fields__))
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Limits(**{name: 0})
