"""Lists in any Unicode encoding, and what comes through a pipe: a list, or one picture of any format."""

from __future__ import annotations

import codecs
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from lineament.data.unicode import decode_text, encoding_of
from lineament.inputs.expand import items

ENCODINGS = [
    ("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE),
    ("utf-32-le", codecs.BOM_UTF32_LE), ("utf-32-be", codecs.BOM_UTF32_BE), ("utf-16-le", b""), ("utf-16-be", b""),
    ("utf-32-le", b""), ("utf-32-be", b""),
]  # fmt: skip
NAMES = ["in/a.png", "фото/лицо 1.jpg", "写真.jpeg", "a,b.jpg", " leading.png"]


MADE = [
    (encoding, mark, end)
    for encoding, mark in ENCODINGS
    for end in ("\n", "\r\n", "\0")
    if end != "\0" or mark or encoding == "utf-8"
]


@pytest.mark.parametrize(("encoding", "mark", "end"), MADE)
def test_lists_in_any_unicode_encoding(tmp_path: Path, encoding: str, mark: bytes, end: str) -> None:
    (tmp_path / "list.txt").write_bytes(mark + end.join([*NAMES, ""]).encode(encoding))
    assert [item.source for item in items([f"@{tmp_path / 'list.txt'}"])] == NAMES


def test_names_that_are_no_unicode_stay_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\nb.jpg\n")
    assert [item.source for item in items([f"@{tmp_path / 'list.txt'}"])] == ["caf\udce9.jpg", "b.jpg"]
    assert encoding_of(b"a\0b\0c\0") == (None, 0), "names of one letter, separated by NUL"


@given(st.text(min_size=1), st.sampled_from(ENCODINGS[1:6]))
def test_text_with_a_mark_comes_back(text: str, how: tuple[str, bytes]) -> None:
    encoding, mark = how
    text = text.encode("utf-8", "replace").decode("utf-8").lstrip("\ufeff\0")
    assert decode_text(mark + text.encode(encoding)) == text


@given(st.binary())
def test_any_bytes_are_some_text(data: bytes) -> None:
    assert isinstance(decode_text(data), str)


def through_a_pipe(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    class Stdin:
        buffer = io.BytesIO(data)

    monkeypatch.setattr(sys, "stdin", Stdin())
    return ["picture" if item.data is not None else item.source for item in items(["-"])]


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "ICO", "PPM"])
def test_a_picture_of_any_format_is_one_item(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert through_a_pipe(encoded(kind), monkeypatch) == ["picture"]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(64)), b"\0\0\0\x1cftypmp42" + bytes(64),
        b"PK\x03\x04" + bytes(60), bytes(range(256)), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html><html></html>", b"%PDF-1.4\n%text\n", b"P3\n1 1\n255\n0 0 0\n",
    ],
)  # fmt: skip
def test_what_is_no_list_is_one_item_whatever_it_is(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through_a_pipe(data, monkeypatch) == ["picture"]


def test_lists_that_look_odd_are_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through_a_pipe(b"BM/a.jpg\nRIFF.png\n", monkeypatch) == ["BM/a.jpg", "RIFF.png"]
    assert through_a_pipe("a.jpg\r\nфото.jpg\r\n".encode("utf-16"), monkeypatch) == ["a.jpg", "фото.jpg"]
    assert through_a_pipe(b"caf\xe9.jpg\0b.jpg\0", monkeypatch) == ["caf\udce9.jpg", "b.jpg"]
    (tmp_path / "a\x1b.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert through_a_pipe(b"a\x1b.jpg\nb.jpg\n", monkeypatch) == ["a\x1b.jpg", "b.jpg"]
    assert through_a_pipe(b"", monkeypatch) == []
