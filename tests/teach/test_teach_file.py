"""The file of an own attribute: small, no code in it, whole or refused; a network with it answers as before and one
more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_model import toy_card, write_toy_model

from lineament.errors import ModelFileError, UsageError
from lineament.runtime.registry import load_network
from lineament.schema import CELEBA_40, in_profile, judges
from lineament.teach.network import with_own
from lineament.teach.own_attribute import OwnAttribute, base_of, check_spelling, load_own
from lineament.types import Crops


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory):
    return load_network(write_toy_model(tmp_path_factory.mktemp("own") / "toy.onnx"))


def own(network, name: str = "wears_mask", **changes) -> OwnAttribute:
    weights = np.random.default_rng(0).normal(0, 1, 36).astype(np.float32)
    fields = {
        "calibration": (1.3, -0.2),
        "rate": 0.2,
        "band": (0.4, 0.6),
        "card": {"agreement": {"onnx fp32": 1.0}},
        **changes,
    }
    return OwnAttribute(name, base_of(network.card), weights, 0.25, **fields)


def crops(count: int) -> Crops:
    return Crops(
        np.random.default_rng(1).integers(0, 256, (count, 3, 218, 178), np.uint8), np.zeros((count, 2, 3), np.float32)
    )


def test_what_is_written_is_what_is_read(network, tmp_path: Path) -> None:
    one = own(network, "眼鏡")
    one.save(tmp_path / "own.json")
    read = load_own(tmp_path / "own.json")
    assert read.id == one.id
    assert read.to_dict() == one.to_dict()
    assert (tmp_path / "own.json").stat().st_size < 50_000
    assert own(network, "眼鏡", rate=0.3).id != one.id


def test_the_models_own_answers_stay_to_the_bit_and_one_comes_beside(network, tmp_path: Path) -> None:
    one = own(network)
    one.save(tmp_path / "own.json")
    both, batch = with_own(network, [tmp_path / "own.json"]), crops(4)
    plain, more = network(batch), both(batch)
    assert more.attributes == (*CELEBA_40, "wears_mask")
    assert more.logits[:, :40].tobytes() == plain.logits.tobytes()
    features = network.with_features(batch).features
    np.testing.assert_allclose(more.logits[:, 40], features @ one.weights + 0.25, atol=1e-4)
    alone = np.concatenate(
        [both(Crops(batch.pixels[i : i + 1], batch.crop_from_image[i : i + 1])).logits for i in range(4)]
    )
    assert alone.tobytes() == more.logits.tobytes()
    assert more.features is None
    assert both(crops(0)).logits.shape == (0, 41)
    shift = np.log(0.2 / 0.8)
    probs = both.card.decision.probs(more.logits, more.attributes)[:, 40]
    np.testing.assert_allclose(
        probs, 1 / (1 + np.exp(-(1.3 * more.logits[:, 40].astype(float) - 0.2 + shift))), atol=1e-9
    )
    assert both.card.decision.abstain["wears_mask"] == (0.4, 0.6)
    assert both.card.decision.rates["wears_mask"] == 0.2
    assert both.id.startswith(network.id + "+wears_mask@")


def test_another_model_is_refused_with_how_to_fit_again(network, tmp_path: Path) -> None:
    own(network).save(tmp_path / "own.json")
    other = load_network(write_toy_model(tmp_path / "other.onnx", seed=1, card=toy_card(name="other")))
    with pytest.raises(ModelFileError, match=r"was made for toy .* this model is other .* lineament teach wears_mask"):
        with_own(other, [tmp_path / "own.json"])


def test_a_runtime_that_answers_otherwise_is_refused(network, tmp_path: Path) -> None:
    card = {"agreement": {"onnx fp32": 0.97, "openvino fp32": 1.0}}
    own(network, card=card).save(tmp_path / "own.json")
    with pytest.raises(ModelFileError, match=r"under onnx fp32 only 97.0%.*It needs one of: openvino fp32"):
        with_own(network, [tmp_path / "own.json"])


def test_a_name_that_is_there_is_refused(network, tmp_path: Path) -> None:
    own(network, "smiling").save(tmp_path / "a.json")
    own(network, "Hat_2").save(tmp_path / "b.json")
    with pytest.raises(UsageError, match="smiling is there already"):
        with_own(network, [tmp_path / "a.json"])
    with pytest.raises(UsageError, match="Hat_2 is there already"):
        with_own(network, [tmp_path / "b.json", tmp_path / "b.json"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("weights"), lambda d: d.update(kind="other"), lambda d: d.update(version=2),
        lambda d: d.update(weights="!!"), lambda d: d.update(bias=float("nan")), lambda d: d.update(rate=1.0),
        lambda d: d.update(name="a b"), lambda d: d.update(cannot_tell=[0.9, 0.1]), lambda d: d.update(card=None),
        lambda d: d.update(base=[]),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence(network, tmp_path: Path, damage) -> None:
    document = own(network).to_dict()
    damage(document)
    (tmp_path / "own.json").write_text(json.dumps(document))
    with pytest.raises((ModelFileError, UsageError)):
        load_own(tmp_path / "own.json")


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"[]", b"{" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "own.json").write_bytes(data)
    with pytest.raises(ModelFileError, match="is no own attribute"):
        load_own(tmp_path / "own.json")


@pytest.mark.parametrize("name", ["a b", "", "and", "not", "x" * 65, "a,b", "a/b", "\u202eabc", "42", "a\n"])
def test_names_that_cannot_be_searched_for_are_refused(name: str) -> None:
    if name == "a\n":
        assert check_spelling(name) == "a"
        return
    with pytest.raises(UsageError, match="cannot be an attribute's name"):
        check_spelling(name)


def test_names_of_other_scripts_are_read_as_search_reads_them() -> None:
    from lineament.search.query import parse

    for name in ("眼鏡", "маска", "عينك", "Schutzbrille_an"):
        found = parse(f"{name} and smiling", attributes=(*CELEBA_40, check_spelling(name)))
        assert found.where.items[0].attribute == check_spelling(name)


def test_judging_names_stay_out_of_the_default_profile() -> None:
    names = (*CELEBA_40, "wears_mask", "looks_criminal", "religion", "Eye-Color")
    assert judges("looks_criminal")
    assert judges("Religion")
    assert not judges("No_Beard")
    shown = in_profile("default", names)
    assert "wears_mask" in shown
    assert "Eye-Color" in shown
    assert "looks_criminal" not in shown
    assert "religion" not in shown
    assert set(in_profile("all", names)) == set(names)
