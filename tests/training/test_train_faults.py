"""What cannot be trained, or must not be, is said in one line that names the fix; a damaged picture teaches nothing and
stops nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train_kit import optimiser, toy  # noqa: E402

from lineament.data.synthetic import make  # noqa: E402
from lineament.data.synthetic_files import write_table  # noqa: E402
from lineament.errors import ConfigError, DataError, DivergedError, ModelFileError  # noqa: E402
from lineament.models.checkpoint import load_tensors  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402


def _mgmtn(**options: object) -> dict[str, object]:
    return {
        "name": "mgmtn",
        "backbone": "toy",
        "input_size": [64, 52],
        "options": {"region_scale": "toy", "width": 16, "hidden": 16} | options,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model": {"backbone": "toy", "input_size": [64, 52], "options": {"dropuot": 0.1}}},
            r"model\.options of baseline.*dropuot.*dropout",
        ),
        (
            {"model": {"name": "branched", "backbone": "toy", "input_size": [64, 52]}},
            r"model\.options of branched.*branches",
        ),
        ({"model": _mgmtn()}, "needs a trained region network"),
        ({"augment": {"crop": [65, 48]}}, r"augment\.crop \[65, 48\] does not fit"),
        ({"model": {"name": "dmm-cnn", "backbone": "toy", "input_size": [64, 52]}}, r"data\.landmarks names none"),
        (
            {"weighting": {"name": "dmm"}, "data": {"layout": "synthetic", "limit": 48, "holdout": 0, "cache": None}},
            r"data\.holdout above 0",
        ),
        ({"weighting": {"name": "dws", "options": {"temperature": 0.0}}}, "temperature must be above 0"),
        ({"optimiser": {"epochs": 1, "batch": 8, "device": "abacus"}}, r"optimiser\.device 'abacus'"),
    ],
)
def test_a_config_that_cannot_train_is_refused_before_it_begins(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Trainer(toy(tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("shape", "flip", "landmarks", "words"),
    [
        ((48, 4, 2), True, 5, r"must be \(N,5,2\)"),
        ((48, 72, 2), True, 72, "no mirror table is known for 72"),
        ((48, 72, 2), False, 72, None),
        ((48, 5), True, 5, r"must be \(N,5,2\)"),
    ],
)
def test_landmarks_must_fit_the_head_and_the_mirror(
    tmp_path: Path, shape: tuple[int, ...], flip: bool, landmarks: int, words: str | None
) -> None:
    np.save(tmp_path / "points.npy", np.zeros(shape, np.float32))
    data = toy(tmp_path).to_dict()["data"] | {"landmarks": str(tmp_path / "points.npy")}
    model = {
        "name": "dmm-cnn",
        "backbone": "toy",
        "input_size": [64, 52],
        "options": {"landmarks": landmarks, "inner": 16, "hidden": 16},
    }
    config = toy(tmp_path, data=data, model=model, augment={"crop": None, "flip": flip})
    if words is None:
        Trainer(config, tmp_path / "run").run()
        return
    with pytest.raises(ConfigError, match=words):
        Trainer(config, tmp_path / "run")


def test_cached_masks_must_be_of_eight_groups(tmp_path: Path) -> None:
    np.save(tmp_path / "masks.npy", np.zeros((48, 7, 14, 12), np.uint8))
    data = toy(tmp_path).to_dict()["data"] | {"regions": str(tmp_path / "masks.npy")}
    with pytest.raises(ConfigError, match=r"data\.regions must be \(N,8,h,w\)"):
        Trainer(toy(tmp_path, data=data, model=_mgmtn(mask="mean")), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_weights(tmp_path: Path) -> None:
    trainer = Trainer(toy(tmp_path), tmp_path / "run")
    with torch.no_grad():
        trainer.network.head.bias[3] = float("inf")
    before = trainer.network.head.weight.detach().clone()
    with pytest.raises(DivergedError, match=r"at step 1.*optimiser\.lr"):
        trainer.run()
    assert torch.equal(before, trainer.network.head.weight)


def _table(tmp_path: Path, faces: int = 24) -> Path:
    return Path(write_table(tmp_path / "faces" / "labels.csv", make(faces)) or tmp_path / "faces" / "labels.csv")


def _on_table(tmp_path: Path, **data: object):
    given = {
        "layout": "table",
        "path": str(_table(tmp_path)),
        "attributes": ["Smiling", "Bangs"],
        "holdout": 0,
        "cache": str(tmp_path / "cache"),
    }
    return toy(tmp_path, data=given | data)


@pytest.mark.parametrize("cached", [True, False])
def test_a_damaged_picture_teaches_nothing_and_stops_nothing(tmp_path: Path, cached: bool) -> None:
    config = _on_table(tmp_path, **({} if cached else {"cache": None}))
    with (tmp_path / "faces" / "labels.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    (tmp_path / "faces" / names[3]).write_bytes(b"\xff\xd8 no picture")
    trainer = Trainer(config, tmp_path / "run")
    trainer.run()
    assert list(trainer.material.damaged) == [names[3]]
    assert not trainer.material.table.known[3].any()
    assert trainer.material.table.known[4].all()
    batch = trainer.material.batch(np.array([3, 4]))
    assert int(batch.crops[0].max()) == 0
    assert int(batch.crops[1].max()) > 0
    assert not batch.known[0].any()
    assert Trainer(config, tmp_path / "run", resume=True).position == trainer.position, (
        "the list is read again, and the data are the same"
    )


def test_a_set_without_one_readable_picture_is_an_error(tmp_path: Path) -> None:
    config = _on_table(tmp_path)
    for picture in (tmp_path / "faces").rglob("*.png"):
        picture.write_bytes(b"")
    with pytest.raises(DataError, match="None of the 24 training images"):
        Trainer(config, tmp_path / "run")


def test_weights_of_other_attributes_give_the_trunk_and_not_their_head(tmp_path: Path) -> None:
    first = _on_table(tmp_path)
    path = Trainer(first, tmp_path / "first").run()
    swapped = _on_table(tmp_path, attributes=["Bangs", "Smiling"])
    again = Trainer(swapped, tmp_path / "second", start=str(path))
    assert again.not_copied == ["head.weight", "head.bias"], (
        "same shape, another order: the rows would answer other questions"
    )
    expected = {name: tensor for name, tensor in load_tensors(path)[0].items() if name.startswith("backbone.")}
    got = again.network.state_dict()
    assert expected
    assert all(torch.equal(got[name], tensor.to(got[name])) for name, tensor in expected.items())
    assert Trainer(first, tmp_path / "third", start=str(path)).not_copied == []


def test_a_start_that_fits_nothing_or_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"No tensor of 'v0' fits"):
        Trainer(toy(tmp_path), tmp_path / "a", start="v0")
    (tmp_path / "model.onnx").write_bytes(b"graph")
    with pytest.raises(ModelFileError, match="damaged or no ONNX file"):
        Trainer(toy(tmp_path), tmp_path / "b", start=str(tmp_path / "model.onnx"))


def test_with_patience_the_best_epoch_is_kept(tmp_path: Path) -> None:
    trainer = Trainer(toy(tmp_path, optimiser=optimiser(tmp_path, epochs=4, patience=2)), tmp_path / "run")
    losses = iter([0.5, 0.4, 0.6, 0.7])
    held_out = trainer._held_out

    def told():
        seen = held_out()
        return type(seen)(torch.full_like(seen.losses, next(losses)), seen.accuracy)

    trainer._held_out = told  # type: ignore[method-assign]
    best = load_tensors(trainer.run())[0]
    expected = load_tensors(tmp_path / "run" / "epoch_2.safetensors")[0]
    assert all(torch.equal(best[name], tensor) for name, tensor in expected.items())
    assert trainer.position == 4 * trainer.steps_per_epoch


def test_a_teacher_can_be_cached_for_the_config_that_will_use_it(tmp_path: Path) -> None:
    path = Trainer(toy(tmp_path), tmp_path / "first").run()
    loss = {"distill": 0.5, "teacher": str(tmp_path / "teacher" / "{fingerprint}.npy")}
    config = toy(tmp_path, loss=loss, prepare={"teachers": [str(path)], "views": 1})
    Trainer(config, tmp_path / "taught").run()
    said = json.loads((tmp_path / "taught" / "teacher.json").read_text())
    assert said["teachers"][0]["file"] == str(path), "a run says who taught it"
