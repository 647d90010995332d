"""Every config file is a claim: it states source, command, cost and expectation, and it runs, here at toy size on drawn
faces."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from toy_faces import toy_faces  # noqa: E402

from lineament.config import ModelConfig, TrainConfig, list_configs, load_config, load_settings  # noqa: E402
from lineament.data.regions import GROUPS  # noqa: E402
from lineament.data.synthetic import make  # noqa: E402
from lineament.data.synthetic_files import write_arrays  # noqa: E402
from lineament.models.build import build_network  # noqa: E402
from lineament.models.checkpoint import load_network_file, save_network, save_tensors  # noqa: E402
from lineament.models.region_unet import region_unet  # noqa: E402
from lineament.schema import CELEBA_40  # noqa: E402
from lineament.training.prepare.region_network import RegionConfig, load_region_network  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402

NAMES = {path: name for name, path in list_configs().items()}
CONFIGS = sorted(NAMES)
TRAINING = [path for path in CONFIGS if "regions" not in path.stem]
FACES = 16
SMALL_OPTIONS = {
    "region_scale": "toy",
    "width": 16,
    "hidden": 32,
    "inner": 16,
    "widths": [32, 16],
    "fusion_size": 16,
    "size": 16,
}


@dataclasses.dataclass(frozen=True)
class Files:
    """What configs name, at toy size: cached masks and landmarks, a baseline to start from, a region network."""

    regions: Path
    landmarks: Path
    start: Path
    region_weights: Path


def shrunk(config: TrainConfig, files: Files) -> TrainConfig:
    """The same system, loss, weighting and optimiser with a toy trunk, 16 drawn faces and one epoch."""
    options = {key: SMALL_OPTIONS.get(key, value) for key, value in config.model.options.items()}
    if options.get("landmarks"):
        options["landmarks"] = 5  # those of the drawn faces
    if "region_weights" in options:
        options["region_weights"] = str(files.region_weights)
    crop = None if config.augment.crop is None else (58, 48)
    data = dataclasses.replace(
        config.data, layout="synthetic", align="stored", split="all", exclude=None, people="all", limit=FACES,
        holdout=4, cache=str(files.start.parent / "cache"), regions=config.data.regions and str(files.regions),
        landmarks=config.data.landmarks and str(files.landmarks),
    )  # fmt: skip
    start = config.model.start and str(files.start)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model,
            backbone="toy",
            weights=None,
            start=start,
            frozen_stages=0,
            input_size=(64, 52),
            options=options,
        ),
        data=data,
        augment=dataclasses.replace(config.augment, crop=crop),
        loss=dataclasses.replace(config.loss, distill=0.0, teacher=None),
        optimiser=dataclasses.replace(
            config.optimiser, epochs=1, batch=4, device="cpu", precision="fp32", threads=1, warmup_steps=1
        ),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    start, weights = folder / "start.safetensors", folder / "region.safetensors"
    config = TrainConfig("start", model=ModelConfig(backbone="toy", input_size=(64, 52)))
    save_network(start, build_network(config.model, CELEBA_40), config)
    save_tensors(weights, region_unet(GROUPS, "toy").state_dict(), {})
    return Files(*write_arrays(folder, make(FACES)), start, weights)


def test_there_are_configs() -> None:
    names = {path.stem for path in CONFIGS}
    assert {
        "mgmtn",
        "far_amtn",
        "dmm_cnn",
        "regions",
        "mgmtn_celeba",
        "far_amtn_celeba",
        "dmm_cnn_celeba",
        "mgmtn_lfwa",
    } <= names
    assert {"mgmtn-celeba", "dmm-cnn-lfwa", "regions-celeba", "parts/mgmtn-mask-none", "mgmtn", "v1"} <= set(
        NAMES.values()
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_config_states_its_claim(path: Path) -> None:
    config = load_settings(RegionConfig, path) if path not in TRAINING else load_config(path)
    for part in ("source", "command", "cost", "expected"):
        assert getattr(config.claim, part), f"{path} says nothing about its {part}."
    assert NAMES[path] in re.split(r"[\s;]+", config.claim.command)
    assert config.name == NAMES[path].replace("/", "-")
    if path.parent.name == "paper":
        assert "not run here" in config.claim.expected


@pytest.mark.parametrize("folder", ["table", "parts"])
def test_the_files_of_a_comparison_differ_only_in_what_a_system_is(folder: str) -> None:
    """Equal trunk, images, steps, augmentation and rates; no start, so that every head is fresh; the reserved people
    left out."""
    configs = [load_config(path) for path in TRAINING if path.parent.name == folder]
    assert {config.model.name for config in configs} >= {"baseline", "mgmtn", "far-amtn", "dmm-cnn"}
    shared = {
        repr(
            (
                dataclasses.replace(config.model, name="", options={}),
                dataclasses.replace(config.data, regions=None, landmarks=None),
                config.augment,
                config.optimiser,
                config.loss.name,
            )
        )
        for config in configs
    }
    assert len(shared) == 1
    for config in configs:
        assert config.model.start is None
        assert config.data.people == "training"
        assert config.data.holdout >= 2000
        assert config.augment.turn > 0


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_config_runs_at_toy_size(path: Path, files: Files, tmp_path: Path) -> None:
    config = shrunk(load_config(path), files)
    config = dataclasses.replace(
        config, optimiser=dataclasses.replace(config.optimiser, read_every=1)
    )  # every loss is looked at here
    trainer = Trainer(config, tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters() if tensor.requires_grad}
    losses: list[float] = []
    network, _ = load_network_file(trainer.run(lambda at: losses.append(at.loss)))
    assert len(losses) == trainer.steps_per_epoch
    assert all(loss == loss for loss in losses), "a loss is not a number"
    moved = [
        name
        for name, tensor in trainer.network.named_parameters()
        if name in before and not torch.equal(tensor, before[name])
    ]
    assert len(moved) > 0.9 * len(before), f"only {len(moved)} of {len(before)} trainable tensors moved"
    assert len(network.attributes) == 40


@pytest.mark.parametrize("path", [path for path in CONFIGS if path not in TRAINING], ids=lambda path: path.parent.name)
def test_region_config_runs_at_toy_size(path: Path, tmp_path: Path) -> None:
    from lineament.training.prepare.region_network import WEIGHTS_NAME, RegionFaces, train_regions

    faces = toy_faces(4)
    config = dataclasses.replace(load_settings(RegionConfig, path), scale="toy", steps=3, batch=3, threads=1)
    scores = train_regions(config, RegionFaces(faces, faces, faces[:1], faces[:1]), tmp_path)
    assert set(scores["parsing"]) <= set(scores["landmarks"]) | {"Nose", "Hair", "Ear", "Object"}
    assert load_region_network(tmp_path / WEIGHTS_NAME).groups
