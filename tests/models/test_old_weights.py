"""Weights trained by earlier versions answer as they did: golden logits, made when each was the newest.

`golden_systems.json`: logits of the pictures below by the trained file of `results/systems/<name>`, written by
`load_network_file` before masks were resized by area (torch 2.10, one thread).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.config import ModelConfig, TrainConfig  # noqa: E402
from lineament.models.build import build_network  # noqa: E402
from lineament.models.checkpoint import find_weights, load_network_file, load_tensors, save_network, save_tensors  # noqa: E402
from lineament.models.legacy import FORMAT, as_it_was  # noqa: E402
from lineament.schema import CELEBA_40  # noqa: E402

SYSTEMS = Path(__file__).resolve().parents[2] / "results" / "systems"
REPAIRED = ("mgmtn",)
"""Trained with masks resized by area: the honest table's."""
GOLDEN = json.loads((Path(__file__).parent / "golden_systems.json").read_text())
MASKED = ModelConfig("mgmtn", backbone="toy", input_size=(64, 52), options={"mask": "mean", "width": 16, "hidden": 32})


def pictures() -> torch.Tensor:
    """Return two crops (2,3,218,178) that any version of NumPy draws alike."""
    y, x = np.mgrid[:218, :178]
    waves = [
        [127 + 100 * np.sin(y * (0.03 + 0.01 * c) + n) * np.cos(x * (0.05 - 0.01 * n) + c) for c in range(3)]
        for n in range(2)
    ]
    return torch.from_numpy(np.array(waves).astype(np.uint8))


@pytest.mark.parametrize("name", GOLDEN)
def test_old_weights_answer_as_they_did(name: str) -> None:
    if not SYSTEMS.is_dir():
        pytest.skip("results/systems is not in this tree")
    network, config = load_network_file(find_weights(name))
    with torch.no_grad():
        logits = network(network.preprocess(pictures())).logits.numpy()
    np.testing.assert_allclose(logits, GOLDEN[name], atol=2e-3)
    options = [
        config.model,
        *(ModelConfig(one["name"], options=one["options"]) for one in config.model.options.get("branches", ())),
    ]
    for one in options:
        if one.name == "mgmtn":
            said = "area" if name in REPAIRED else "bilinear"
            assert one.options.get("mask_resize", "area") == said, "its card must say what it does"


def test_a_file_without_a_format_means_what_it_meant(tmp_path: Path) -> None:
    """The same tensors, read as of format 1 and as of today, are two networks: area and floor are not what was
    trained."""
    torch.manual_seed(0)
    config = TrainConfig("old", model=MASKED)
    save_network(tmp_path / "new.safetensors", build_network(MASKED, CELEBA_40), config)
    tensors, header = load_tensors(tmp_path / "new.safetensors")
    assert header["format"] == FORMAT
    save_tensors(
        tmp_path / "old.safetensors", tensors, {key: value for key, value in header.items() if key != "format"}
    )
    new, said_new = load_network_file(tmp_path / "new.safetensors")
    old, said_old = load_network_file(tmp_path / "old.safetensors")
    assert (new.mask_resize, new.floor > 0, new.open_object) == ("area", True, False)
    assert (old.mask_resize, old.floor, old.open_object) == ("bilinear", 0.0, True)
    assert said_new.model == MASKED
    assert said_old.model.options["mask_resize"] == "bilinear"
    x = new.preprocess(pictures())
    with torch.no_grad():
        assert (new(x).logits - old(x).logits).abs().max() > 1e-3
    save_network(
        tmp_path / "again.safetensors", old, said_old
    )  # written anew, it is of today's format and says what it does
    again, _ = load_network_file(tmp_path / "again.safetensors")
    with torch.no_grad():
        assert torch.equal(again(x).logits, old(x).logits)


def test_what_a_config_says_stands_and_branches_are_read_too() -> None:
    said = dataclasses.replace(MASKED, options={"mask_resize": "area", "floor": 0.5})
    assert as_it_was(said, 1).options == {"mask_resize": "area", "floor": 0.5, "open_object": True}
    assert as_it_was(said, FORMAT) is said
    assert as_it_was(said, 2) == said, "masks were as they are now"
    pyramid = ModelConfig("dmm-cnn", options={"judging": "residual"})
    assert as_it_was(pyramid, 2).options == {"judging": "residual", "beside": False}
    assert as_it_was(pyramid, 1).options["judging_stages"] == 1
    assert as_it_was(pyramid, 1).options["beside"] is False
    branched = ModelConfig(
        "branched",
        options={
            "shared": 2,
            "branches": [{"name": "baseline"}, {"name": "mgmtn", "start": "x", "options": {"mask": "mean"}}],
        },
    )
    first, second = as_it_was(branched, 1).options["branches"]
    assert first == {"name": "baseline", "options": {}}
    assert second["start"] == "x"
    assert second["options"]["mask_resize"] == "bilinear"
