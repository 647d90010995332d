"""Storing weights in half precision: only what half precision holds exactly, so that a file answers as it did before,
to the bit."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from lineament.export.onnx_export import halve  # noqa: E402

SIDE = 80


def product(weights: np.ndarray) -> onnx.ModelProto:
    """Return a graph that multiplies by `weights` (SIDE, SIDE)."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, SIDE])], [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("exact", [True, False])
def test_a_stored_file_answers_as_it_did(exact: bool) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(SIDE, SIDE)).astype(np.float32)
    weights = weights.astype(np.float16).astype(np.float32) if exact else weights
    proto, x = product(weights), rng.normal(size=(1, SIDE)).astype(np.float32)

    def answer() -> np.ndarray:
        return np.asarray(
            onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
                None, {"x": x}
            )[0]
        )

    before, size = answer(), len(proto.SerializeToString())
    halve(proto)
    np.testing.assert_array_equal(answer(), before)
    assert (proto.graph.initializer[0].data_type == TensorProto.FLOAT16) is exact
    assert (len(proto.SerializeToString()) < 0.6 * size) is exact


def test_infinite_and_huge_weights_are_left_alone() -> None:
    weights = np.full((SIDE, SIDE), 1e6, np.float32)  # half precision would make infinity of it
    proto = product(weights)
    halve(proto)
    assert proto.graph.initializer[0].data_type == TensorProto.FLOAT
