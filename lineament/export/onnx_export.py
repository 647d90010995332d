"""ONNX export: a trained network becomes one file that runs without torch, its card inside, parity asserted.

    safetensors -> network -> ONNX graph (uint8 crops in; logits, maps and features out) -> fp16 weights, all of them ->
        card -> parity

Weights are stored as fp16 and cast to fp32 when the file is loaded: half the size, fp32 arithmetic. The trained file
holds fp16 too, so nothing is lost between the two: the ONNX file can be trained further (models/checkpoint.py), and is
the only one that needs to be kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lineament.config import TrainConfig
from lineament.errors import LineamentError, MissingExtraError, ModelFileError
from lineament.export.card_update import write_card_beside
from lineament.files import replacing, sha256_of
from lineament.models.checkpoint import ONNX_PREFIX, TRAINED_KEY, load_network_file, read_header
from lineament.models.layers import Preprocess, TorchOutput
from lineament.runtime.card import CARD_KEY, CARD_VERSION, INPUT_CONTRACT, Card

PARITY_TOLERANCE = 1e-3
"""Largest allowed |logit difference| between torch and ONNX Runtime; both compute in fp32, so it is far below what a
probability shows."""

_SMALL = 256  # initialisers with fewer values stay fp32: biases and constants are not worth a cast
UNSTATED = "not stated by the training config (claim section); ask whoever trained it"


class Deployed(nn.Module):
    """A network with its preprocessing in front: uint8 crops (N,3,218,178) -> logits (N,A), then what `names` says:
    maps (N,M,h,w) and features (N,D), where it has any. Runtimes compute what is asked for, so neither costs those who
    do not ask."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        preprocess: Preprocess = self.network.preprocess  # type: ignore[assignment]
        x = preprocess(crops)
        output: TorchOutput = self.network(x)
        return tuple(value for value in (output.logits, output.region, output.features) if value is not None)

    def names(self) -> list[str]:
        """Return the names of the outputs, in their order."""
        with torch.no_grad():
            crops = torch.zeros((2, 3, 218, 178), dtype=torch.uint8)
            output: TorchOutput = self.network(self.network.preprocess(crops))  # type: ignore[operator]
        given = {"logits": output.logits, "maps": output.region, "features": output.features}
        return [name for name, value in given.items() if value is not None]


def export(run: str | os.PathLike[str], out: str | os.PathLike[str], *, name: str | None = None) -> Card:
    """Export a run folder (or its `model.safetensors`) to an ONNX file with its card inside and beside it
    (`X.card.json` beside `X.onnx`).

    Raises: ModelFileError if the run holds no trained network or the exported graph answers differently;
        MissingExtraError without onnx.
    """
    source = Path(run)
    source = source / "model.safetensors" if source.is_dir() else source
    network, config = load_network_file(source)
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    proto, maps = to_onnx(network)
    document = describe(network, config, maps, name or config.name) | {"trained_file_sha256": sha256_of(source)}
    header = read_header(source)
    document["decision"] |= {
        "thresholds": header.get("thresholds", {})
    }  # those that the training fitted as it went, if it did
    card = Card(document)
    keep_training(proto, network, header)
    halve(proto)
    _note(proto, CARD_KEY, card.to_json())
    with replacing(target) as partial:
        partial.write_bytes(proto.SerializeToString())
        difference = parity(network, partial)
        if not difference <= PARITY_TOLERANCE:
            raise ModelFileError(
                f"The exported graph differs from the network by {difference:.2g} logits (allowed {PARITY_TOLERANCE})."
            )
    return write_card_beside(target, card)


def to_onnx(network: nn.Module) -> tuple[Any, dict[str, Any] | None]:
    """Return the ONNX ModelProto of a network with its preprocessing, and what its maps are of (None without maps)."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnx and onnxscript", "train") from error
    deployed = Deployed(network).eval()
    crops = torch.zeros((2, 3, 218, 178), dtype=torch.uint8)
    names = deployed.names()
    batch = torch.export.Dim("N", min=1, max=1 << 16)
    program = torch.onnx.export(
        deployed,
        (crops,),
        dynamo=True,
        input_names=["crops"],
        output_names=names,
        dynamic_shapes=({0: batch},),
        optimize=False,
        verbose=False,
    )
    if program is None:
        raise LineamentError("torch.onnx.export gave no program. Check the versions of torch and onnxscript.")
    fold_constants(program.model)
    maps, proto = getattr(network, "maps_of", None), program.model_proto
    forget_source(proto)
    return proto, maps() if callable(maps) and "maps" in names else None


def fold_constants(graph: Any) -> None:
    """Compute in place what does not depend on the input, but leave every weight as it was trained, under its own name.

    The exporter's own optimiser folds batch norms into convolutions: neither can be had back, and what it computed does
    not fit into fp16. Runtimes do the same folding when they load the file, so nothing is slower.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    weights = set(graph.graph.initializers)
    common.InlinePass()(graph)
    optimizer.fold_constants(
        graph, should_fold=lambda node: False if any(v is not None and v.name in weights for v in node.inputs) else None
    )
    common.RemoveUnusedNodesPass()(graph)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    common.CommonSubexpressionEliminationPass()(graph)


def keep_training(proto: Any, network: nn.Module, header: Mapping[str, Any]) -> None:
    """Put into the graph, in place, what training needs beside what answering does: weights that no answer uses (a
    landmark head), the header.

    Raises: ModelFileError where a weight of the graph is not the network's.
    """
    from onnx import numpy_helper

    there = {tensor.name: tensor for tensor in proto.graph.initializer}
    counters, weights = dict[str, Any](), list[str]()
    for name, tensor in network.state_dict().items():
        if not tensor.ndim:
            counters[name] = tensor.item()
            continue
        weights.append(name)
        values, found = tensor.numpy(), there.get(ONNX_PREFIX + name)
        if found is None:
            proto.graph.initializer.append(numpy_helper.from_array(values, ONNX_PREFIX + name))
        elif not np.array_equal(numpy_helper.to_array(found), values):
            raise ModelFileError(f"The exporter changed the weight {name}. Check the versions of torch and onnxscript.")
    _note(proto, TRAINED_KEY, json.dumps({**header, "counters": counters, "weights": weights}))


def _note(proto: Any, key: str, value: str) -> None:
    entry = proto.metadata_props.add()
    entry.key, entry.value = key, value


def forget_source(proto: Any) -> None:
    """Drop what the exporter notes of the Python behind each node, in place: stack traces with this machine's paths, a
    fortieth of the file."""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""


def halve(proto: Any) -> None:
    """Store every large fp32 initialiser that fp16 holds exactly as fp16 followed by a Cast to fp32, in place; runtimes
    fold the cast.

    Convention: nothing is rounded here. Trained weights are in half precision already; what the exporter computed from
    them (norms folded into convolutions) is not, and stays as it is: rounding a region network's moved logits by 2e-3.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for number, tensor in enumerate(proto.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < _SMALL:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        stored = numpy_helper.from_array(halved, name + "_fp16")
        proto.graph.initializer[number].CopyFrom(stored)
        casts.append(helper.make_node("Cast", [stored.name], [name], f"cast_{number}", to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    del proto.graph.value_info[:]  # shapes are inferred again; stale entries would name tensors that changed type


def parity(network: nn.Module, onnx_file: Path) -> float:
    """Return the largest |logit difference| between torch and ONNX Runtime over noise, black, white and smooth crops,
    batch 1 and N."""
    import onnxruntime

    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, 178), (3, 218, 178))
    crops = np.stack(
        [rng.integers(0, 256, (3, 218, 178)), np.zeros((3, 218, 178)), np.full((3, 218, 178), 255), ramp]
    ).astype(np.uint8)
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = Deployed(network.eval())(torch.from_numpy(crops))[0].numpy()
    together = session.run(["logits"], {"crops": crops})[0]
    alone = np.concatenate([session.run(["logits"], {"crops": crops[i : i + 1]})[0] for i in range(len(crops))])
    return float(max(np.abs(together - expected).max(), np.abs(alone - expected).max()))


def describe(network: nn.Module, config: TrainConfig, maps: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Return the card's document: contract, decision layer (thresholds 0.5, uncalibrated), provenance, cost."""
    preprocess: Preprocess = network.preprocess  # type: ignore[assignment]
    claim = config.claim
    normalisation = {
        "where": "inside the graph", "resize": list(preprocess.size), "resize_method": "bilinear, half-pixel centres",
        "channels": preprocess.channels, "mean": preprocess.mean.flatten().tolist(),
        "std": preprocess.std.flatten().tolist(),
    }  # fmt: skip
    return {
        "card_version": CARD_VERSION,
        "name": name,
        "architecture": f"{config.model.name} on {config.model.backbone}",
        "attributes": list(network.attributes),  # type: ignore[arg-type]
        "input": dict(INPUT_CONTRACT) | {"normalisation": normalisation},
        "alignment": "five keypoints by similarity to lineament.geometry.TEMPLATE (CelebA's aligned layout)",
        "maps": None if maps is None else dict(maps),
        "decision": {"thresholds": {}, "calibration": {}, "abstain": {}, "min_eye_distance": {}},
        "precision": "fp16 weights, fp32 arithmetic",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": count_macs(network),
        "data": claim.data or UNSTATED,
        "licence": claim.licence or UNSTATED,
        "intended_use": claim.intended_use or UNSTATED,
        "training": {"config": config.to_dict()},
        "metrics": {},
    }


def count_macs(network: nn.Module) -> int:
    """Return the multiply-accumulates of one face, as torch's own counter sees them (matrix products and convolutions).

    Not counted: class-activation maps, which runtimes compute only where they are asked for, and preprocessing, the
    same for every network.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter, preprocess = FlopCounterMode(display=False), network.preprocess
    x = preprocess(torch.zeros((1, 3, 218, 178), dtype=torch.uint8))  # type: ignore[operator]
    with torch.no_grad(), counter, _without_class_maps(network.eval()):
        network(x)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _without_class_maps(network: nn.Module) -> Iterator[None]:
    having = [module for module in network.modules() if hasattr(module, "class_maps")]
    for module in having:
        module.class_maps = lambda *given: None  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in having:
            del module.class_maps  # the class's own shows again
