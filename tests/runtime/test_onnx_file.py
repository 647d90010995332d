"""The card inside an ONNX file, read and replaced without the onnx package; the onnx package is the oracle."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_model import toy_card, write_toy_model

from lineament.errors import ModelFileError
from lineament.files import sha256_of
from lineament.runtime.card import CARD_KEY, Card
from lineament.runtime.onnx_file import read_card, read_metadata, with_card


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def test_metadata_as_the_onnx_package_reads_it(model: Path) -> None:
    expected = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    assert read_metadata(model) == expected
    assert read_card(model).file_sha256 == sha256_of(model)


def test_replacing_the_card_leaves_the_rest(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "other.onnx"
    with_card(model, toy_card(name="renamed ü"), out)
    before, after = onnx.load(model), onnx.load(out)
    assert read_card(out).name == "renamed ü"
    assert [entry.key for entry in after.metadata_props] == [CARD_KEY]
    del before.metadata_props[:], after.metadata_props[:]
    assert before == after


def test_replacing_in_place_is_idempotent(tmp_path: Path) -> None:
    path = write_toy_model(tmp_path / "toy.onnx")
    with_card(path, toy_card(name="one"), path)
    first = path.read_bytes()
    with_card(path, toy_card(name="one"), path)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


@given(cut=st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_refused(model: Path, cut: int) -> None:
    data = model.read_bytes()
    torn = model.with_name("torn.onnx")
    torn.write_bytes(data[: cut % len(data)])
    with pytest.raises(ModelFileError):
        read_card(torn)


def test_a_model_without_a_card_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = write_toy_model(tmp_path / "foreign.onnx", with_card=False)
    with pytest.raises(ModelFileError, match="lineament export"):
        read_card(path)


def test_a_card_of_another_contract_is_refused(tmp_path: Path) -> None:
    document = dict(toy_card().document)
    document["input"] = {**document["input"], "channels": "BGR"}
    with pytest.raises(ModelFileError, match="BGR"):
        read_card(write_toy_model(tmp_path / "bgr.onnx", card=Card(document)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, data in (
        ("text", b"hello"),
        ("empty", b""),
        ("zeros", bytes(100)),
        ("jpeg", b"\xff\xd8\xff\xe0" + bytes(50)),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelFileError):
            read_card(tmp_path / name)
