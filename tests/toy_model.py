"""A tiny network with a valid card, obeying the input contract: what every test of the pipeline and the commands runs
on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineament.runtime.card import CARD_KEY, CARD_VERSION, INPUT_CONTRACT, Card
from lineament.schema import CELEBA_40


def toy_card(attributes: tuple[str, ...] = CELEBA_40, *, name: str = "toy", decision: dict | None = None) -> Card:
    return Card(
        {
            "card_version": CARD_VERSION,
            "name": name,
            "architecture": "mean colour of 12 cells, one linear layer, random weights",
            "attributes": list(attributes),
            "input": {**INPUT_CONTRACT, "normalisation": "in the graph"},
            "decision": decision or {"thresholds": {}, "calibration": {}, "abstain": {}, "min_eye_distance": {}},
            "data": "none",
            "licence": "Apache-2.0",
            "intended_use": "tests",
        }
    )


def write_toy_model(
    path: Path,
    attributes: tuple[str, ...] = CELEBA_40,
    *,
    seed: int = 0,
    card: Card | None = None,
    with_card: bool = True,
) -> Path:
    """Write crops uint8 [N,3,218,178] -> logits float32 [N,A]: cast, scale, average pool, one linear layer of seeded
    weights."""
    rng = np.random.default_rng(seed)
    cells = 3 * 4 * 3
    weight = rng.normal(0, 1.5, (cells, len(attributes))).astype(np.float32)
    bias = rng.normal(0, 0.5, len(attributes)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["crops"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "half"], ["centred"]),
        helper.make_node("AveragePool", ["centred"], ["cells"], kernel_shape=[54, 59], strides=[54, 59]),
        helper.make_node("Flatten", ["cells"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"]),
    ]
    constants = {"scale": np.float32(1 / 255), "half": np.float32(0.5), "weight": weight, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 3, 218, 178])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
            for name, size in (("logits", len(attributes)), ("features", cells))
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if with_card:
        helper.set_model_props(model, {CARD_KEY: (card or toy_card(attributes)).to_json()})
    onnx.save(model, str(path))
    return path
