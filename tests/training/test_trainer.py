"""The training engine at toy size: killed and resumed it repeats itself; many processes equal one; bad folders are
refused."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train_kit import finished, toy  # noqa: E402

from lineament.errors import ConfigError, ResumeError, UsageError  # noqa: E402
from lineament.models.checkpoint import load_network_file, load_tensors  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402


def test_training_learns_and_its_weights_load(tmp_path: Path) -> None:
    losses: list[float] = []
    config = toy(
        tmp_path, optimiser={"epochs": 12, "batch": 8, "precision": "fp32", "warmup_steps": 2, "lr": 1e-2, "ema": 0.5}
    )
    path = Trainer(config, tmp_path / "run").run(lambda at: losses.append(at.loss))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    network, loaded = load_network_file(path)
    assert loaded == config
    assert not network.training
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["holdout_accuracy"] for row in rows if row["holdout_accuracy"]][-1]
    assert (tmp_path / "run" / "environment.json").is_file()


def test_fixed_masks_move_with_each_crop_and_stay_for_whole_images(tmp_path: Path) -> None:
    model = {
        "name": "mgmtn",
        "backbone": "toy",
        "input_size": [64, 52],
        "options": {"mask": "mean", "width": 16, "hidden": 16},
    }
    trainer = Trainer(toy(tmp_path, model=model, augment={"crop": [48, 40], "flip": False}), tmp_path / "run")
    network, seen = trainer.network, []
    trainer.parallel_network = lambda x, region=None: seen.append(region) or network(x, region=region)
    trainer.step(trainer.train_rows[:8])
    (region,), whole = seen, network.whole_frame_region(8)
    nose = network.region_rows[list(network.groups).index("Nose")]
    lowest = [int(torch.nonzero(one[nose].amax(1) > 0.5).max()) for one in region]
    assert len(set(lowest)) > 1, "crops at different heights move the nose differently"
    assert (region[:, nose] > 0.5).float().mean() > 1.3 * whole[:, nose].mean(), "a smaller window shows a larger nose"
    x = torch.zeros(8, 3, 64, 52)
    np.testing.assert_array_equal(network.masks(x).expand(8, -1, -1, -1), network.masks(x, whole))


@pytest.mark.parametrize("weighting", ["uniform", "dws"])
def test_a_resumed_run_repeats_the_uninterrupted_one(tmp_path: Path, weighting: str) -> None:
    config = toy(
        tmp_path, weighting={"name": weighting}, optimiser=toy(tmp_path).to_dict()["optimiser"] | {"epochs": 4}
    )
    whole, torn = finished(config, tmp_path / "whole"), finished(config, tmp_path / "torn", stop_after=13)
    for name, tensor in whole.items():
        assert torch.equal(tensor, torn[name]), name
    curves = [[row[:4] for row in csv.reader((tmp_path / run / "log.csv").open())] for run in ("whole", "torn")]
    assert curves[0] == curves[1]


def test_the_command_line_takes_another_seed(tmp_path: Path) -> None:
    import json

    from typer.testing import CliRunner

    from lineament.cli import app

    config = toy(tmp_path)
    (tmp_path / "toy.yaml").write_text(json.dumps(config.to_dict()))
    done = CliRunner().invoke(
        app, ["train", "--config", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / "run"), "--seed", "7", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 7
    told = load_tensors(tmp_path / "run" / "model.safetensors")[0]
    asked, others = (
        load_tensors(Trainer(dataclasses.replace(config, seed=seed), tmp_path / str(seed)).run())[0] for seed in (7, 0)
    )
    assert all(torch.equal(told[name], asked[name]) for name in asked)
    assert any(not torch.equal(told[name], others[name]) for name in others)


def test_kill_minus_nine_and_resume_by_command(tmp_path: Path) -> None:
    import json

    config = toy(tmp_path, optimiser=toy(tmp_path).to_dict()["optimiser"] | {"epochs": 40, "checkpoint_minutes": 0.0})
    file = tmp_path / "toy.yaml"
    file.write_text(json.dumps(config.to_dict()))  # JSON is YAML
    command = [
        sys.executable,
        "-m",
        "lineament",
        "train",
        "--config",
        str(file),
        "--out",
        str(tmp_path / "run"),
        "--resume",
        "--quiet",
    ]
    process = subprocess.Popen(command)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    while not checkpoint.is_file():
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "run" / "model.safetensors"
    whole = load_tensors(Trainer(config, tmp_path / "whole").run())[0]
    for name, tensor in load_tensors(tmp_path / "run" / "model.safetensors")[0].items():
        assert torch.equal(tensor, whole[name]), name


def test_a_folder_never_holds_two_runs(tmp_path: Path) -> None:
    config = toy(tmp_path)
    Trainer(config, tmp_path / "run").run()
    with pytest.raises(ResumeError, match="--resume"):
        Trainer(config, tmp_path / "run")
    with pytest.raises(ResumeError, match="another config"):
        Trainer(dataclasses.replace(config, seed=5), tmp_path / "run", resume=True)
    reworded = dataclasses.replace(config, claim=dataclasses.replace(config.claim, cost="little"))
    Trainer(reworded, tmp_path / "run", resume=True)  # words do not change numbers


def test_starting_from_other_weights_says_what_did_not_fit(tmp_path: Path) -> None:
    path = Trainer(toy(tmp_path), tmp_path / "first").run()
    again = Trainer(toy(tmp_path, seed=1), tmp_path / "second", start=str(path))
    assert again.not_copied == []
    expected = load_tensors(path)[0]["head.weight"].float()
    torch.testing.assert_close(again.network.head.weight.detach(), expected)
    wider = toy(
        tmp_path, model={"name": "dmm-cnn", "backbone": "toy", "input_size": [64, 52], "options": {"landmarks": 0}}
    )
    assert Trainer(wider, tmp_path / "third", start=str(path)).not_copied


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fill one batch"):
        Trainer(toy(tmp_path, optimiser={"batch": 64}), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"data\.layout"):
        Trainer(toy(tmp_path, data={"layout": "floppy", "path": str(tmp_path)}), tmp_path / "b")
    with pytest.raises(ConfigError, match="Unknown model"):
        Trainer(toy(tmp_path, model={"name": "nothing", "backbone": "toy"}), tmp_path / "c")


def test_patience_stops_early(tmp_path: Path) -> None:
    settings = toy(tmp_path).to_dict()["optimiser"] | {"epochs": 30, "lr": 1e-12, "patience": 1, "ema": 0.0}
    trainer = Trainer(toy(tmp_path, optimiser=settings), tmp_path / "run")
    trainer.patience.best = -1.0  # nothing can be better, so the first epoch already waits
    trainer.run()
    assert trainer.position == trainer.steps_per_epoch
    again = Trainer(toy(tmp_path, optimiser=settings), tmp_path / "run", resume=True)
    again.run()
    assert again.position == again.steps_per_epoch, "a run that stopped early does not train on when resumed"


_GRADIENTS = """
import os, sys, torch
from pathlib import Path
from lineament.config import from_dict
from lineament.training.trainer import Trainer
import json
out = Path(sys.argv[1])
config = from_dict(json.loads(out.with_suffix(".json").read_text()))
trainer = Trainer(config, str(out) + os.environ.get("RANK", ""))
trainer.network.train()
trainer.step(trainer.train_rows[:8])
if trainer.team.leads:
    torch.save({n: p.grad for n, p in trainer.network.named_parameters() if p.grad is not None}, str(out) + ".grads")
"""


def test_two_processes_give_the_gradients_of_one_with_the_double_batch(tmp_path: Path) -> None:
    import json

    still = {"crop": None, "flip": False, "brightness": 0.0}
    config = toy(
        tmp_path, augment=still, model={"backbone": "toy", "input_size": [64, 52], "options": {"dropout": 0.0}}
    )
    Trainer(config, tmp_path / "warm")  # decode once, so that the two ranks only read
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }
    script = tmp_path / "gradients.py"
    script.write_text(_GRADIENTS)
    grads = {}
    for name, launcher in (
        ("one", [sys.executable]),
        ("two", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(config.to_dict()))
        done = subprocess.run(
            [*launcher, str(script), str(tmp_path / name)], env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr[-2000:]
        grads[name] = torch.load(tmp_path / f"{name}.grads", weights_only=True)
    assert grads["one"].keys() == grads["two"].keys()
    for name, gradient in grads["one"].items():
        torch.testing.assert_close(grads["two"][name], gradient, rtol=1e-4, atol=1e-7, msg=name)
