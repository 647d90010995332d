"""Checkpoints: safetensors with a JSON header, never pickle; written to the side and renamed, so a kill leaves the old
file whole.

An exported ONNX file is a checkpoint too: it holds every weight as it was trained, under its own name, and the header
in its metadata. So a trained network is one file, from which it answers, is taken further and teaches.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lineament.config import TrainConfig, from_dict
from lineament.errors import MissingExtraError, ModelFileError
from lineament.files import replacing
from lineament.model_files import SAME_AS, model_folders
from lineament.models.build import build_network
from lineament.models.legacy import FORMAT, as_it_was

TRAINED_KEY = "lineament_training"
"""Metadata of an ONNX file: the checkpoint's header as JSON, with `weights`, their names, and `counters`, tensors
without a dimension, which no graph holds."""
ONNX_PREFIX, HALF_SUFFIX = "network.", "_fp16"
"""How a weight's own name is found in an exported graph: after the one, and where it is stored in half precision,
before the other."""

_WITHOUT_ATTRIBUTES = ("backbone", "region_net")
"""First parts of the names of tensors that do not depend on which attributes a network answers."""


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header atomically."""
    with replacing(path) as partial:
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
            partial,
            metadata={"lineament": json.dumps(header)},
        )


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. Raises: ModelFileError if the file is missing, damaged or of another program."""
    return _open(Path(path), tensors=True)


def _open(file: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not file.is_file():
        raise ModelFileError(f"No checkpoint at {file}.")
    if file.suffix == ".onnx":
        return _open_onnx(file)
    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get("lineament", "null"))
            found = {name: opened.get_tensor(name) for name in opened.keys()} if tensors else {}  # noqa: SIM118  (not a mapping)
    except SafetensorError as error:
        raise ModelFileError(f"{file} is damaged ({error}). Take an earlier copy or train again.") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{file} was not written by Lineament: its header lacks the entry `lineament`.")
    return found, header


def _open_onnx(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError("onnx", "train") from error
    try:
        proto = onnx.load(file)
    except (DecodeError, ValueError) as error:
        raise ModelFileError(
            f"{file} is damaged or no ONNX file ({error}). Take an earlier copy or export it again."
        ) from error
    header = {entry.key: entry.value for entry in proto.metadata_props}.get(TRAINED_KEY)
    if header is None:
        raise ModelFileError(
            f"{file} is an exported graph without its training's weights. Training needs those: the run's folder or "
            "its model.safetensors, "
            "or a file exported from them by this version."
        )
    facts: dict[str, Any] = json.loads(header)
    tensors = {name: torch.tensor(value) for name, value in facts.pop("counters").items()}
    stored = {tensor.name.removesuffix(HALF_SUFFIX): tensor for tensor in proto.graph.initializer}
    for name in facts.pop("weights"):
        if ONNX_PREFIX + name not in stored:
            raise ModelFileError(
                f"{file} lacks the weight {name}: another program rewrote the graph. Take the file that was exported."
            )
        tensors[name] = torch.from_numpy(numpy_helper.to_array(stored[ONNX_PREFIX + name]).copy())
    return tensors, facts


def save_network(
    path: str | os.PathLike[str],
    network: nn.Module,
    config: TrainConfig,
    *,
    half: bool = True,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a trained network with its config and attribute names; floats as fp16 unless half is False.

    Args: facts: what else the header says, e.g. `thresholds` that were fitted while training.
    """
    tensors = {name: t.half() if half and t.is_floating_point() else t for name, t in network.state_dict().items()}
    header = {"format": FORMAT, "config": config.to_dict(), "attributes": list(network.attributes)}  # type: ignore[arg-type]
    save_tensors(path, tensors, header | dict(facts or {}))


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a trained file says of itself, without its tensors. Raises: ModelFileError if it is missing, damaged
    or of another program."""
    return _open(Path(path), tensors=False)[1]


def load_network_file(path: str | os.PathLike[str]) -> tuple[nn.Module, TrainConfig]:
    """Rebuild a network written by `save_network`, in eval mode, fp32. Raises: ModelFileError."""
    tensors, header = load_tensors(path)
    config = from_dict(header["config"])
    config = replace(config, model=as_it_was(config.model, int(header.get("format", 1))))
    # The checkpoint holds every tensor, so no pretrained file is needed: neither the trunk's nor one named by an option
    # `..._weights`.
    options = {key: None if key.endswith("weights") else value for key, value in config.model.options.items()}
    network = build_network(replace(config.model, options=options), header["attributes"], random_trunk=True)
    try:
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    except RuntimeError as error:
        raise ModelFileError(f"{path} does not fit the network its own config describes: {error}") from error
    return network.eval(), config


def find_weights(name: str) -> Path:
    """Return the trainable weights behind a shipped name, a run folder or a file.

    Raises: ModelFileError naming where it looked.
    """
    given, name, package = Path(name), SAME_AS.get(name, name), Path(__file__).parent.parent / "weights"
    places = [
        given,
        given / "model.safetensors",
        given / "model.onnx",
        package / f"{name}.safetensors",
        package / f"{name}.onnx",
    ]
    for folder in model_folders():
        places += [folder.path / name / "model.safetensors", folder.path / f"{name}.safetensors"]
        places += [folder.path / name / "model.onnx", folder.path / f"{name}.onnx"]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise ModelFileError(
        f"No trainable weights {name!r}: looked for {looked}. The trained systems come with `pip install "
        "lineament-systems`, or let LINEAMENT_MODELS "
        "name a folder that holds them."
    )


def begin(network: nn.Module, start: str) -> list[str]:
    """Copy trained weights into `network`, and into each of its parts that names some of its own (`starts`); return the
    names that none fitted.

    Weights of other attributes, or of the same in another order, give what knows no attribute: the trunk and a region
    network. A row of a head would fit by shape alone, and answer another question.

    Raises: ModelFileError, also where nothing fits.
    """
    names = tuple(network.attributes)  # type: ignore[arg-type]
    left = set(_copy_from(network, start, names))
    own = {id(tensor): name for name, tensor in network.state_dict(keep_vars=True).items()}
    for part, file in getattr(network, "starts", ()):
        missed = set(_copy_from(part, file, names))
        left -= {own[id(tensor)] for inner, tensor in part.state_dict(keep_vars=True).items() if inner not in missed}
    matrices = {name for name, tensor in network.state_dict().items() if tensor.ndim > 1}
    if matrices <= left:  # a bias per attribute may fit any network
        raise ModelFileError(
            f"No tensor of {start!r} fits this network: another model and another trunk. Start from one of its kind, "
            "or from none."
        )
    return [name for name in own.values() if name in left]


def _copy_from(network: nn.Module, start: str, attributes: tuple[str, ...]) -> list[str]:
    tensors, header = load_tensors(find_weights(start))
    if tuple(header.get("attributes", ())) != attributes:
        tensors = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in _WITHOUT_ATTRIBUTES}
    return copy_matching(network, tensors)


def copy_matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy every tensor whose name and shape match into `network`; return the names that did not (a new head, other
    attributes).

    A network that keeps a part of the trunk under another name says so in `moved`: its own prefix -> the plain trunk's.
    """
    left = []
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            found = tensors.get(name, tensors.get(_plain_name(name, getattr(network, "moved", {}))))
            if found is None or found.shape != tensor.shape:
                left.append(name)
            else:
                tensor.copy_(found.to(tensor.dtype))
    return left


def _plain_name(name: str, moved: Mapping[str, str]) -> str:
    for own, plain in moved.items():
        if name.startswith(own):
            return plain + name[len(own) :]
    return name
