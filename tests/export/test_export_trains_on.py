"""An exported file is a checkpoint: every weight as it was trained, so that one file answers, is trained further and
teaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from lineament import torch as door  # noqa: E402
from lineament.config import ModelConfig, TrainConfig  # noqa: E402
from lineament.errors import ModelFileError  # noqa: E402
from lineament.export.onnx_export import export  # noqa: E402
from lineament.models.build import build_network  # noqa: E402
from lineament.models.checkpoint import begin, find_weights, load_network_file, load_tensors, save_network  # noqa: E402
from lineament.runtime.onnx_file import read_card  # noqa: E402
from lineament.schema import CELEBA_40  # noqa: E402

OPTIONS = {
    "baseline": {},
    "mgmtn": {"region_scale": "toy", "width": 16, "hidden": 32},
    "far-amtn": {"reduction": 2},
    "dmm-cnn": {"inner": 8, "hidden": 16, "landmarks": 68},
}


@pytest.fixture(scope="module", params=OPTIONS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same network as the training left it and as exported, its norms moved by some batches."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = TrainConfig(
        "toy", model=ModelConfig(request.param, backbone="toy", input_size=(64, 52), options=OPTIONS[request.param])
    )
    network = build_network(config.model, CELEBA_40, random_trunk=True).train()
    with torch.no_grad():
        for _ in range(3):
            network(network.preprocess(torch.randint(0, 256, (4, 3, 218, 178), dtype=torch.uint8)))
    save_network(folder / "model.safetensors", network, config, facts={"thresholds": {"Smiling": 0.4}})
    export(folder, folder / "alone" / "model.onnx", name="toy")
    return folder / "model.safetensors", folder / "alone" / "model.onnx"


def test_every_weight_comes_back_as_it_was_trained(files: tuple[Path, Path]) -> None:
    trained, exported = (load_network_file(file) for file in files)
    one, two = trained[0].state_dict(), exported[0].state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert trained[1].to_dict() == exported[1].to_dict()
    headers = [load_tensors(file)[1] for file in files]
    assert headers[0] == headers[1]
    assert headers[1]["thresholds"] == {"Smiling": 0.4}


def test_it_answers_as_torch_does_and_is_named_by_its_folder(files: tuple[Path, Path]) -> None:
    trained, file = files
    network = load_network_file(trained)[0]
    crops = np.random.default_rng(0).integers(0, 256, (3, 3, 218, 178)).astype(np.uint8)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(network.preprocess(torch.from_numpy(crops))).logits.numpy()
    np.testing.assert_allclose(session.run(["logits"], {"crops": crops})[0], expected, atol=1e-4)
    assert find_weights(str(file.parent)) == file
    with torch.no_grad():
        np.testing.assert_allclose(door.load(file)(torch.from_numpy(crops)).logits.numpy(), expected, atol=1e-5)
    assert read_card(file).name == "toy"


def test_a_new_training_begins_with_all_of_it(files: tuple[Path, Path]) -> None:
    network, config = load_network_file(files[1])
    fresh = build_network(config.model, CELEBA_40, random_trunk=True)
    assert begin(fresh, str(files[1])) == []
    assert all(
        torch.equal(a, b)
        for a, b in zip(fresh.state_dict().values(), network.state_dict().values(), strict=True)
        if a.ndim
    )


def test_a_graph_without_its_training_says_what_is_needed(files: tuple[Path, Path], tmp_path: Path) -> None:
    proto = onnx.load(files[1])
    kept = [entry for entry in proto.metadata_props if entry.key != "lineament_training"]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    onnx.save(proto, tmp_path / "bare.onnx")
    other = onnx.load(files[1])
    next(
        tensor for tensor in other.graph.initializer if "head" in tensor.name or "weight" in tensor.name
    ).name = "folded"
    onnx.save(other, tmp_path / "rewritten.onnx")
    with pytest.raises(ModelFileError, match="lacks the weight"):
        load_network_file(tmp_path / "rewritten.onnx")
    with pytest.raises(ModelFileError, match=r"without its training's weights.*model\.safetensors"):
        load_network_file(tmp_path / "bare.onnx")
    (tmp_path / "torn.onnx").write_bytes(files[1].read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="damaged"):
        load_network_file(tmp_path / "torn.onnx")
