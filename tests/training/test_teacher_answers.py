"""Teacher, stream, balance and TensorBoard at toy size: what each changes in a run, and that nothing else does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.config import TrainConfig, from_dict  # noqa: E402
from lineament.data.synthetic import make  # noqa: E402
from lineament.data.synthetic_files import write_parquet  # noqa: E402
from lineament.errors import ConfigError, DataError, ModelFileError  # noqa: E402
from lineament.models.checkpoint import find_weights, load_tensors  # noqa: E402
from lineament.training.dataset import Stream, load_material  # noqa: E402
from lineament.training.prepare.steps import Preparation  # noqa: E402
from lineament.training.prepare.teacher_answers import Teacher, load_teachers, teacher_probs, view_of  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DATA = {"layout": "synthetic", "limit": 48, "holdout": 8}


def toy(folder: Path, **changes: object) -> TrainConfig:
    record = {
        "name": "toy",
        "model": {"backbone": "toy", "input_size": [64, 52]},
        "data": DATA | {"cache": str(folder / "cache")},
        "augment": {"crop": [58, 48]},
        "optimiser": {"epochs": 2, "batch": 8, "precision": "fp32", "warmup_steps": 2, "lr": 1e-2, "threads": 1},
    }
    return from_dict(record | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, TrainConfig]:
    """A finished toy run, which every test here may start from."""
    folder = tmp_path_factory.mktemp("teach")
    config = toy(folder)
    Trainer(config, folder / "run").run()
    return folder, config


def test_one_plain_view_is_the_network_itself_and_two_average_the_mirror(trained) -> None:
    folder, config = trained
    material, teachers = load_material(config), load_teachers([str(folder / "run")])
    network, rows = teachers[0].network, np.arange(len(material.table))
    with torch.no_grad():
        x = network.preprocess(material.batch(rows).crops)
        plain, mirrored = torch.sigmoid(network(x).logits), torch.sigmoid(network(x.flip(-1)).logits)
    one, two = (teacher_probs(teachers, material, views=views) for views in (1, 2))
    assert one.dtype == np.float16
    np.testing.assert_allclose(one, plain.numpy(), atol=1e-3)
    np.testing.assert_allclose(two, (plain + mirrored).numpy() / 2, atol=1e-3)
    many = teacher_probs(teachers, material, views=4)
    np.testing.assert_array_equal(many, teacher_probs(teachers, material, views=4))
    assert np.abs(many.astype(float) - two).max() > 1e-3


def test_views_are_windows_of_the_image() -> None:
    x = torch.rand(3, 3, 64, 52) * 255
    assert torch.equal(view_of(x, 0, torch.Generator()), x)
    assert torch.equal(view_of(x, 1, torch.Generator()), x.flip(-1))
    assert view_of(x, 2, torch.Generator()).shape == (3, 3, 59, 48)


def test_a_teacher_is_silent_where_it_has_no_name_and_useless_without_any(trained) -> None:
    folder, config = trained
    network, material = load_teachers([str(folder / "run")])[0].network, load_material(config)

    class Part(torch.nn.Module):
        def __init__(self, keep: tuple[str, ...]) -> None:
            super().__init__()
            self.attributes, self.preprocess = keep, network.preprocess

        def forward(self, x):
            out = network(x)
            return dataclasses.replace(out, logits=out.logits[:, [31, 4]])

    part = Teacher(Part(("Smiling", "Bald")), folder)
    probs = teacher_probs([part], material, views=1)
    whole = teacher_probs(load_teachers([str(folder / "run")]), material, views=1)
    assert np.isnan(probs).sum() == probs.shape[0] * 38
    np.testing.assert_array_equal(probs[:, [31, 4]], whole[:, [31, 4]])
    with pytest.raises(ConfigError, match="No teacher knows"):
        teacher_probs([Teacher(Part(("My_Own", "Other")), folder)], material)
    with pytest.raises(ConfigError, match="at least one"):
        load_teachers([])


def test_preparation_writes_what_the_config_reads_and_targets_move(trained, tmp_path: Path) -> None:
    folder, config = trained
    loss = {"distill": 0.5, "teacher": str(tmp_path / "teacher" / "{fingerprint}.npy")}
    names = [str(folder / "run"), str(folder / "run" / "epoch_1.safetensors")]
    (made,) = Preparation(toy(folder, loss=loss, prepare={"teachers": names, "views": 4})).run()
    assert np.load(made).shape == (48, 40)
    np.testing.assert_array_equal(np.load(made), teacher_probs(load_teachers(names), load_material(config), views=4))
    about = json.loads(made.with_suffix(".json").read_text())
    assert [len(one["sha256"]) for one in about["teachers"]] == [64, 64]
    started = {}
    for name, settings in (("labels", {}), ("mixed", loss), ("filled", loss | {"teacher_fills_unknown": True})):
        trainer = Trainer(toy(folder, loss=settings), tmp_path / name)
        trainer.network.train()
        started[name] = trainer.step(trainer.train_rows[:8])
        unknown_gradient = trainer.network.head.weight.grad[list(trainer.network.attributes).index("Male")].abs().sum()
        assert (float(unknown_gradient) > 0) == (name == "filled"), (
            "only a teacher that may fill them teaches unknown labels"
        )
    assert len({round(loss, 6) for loss in started.values()}) == 3


def test_a_teacher_that_is_missing_or_of_other_data_is_refused(trained, tmp_path: Path) -> None:
    folder, _ = trained
    with pytest.raises(DataError, match="No cached array"):
        load_material(toy(folder, loss={"distill": 0.5, "teacher": str(tmp_path / "none.npy")}))
    np.save(tmp_path / "short.npy", np.zeros((3, 40), np.float16))
    with pytest.raises(DataError, match="holds 3 rows"):
        load_material(toy(folder, loss={"distill": 0.5, "teacher": str(tmp_path / "short.npy")}))
    np.save(tmp_path / "narrow.npy", np.zeros((48, 2), np.float16))
    with pytest.raises(DataError, match="Make it again"):
        load_material(toy(folder, loss={"distill": 0.5, "teacher": str(tmp_path / "narrow.npy")}))
    with pytest.raises(ConfigError, match=r"prepare\.teachers"):
        Trainer(toy(folder, loss={"distill": 0.5}), tmp_path / "run")


def test_a_stream_gives_the_batches_of_the_cache_and_trains_and_resumes(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    whole = write_parquet(tmp_path / "whole", make(48), shards=1)
    (tmp_path / "shards").mkdir()
    pq.write_table(
        pq.read_table(next(whole.glob("*.parquet"))), tmp_path / "shards" / "train-0.parquet", row_group_size=10
    )
    data = {"layout": "parquet", "path": str(tmp_path / "shards"), "holdout": 8}
    cached = toy(tmp_path, data=data | {"cache": str(tmp_path / "cache")})
    streamed = toy(tmp_path, data=data | {"cache": None, "balance": 0.5})
    a, b = load_material(cached), load_material(streamed)
    assert isinstance(b.crops, Stream)
    np.testing.assert_array_equal(b.blocks, np.arange(48) // 10)
    rows = np.array([0, 9, 10, 47])
    assert torch.equal(a.batch(rows).crops, b.batch(rows).crops)
    whole_run = load_tensors(Trainer(streamed, tmp_path / "one").run())[0]
    trainer = Trainer(streamed, tmp_path / "two")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(lambda at: (_ for _ in ()).throw(KeyboardInterrupt) if at.step == 3 else None)
    trainer.save_checkpoint()
    again = load_tensors(Trainer(streamed, tmp_path / "two", resume=True).run())[0]
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole_run.items())
    assert not list((tmp_path / "one").glob("*.u8"))


def test_tensorboard_is_written_where_asked_and_the_table_is_the_same(trained, tmp_path: Path) -> None:
    folder, config = trained
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, tensorboard=True))
    Trainer(asked, tmp_path / "run").run()
    assert not (folder / "run" / "tensorboard").exists()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("holdout_accuracy")] == [4, 8]
    columns = [
        [row.split(",")[:4] for row in (run / "log.csv").read_text().splitlines()]
        for run in (tmp_path / "run", folder / "run")
    ]
    assert columns[0] == columns[1]


def test_a_run_from_before_a_setting_existed_goes_on(trained, tmp_path: Path) -> None:
    _, config = trained
    Trainer(config, tmp_path / "run").save_checkpoint()
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    del saved["data"]["balance"], saved["optimiser"]["tensorboard"], saved["loss"]["teacher_fills_unknown"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    assert Trainer(config, tmp_path / "run", resume=True).journal.continues


def test_weights_are_found_by_name_run_or_file(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from lineament.cli import app

    folder, config = trained
    assert find_weights(str(folder / "run")) == folder / "run" / "model.safetensors"
    assert find_weights(str(folder / "run" / "epoch_1.safetensors")).name == "epoch_1.safetensors"
    with pytest.raises(ModelFileError, match="lineament-systems"):
        find_weights("nobody")
    (tmp_path / "toy.yaml").write_text(json.dumps(dataclasses.replace(config, seed=3).to_dict()))
    done = CliRunner().invoke(
        app,
        [
            "train",
            "--config",
            str(tmp_path / "toy.yaml"),
            "--out",
            str(tmp_path / "run"),
            "--from",
            str(folder / "run"),
            "--quiet",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "Starts fresh" not in done.output
    missing = CliRunner().invoke(
        app, ["train", "--config", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / "b"), "--from", "nobody"]
    )
    assert missing.exit_code == 2


def test_shards_without_a_wanted_attribute_are_refused(tmp_path: Path) -> None:
    from lineament.data.hub_parquet import HubParquet

    pytest.importorskip("pyarrow")
    shards = write_parquet(tmp_path, make(4), shards=1)
    assert HubParquet(shards, ("Smiling", "Bald")).table.attributes == ("Smiling", "Bald")
    with pytest.raises(DataError, match="no column for the attribute My_Own"):
        HubParquet(shards, ("Smiling", "My_Own"))
    assert HubParquet(shards, ("Smiling", "My_Own"), partly=True).table.attributes == ("Smiling",)
