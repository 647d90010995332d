"""Post-training quantisation on a tiny network with the layers that matter: a stem, a depthwise and a pointwise
convolution, a linear end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toy_model import toy_card

from lineament.export.quantise import kept, quantise
from lineament.runtime.card import CARD_KEY
from lineament.runtime.onnx_file import read_card
from lineament.runtime.openvino import OpenVinoNetwork
from lineament.runtime.registry import load_network
from lineament.types import Crops

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
ATTRIBUTES = ("Smiling", "Young", "Male")


def write_conv_net(path: Path) -> Path:
    """Write crops -> stem conv 3x3/8 -> depthwise 3x3 -> pointwise 16 -> pointwise 16 -> mean -> linear, seeded; smooth
    enough to quantise."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / 255), "axes": np.array([2, 3], np.int64),
        "stem": rng.normal(0, 0.3, (8, 3, 3, 3)), "deep": rng.normal(0, 0.5, (8, 1, 3, 3)),
        "point": rng.normal(0, 0.4, (16, 8, 1, 1)), "more": rng.normal(0, 0.3, (16, 16, 1, 1)),
        "line": rng.normal(0, 1.5, (16, len(ATTRIBUTES))), "bias": rng.normal(0, 0.5, len(ATTRIBUTES)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["crops"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], "mul"),
        helper.make_node("Conv", ["scaled", "stem"], ["c1"], "stem_conv", strides=[8, 8]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "deep"], ["c2"], "deep_conv", group=8),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "point"], ["c3"], "point_conv"),
        helper.make_node("Relu", ["c3"], ["r3"], "relu3"),
        helper.make_node("Conv", ["r3", "more"], ["c4"], "more_conv"),
        helper.make_node("Relu", ["c4"], ["r4"], "relu4"),
        helper.make_node("ReduceMean", ["r4", "axes"], ["mean"], "mean", keepdims=0),
        helper.make_node("Gemm", ["mean", "line", "bias"], ["logits"], "linear"),
    ]
    values = [
        numpy_helper.from_array(v if v.dtype == np.int64 else np.asarray(v, np.float32), k)
        for k, v in constants.items()
    ]
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 3, 218, 178])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(ATTRIBUTES)])
    graph = helper.make_graph(nodes, "conv", [crops], [logits], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {CARD_KEY: toy_card(ATTRIBUTES).to_json()})
    onnx.save(model, str(path))
    return path


def faces(count: int, seed: int) -> np.ndarray:
    """Return smooth pictures (N,3,218,178), each with a colour and a gradient of its own."""
    rng = np.random.default_rng(seed)
    colour, slope = rng.uniform(40, 200, (count, 3, 1, 1)), rng.uniform(-50, 50, (count, 3, 1, 1))
    ramp = np.linspace(-1, 1, 178)[None, None, None, :] * np.linspace(1, 0.2, 218)[None, None, :, None]
    return (colour + slope * ramp).clip(0, 255).astype(np.uint8)


def test_what_stays_in_fp32(tmp_path: Path) -> None:
    proto = onnx.load(str(write_conv_net(tmp_path / "net.onnx")))
    assert [node.name for node in kept(proto, "outer")] == ["stem_conv", "linear"]
    assert [node.name for node in kept(proto, "depthwise")] == ["stem_conv", "linear", "deep_conv"]


@pytest.mark.parametrize("keep", ["outer", "depthwise"])
def test_eight_bits_answer_almost_alike_in_every_runtime(
    keep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf", reason="quantisation needs the extra [quantise]")
    monkeypatch.setattr("lineament.runtime.threads.int8_is_exact", lambda: True)
    model, out = write_conv_net(tmp_path / "net.onnx"), tmp_path / "net.int8.onnx"
    card = quantise(model, faces(60, 1), out, keep=keep)
    whole = read_card(model)
    assert card.document | {"precision": None} == dict(whole.document) | {"precision": None}
    assert card.document["precision"].startswith("int8")
    quantised = {str(node.name) for node in onnx.load(str(out)).graph.node if node.op_type == "QuantizeLinear"}
    assert quantised
    stored = [
        entry
        for entry in onnx.load(str(out)).graph.initializer
        if entry.data_type in (TensorProto.INT8, TensorProto.UINT8) and len(entry.dims) == 4
    ]
    assert len(stored) == (3 if keep == "outer" else 2)  # the convolutions that are not kept
    others = Crops(faces(30, 2), np.zeros((30, 2, 3), np.float32))
    expected = load_network(model, threads=1)(others).logits
    for network in (load_network(out, threads=1), OpenVinoNetwork(out, precision="int8", threads=1)):
        found = network(others).logits
        assert network.precision == "int8"
        assert np.abs(found - expected).mean() < 0.1 * np.ptp(expected)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
        assert np.abs(found - expected).max() > 0  # it is another network
    again = tmp_path / "again.onnx"
    quantise(model, faces(60, 1), again, keep=keep)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(("openvino", "kept_"), [(0.9185, True), (0.9189, True), (0.9178, False)])
def test_int8_is_kept_only_where_it_costs_little_everywhere(
    openvino: float, kept_: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import precisions

    model, out = write_conv_net(tmp_path / "net.onnx"), tmp_path / "net.int8.onnx"

    def chosen(*_: Any) -> tuple[str, dict[str, float]]:
        out.write_bytes(model.read_bytes())
        return "outer", {"outer": 0.001}

    monkeypatch.setattr(precisions, "int8_is_exact", lambda: True)
    monkeypatch.setattr(precisions, "choose", chosen)
    monkeypatch.setattr(precisions, "_faces", lambda data: None)
    monkeypatch.setattr(precisions, "_scored", lambda *_: None)
    monkeypatch.setattr(precisions, "_accuracy", lambda _: 0.919)
    monkeypatch.setattr(
        precisions,
        "_try",
        lambda model, runtime, precision, *_: openvino if (runtime, precision) == ("openvino", "int8") else 0.919,
    )
    measured = precisions.measure(model, None, tmp_path, 1, out)
    assert measured["int8"]["kept"] is kept_
    assert measured["int8"]["cost"]["openvino"] == pytest.approx(0.919 - openvino)
    precisions.embed(model, out, measured)
    assert out.is_file() is kept_
    assert read_card(model).document["precisions"]["int8"]["kept"] is kept_
    if kept_:
        assert read_card(out).document["metrics"]["official_val"]["mean_accuracy"] == 0.919
    assert ("It is shipped" in precisions.section(measured, 5)) is kept_
