"""Post-training quantisation to 8 bits, calibrated on real faces.

    ONNX file -> constants folded -> activation ranges on faces -> biases corrected -> QDQ graph (uint8 activations,
        int8 weights) -> card

The graph is plain ONNX (QuantizeLinear, DequantizeLinear), so every runtime takes it. The first convolution (with the
resizing before it) and the last layers stay in fp32: they cost little time and most accuracy.
Source: NNCF's post-training quantisation with fast bias correction (`[quantise]`); Nagel et al., "Data-free
quantization through weight equalization and bias correction", arXiv 1906.04721, for why depthwise layers need it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineament.errors import MissingExtraError
from lineament.offline import silence, without_intels_reporter
from lineament.runtime.card import CARD_KEY, Card
from lineament.runtime.onnx_file import read_card, with_card
from lineament.types import UInt8

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
KEPT_IN_FP32: Mapping[str, str] = {
    "outer": "first and last layers, matrix products",
    "depthwise": "first, last and depthwise layers, matrix products",
}
"""Recipes, the faster first: what stays in fp32."""


def quantise(model: Path, faces: UInt8, out: Path, *, keep: str = "outer") -> Card:
    """Write `out`, the network of the ONNX file `model` in 8 bits; return its card, which is the model's own with
    another `precision`.

    Args: faces (N,3,218,178): training images, never those the model is scored on; a few hundred do. keep: one of
        `KEPT_IN_FP32`.
    Raises: MissingExtraError.
    """
    nncf, onnx = _nncf()
    proto = _folded(model, onnx)
    names = [node.name for node in kept(proto, keep)]
    dataset = nncf.Dataset(range(len(faces)), lambda index: {"crops": faces[index : index + 1]})
    from nncf.quantization.advanced_parameters import QuantizationParameters

    whole = QuantizationParameters(per_channel=False)  # ONNX Runtime's convolutions take one scale per activation
    graph = nncf.quantize(
        proto, dataset, subset_size=len(faces), ignored_scope=nncf.IgnoredScope(names=names),
        advanced_parameters=nncf.AdvancedQuantizationParameters(activations_quantization_params=whole),
    )  # fmt: skip
    for entry in [entry for entry in graph.metadata_props if entry.key == CARD_KEY]:
        graph.metadata_props.remove(entry)
    out.parent.mkdir(parents=True, exist_ok=True)
    bare = out.with_name(out.name + ".bare")
    bare.write_bytes(graph.SerializeToString(deterministic=True))
    card = Card(
        {**read_card(model).document, "precision": f"int8 weights and activations; {KEPT_IN_FP32[keep]} in fp32"}
    )
    with_card(bare, card, out)
    bare.unlink()
    return read_card(out)


def kept(proto: Any, keep: str) -> list[Any]:
    """Return the nodes that a recipe leaves in fp32: weighted layers up to the first convolution, those with no other
    after them, and with "depthwise" those whose every channel is by itself. Matrix products stay too: resizing and
    averages over regions, small, and ONNX Runtime refuses some of their scales."""
    layers = [node for node in proto.graph.node if node.op_type in WEIGHTED]
    after = _followed(proto)
    first = next((place for place, node in enumerate(layers) if node.op_type == "Conv"), 0)
    outer = [
        node for place, node in enumerate(layers) if place <= first or not after[node.name] or node.op_type == "MatMul"
    ]
    apart = [node for node in layers if node not in outer and _group(node) > 1]
    return outer + (apart if keep == "depthwise" else [])


def _followed(proto: Any) -> dict[str, bool]:
    """Return, by node name, whether a weighted layer comes after it."""
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    after: dict[str, bool] = {}
    for node in reversed(proto.graph.node):
        following = [reader for name in node.output for reader in readers.get(name, [])]
        after[node.name] = any(reader.op_type in WEIGHTED or after[reader.name] for reader in following)
    return after


def _group(node: Any) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)


def _folded(model: Path, onnx: Any) -> Any:
    """Return the graph with its constants folded (fp16 weights become fp32), nothing fused, every node named."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        proto = onnx.load(options.optimized_model_filepath)
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"node_{number}"
    return proto


def _nncf() -> tuple[Any, Any]:
    silence("nncf")
    try:
        with without_intels_reporter():
            import nncf
        import onnx
    except ImportError as error:
        raise MissingExtraError("NNCF", "quantise") from error
    import logging

    nncf.set_log_level(logging.ERROR)
    return nncf, onnx
