"""`prepare`: what a config names and is not there is made once, resumed when cut off, and refused in one sentence where
it cannot be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from train_kit import toy, toy_model  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from lineament.cli import app  # noqa: E402
from lineament.config import ModelConfig, TrainConfig, load_config  # noqa: E402
from lineament.data.block_file import npy_header, size_text, write_blocks  # noqa: E402
from lineament.data.celeba_landmarks import NAME, release_keypoints  # noqa: E402
from lineament.data.regions import GROUPS  # noqa: E402
from lineament.data.synthetic import make  # noqa: E402
from lineament.data.synthetic_files import write_official, write_table  # noqa: E402
from lineament.errors import ConfigError, DataError, ModelFileError  # noqa: E402
from lineament.models.backbone import create_backbone, trunk_file  # noqa: E402
from lineament.models.checkpoint import save_tensors  # noqa: E402
from lineament.models.region_unet import region_unet  # noqa: E402
from lineament.training.dataset import load_rows  # noqa: E402
from lineament.training.prepare import steps  # noqa: E402
from lineament.training.prepare.steps import Preparation, Teller, check_possible  # noqa: E402
from lineament.training.trainer import Preparing, Trainer  # noqa: E402


def test_an_array_cut_off_goes_on_where_it_was_and_is_the_same(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).random((23, 3, 2)).astype(np.float32)
    asked: list[int] = []

    def rows(first: int, end: int):
        asked.append(first)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return truth[first:end]

    given = {"header": npy_header(truth.shape, np.float32), "at_once": 5}
    with pytest.raises(KeyboardInterrupt):
        write_blocks(tmp_path / "a.npy", truth.shape, np.float32, rows, **given)
    assert not (tmp_path / "a.npy").exists()
    write_blocks(tmp_path / "a.npy", truth.shape, np.float32, rows, **given)
    assert asked == [0, 5, 10, 10, 15, 20], "ten rows were kept"
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), truth)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy"]


def test_a_part_of_another_recipe_is_begun_anew(tmp_path: Path) -> None:
    def torn(first: int, end: int):
        if first:
            raise KeyboardInterrupt
        return np.ones((end - first, 1))

    for recipe in ("one", "two"):
        with pytest.raises(KeyboardInterrupt):
            write_blocks(tmp_path / "a", (4, 1), np.float64, torn, at_once=2, recipe=recipe)
    write_blocks(
        tmp_path / "a", (4, 1), np.float64, lambda first, end: np.zeros((end - first, 1)), at_once=2, recipe="three"
    )
    assert not np.fromfile(tmp_path / "a").any()


def test_a_full_disk_is_a_sentence_and_keeps_what_was_done(tmp_path: Path) -> None:
    def full(first: int, end: int):
        if first:
            raise OSError(28, "No space left on device")
        return np.ones((end - first, 1), np.uint8)

    with pytest.raises(DataError, match=r"is full: a needs 4 bytes.*what was done stays"):
        write_blocks(tmp_path / "a", (4, 1), np.uint8, full, at_once=2)
    assert json.loads((tmp_path / "a.part.json").read_text())["rows"] == 2
    assert size_text(18_951_000_000) == "19.0 GB"


def _landmarked(tmp_path: Path, release: Path) -> TrainConfig:
    config = toy(tmp_path, model=toy_model("dmm-cnn", landmarks=5, inner=16, hidden=16))
    data = dataclasses.replace(
        config.data,
        layout="official",
        path=str(release),
        split="all",
        limit=None,
        landmarks=str(tmp_path / "points-{fingerprint}.npy"),
    )
    return dataclasses.replace(config, data=data)


def _list_points(release: Path, faces) -> np.ndarray:
    points = np.round(faces.keypoints).astype(int)
    lines = [
        f"{Path(file).with_suffix('.jpg').name} " + " ".join(str(v) for v in row.ravel())
        for file, row in zip(faces.files, points, strict=True)
    ]
    (release / "Anno").mkdir()
    (release / "Anno" / NAME).write_text("\n".join([str(len(faces)), "lefteye_x lefteye_y ...", *lines]) + "\n")
    return points


def test_landmarks_come_from_the_release_where_it_lists_them(tmp_path: Path) -> None:
    faces = make(48)
    release = write_official(tmp_path / "release", faces)
    points = _list_points(release, faces)
    config, said = _landmarked(tmp_path, release), list[str]()
    trainer = Trainer(config, tmp_path / "run", preparing=Preparing(teller=Teller(said.append)))
    found = trainer.material.landmarks
    order = [Path(file).with_suffix(".jpg").name for file in faces.files]
    rows = [order.index(file) for file in trainer.material.table.files]
    np.testing.assert_allclose(found * [178, 218], points[rows] + 0.5, atol=1e-4)
    assert any("48 images: decoded crops (5.6 MB), landmarks" in text and "are free" in text for text in said)
    assert any("those that the release lists" in text for text in said)
    assert Preparation(config).run() == [], "everything is there now"
    assert release_keypoints(release, ["none.jpg"]) is not None
    assert np.isnan(release_keypoints(release, ["none.jpg"])).all()
    assert release_keypoints(tmp_path, ["none.jpg"]) is None


def test_masks_and_their_network_are_made_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "models" / "regions" / "region_unet.safetensors"
    weights.parent.mkdir(parents=True)
    save_tensors(weights, region_unet(GROUPS, "toy").state_dict(), {"groups": list(GROUPS), "scale": "toy"})
    monkeypatch.setenv("LINEAMENT_MODELS", str(tmp_path / "models"))
    options = {
        "region_scale": "toy",
        "width": 16,
        "hidden": 16,
        "region_weights": str(tmp_path / "net" / "region_unet.safetensors"),
    }
    config = toy(tmp_path, model=toy_model("mgmtn", **options))
    for kind in ("learned", "mean-of-learned", "keypoints"):
        changed = dataclasses.replace(config,
        data=dataclasses.replace(config.data, regions=str(tmp_path / f"{kind}-{{fingerprint}}.npy")),
                                      prepare=dataclasses.replace(config.prepare, masks=kind))  # fmt: skip
        Trainer(changed, tmp_path / kind)
        masks = np.load(next(tmp_path.glob(f"{kind}-*.npy")))
        assert masks.shape == (48, 8, 55, 45)
        assert (np.ptp(masks.astype(int), axis=0).max() == 0) == (kind == "mean-of-learned")
    assert (tmp_path / "net" / "region_unet.safetensors").read_bytes() == weights.read_bytes()


def test_a_network_trained_anew_takes_the_masks_of_the_old_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tmp_path / "net" / "region_unet.safetensors"
    options = {"region_scale": "toy", "width": 16, "hidden": 16, "region_weights": str(network)}
    config = toy(tmp_path, model=toy_model("mgmtn", **options))
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, regions=str(tmp_path / "masks-{fingerprint}.npy"))
    )

    def trained(settings: object, path: Path, **others: object) -> Path:
        network.parent.mkdir(exist_ok=True)
        save_tensors(network, region_unet(GROUPS, "toy").state_dict(), {"groups": list(GROUPS), "scale": "toy"})
        return path

    monkeypatch.setattr("lineament.training.prepare.steps.find_region_weights", lambda name: None)
    monkeypatch.setattr("lineament.training.prepare.steps.make_region_network", trained)
    assert len(Preparation(config).run()) == 3, "crops, network, masks"
    before = next(tmp_path.glob("masks-*.npy")).read_bytes()
    network.unlink()
    assert len(Preparation(config).run()) == 2, "network, masks"
    assert next(tmp_path.glob("masks-*.npy")).read_bytes() != before


def test_damaged_pictures_change_no_names_of_files(tmp_path: Path) -> None:
    where = write_table(tmp_path / "faces" / "labels.csv", make(24))
    next(iter(sorted((tmp_path / "faces" / "images").iterdir()))).write_bytes(b"no picture")
    config = toy(tmp_path, model=toy_model("dmm-cnn", landmarks=5, inner=16, hidden=16))
    data = dataclasses.replace(
        config.data, layout="table", path=str(where), limit=None, landmarks=str(tmp_path / "p-{fingerprint}.npy")
    )
    trainer = Trainer(dataclasses.replace(config, data=data), tmp_path / "run")
    assert len(trainer.material.damaged) == 1
    assert len(list(tmp_path.glob("p-*.npy"))) == 1


def test_prepare_on_the_command_line_goes_on_and_says_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _landmarked(tmp_path, write_official(tmp_path / "release", make(12)))
    (tmp_path / "mine.yaml").write_text(json.dumps(config.to_dict()))
    first = CliRunner().invoke(app, ["prepare", "--config", str(tmp_path / "mine.yaml"), "--set", "data.limit=6"])
    assert first.exit_code == 0, first.output
    assert len(first.stdout.split()) == 2
    assert "our detector finds them" in first.stderr
    again = CliRunner().invoke(app, ["prepare", "--config", str(tmp_path / "mine.yaml"), "--set", "data.limit=6"])
    assert again.stdout == ""
    assert "Everything is there." in again.stderr


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "free_bytes", lambda path: 1000)
    with pytest.raises(DataError, match=r"5\.6 MB are needed and 1\.0 kB are free.*--set data\.cache=null"):
        Preparation(toy(tmp_path)).run()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("name", "changes", "error", "words"),
    [
        ("mgmtn-celeba", {}, ConfigError, "torch sees no CUDA card"),
        (
            "mgmtn-lfwa",
            {"device": "cpu"},
            ModelFileError,
            r"runs/mgmtn-celeba, which is not there.*lineament train --config mgmtn-celeba",
        ),
        ("dmm-cnn-celeba", {"device": "cpu", "landmarks": 98}, ConfigError, "only 5 or 468 can be found"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    name: str,
    changes: dict[str, object],
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if torch.cuda.is_available() and not changes:
        pytest.skip("this machine has a card")
    monkeypatch.chdir(tmp_path)
    config = load_config(name)
    config = dataclasses.replace(
        config, optimiser=dataclasses.replace(config.optimiser, device=str(changes.get("device", "cuda")))
    )
    if "landmarks" in changes:
        config = dataclasses.replace(
            config,
            model=dataclasses.replace(
                config.model, options={**config.model.options, "landmarks": changes["landmarks"]}
            ),
        )
    with pytest.raises(error, match=words) as raised:
        check_possible(config)
    assert "\n" not in str(raised.value)


# ---- trunks


def _hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "resnet18") -> Path:
    """Lay timm's weights of a trunk, classifier and all, into a hub cache of its own; return the file."""
    import timm
    from huggingface_hub import constants

    net = timm.create_model(name, pretrained=False)
    torch.manual_seed(1)
    state = {
        key: torch.rand_like(value) if value.is_floating_point() else value for key, value in net.state_dict().items()
    }
    folder = tmp_path / f"models--{timm.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(state, folder / "snapshots" / "abc" / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    return folder / "snapshots" / "abc" / "model.safetensors"


def test_imagenet_weights_come_from_the_cache_without_their_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _hub(tmp_path, monkeypatch)
    assert trunk_file("resnet18", "imagenet") == file
    from_cache, from_file = (create_backbone("resnet18", weights) for weights in ("imagenet", file))
    for one, two in zip(from_cache.parameters(), from_file.parameters(), strict=True):
        assert torch.equal(one, two)
    assert float(next(from_cache.parameters()).detach().min()) >= 0, (
        "the random numbers of the file, not of an initialisation"
    )


def test_nothing_is_fetched_unless_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    asked: list[tuple[str, str]] = []

    def fetch(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(tmp_path / "fetched.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(ConfigError, match=r"resnest50d.*--allow-download.*--set model\.weights=FILE"):
        trunk_file("resnest50d", "imagenet")
    assert not asked
    assert trunk_file("resnest50d", "imagenet", allow_download=True).name == "fetched.safetensors"
    assert asked[0][1] == "model.safetensors"
    with pytest.raises(ConfigError, match="timm has none of 'toy'"):
        trunk_file("toy", "imagenet")


def test_a_hub_that_cannot_be_reached_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))

    def fetch(repository: str, name: str) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(ModelFileError, match=r"could not be fetched \(no route\)"):
        trunk_file("resnet18", "imagenet", allow_download=True)


def test_rows_of_a_plain_folder_of_images(tmp_path: Path) -> None:
    write_official(tmp_path / "release", make(5))
    config = TrainConfig("x", model=ModelConfig(backbone="toy"))
    data = dataclasses.replace(config.data, layout="images", path=str(tmp_path / "release"), limit=None)
    assert len(load_rows(dataclasses.replace(config, data=data)).table) == 5


def test_features_of_a_trunk_are_written_with_their_labels(tmp_path: Path) -> None:
    trunk = create_backbone("mobilenetv1_100")
    import timm

    torch.manual_seed(0)
    save_file(
        timm.create_model("mobilenetv1_100", pad_type="same", num_classes=0).state_dict(),
        tmp_path / "trunk.safetensors",
    )
    config = toy(tmp_path, model={"backbone": "mobilenetv1_100", "weights": str(tmp_path / "trunk.safetensors")})
    (tmp_path / "mine.yaml").write_text(json.dumps(config.to_dict()))
    command = [
        "prepare",
        "--config",
        str(tmp_path / "mine.yaml"),
        "--set",
        "data.limit=5",
        "--features",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    from lineament.evaluation.predictions import load

    features, found = np.load(tmp_path / "out" / "features.npy"), load(tmp_path / "out" / "predictions.parquet")
    assert features.shape == (5, trunk.channels[-1])
    assert np.ptp(features, axis=0).max() > 0
    assert len(found.targets) == 5
