"""A training that is stopped, killed or shared goes on as the uninterrupted one: at epoch ends, by Ctrl-C, in many
processes; and on any device."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train_kit import finished, optimiser, toy, toy_model  # noqa: E402

from lineament.config import TrainConfig  # noqa: E402
from lineament.errors import ResumeError  # noqa: E402
from lineament.models.checkpoint import load_tensors  # noqa: E402
from lineament.training.distributed import Team  # noqa: E402
from lineament.training.heldout import WindowLosses  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402

ROOT = Path(__file__).parents[2]


def _rows(run: Path, name: str) -> list[list[str]]:
    """The rows of a log without the columns that tell time."""
    with (run / name).open(newline="") as file:
        rows = list(csv.reader(file))
    timed = [rows[0].index(column) for column in ("images_per_s", "seconds") if column in rows[0]]
    return [[cell for place, cell in enumerate(row) if place not in timed] for row in rows]


def _same(one: Path, other: Path) -> None:
    expected, got = (load_tensors(run / "model.safetensors")[0] for run in (one, other))
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name
    for name in ("log.csv", "attributes.csv"):
        assert _rows(one, name) == _rows(other, name), name


def _learning(tmp_path: Path) -> TrainConfig:
    """A run whose weights and patience depend on what an epoch's end learns."""
    changed = optimiser(tmp_path, epochs=3, checkpoint_minutes=0.0, patience=3)
    return toy(tmp_path, weighting={"name": "dmm", "windows": 2}, optimiser=changed)


def test_a_windows_losses_are_means_over_known_labels() -> None:
    window, rng = WindowLosses(3, torch.device("cpu")), np.random.default_rng(0)
    steps = [(rng.random((4, 3)).astype(np.float32), rng.random((4, 3)) < 0.5) for _ in range(5)]
    for terms, known in steps:
        known[:, 2] = False
        window.add(torch.from_numpy(np.where(known, terms, 0)), torch.from_numpy(known))
    terms, known = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    expected = [terms[known[:, a], a].mean() for a in range(2)]
    got = window.close(Team()).numpy()
    np.testing.assert_allclose(got[:2], expected, rtol=1e-6)
    assert np.isnan(got[2]), "an attribute of which no label was seen has no loss"
    assert np.isnan(window.close(Team()).numpy()).all(), "the next window begins with nothing"


def test_killed_at_the_last_step_of_an_epoch_its_end_is_not_left_out(tmp_path: Path) -> None:
    config = _learning(tmp_path)
    finished(config, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(epoch: int) -> None:
        raise Killed

    torn = Trainer(config, tmp_path / "torn")
    torn._end_epoch = kill  # type: ignore[method-assign]
    with pytest.raises(Killed):
        torn.run()
    finished(config, tmp_path / "torn")
    _same(tmp_path / "whole", tmp_path / "torn")


@pytest.mark.parametrize("step", [1, 4, 5, 12])
def test_a_stop_ends_a_step_and_the_resumed_run_is_the_uninterrupted_one(tmp_path: Path, step: int) -> None:
    config = _learning(tmp_path)
    finished(config, tmp_path / "whole")
    trainer = Trainer(config, tmp_path / "torn")
    assert trainer.steps_per_epoch == 4
    if step < 12:
        with pytest.raises(KeyboardInterrupt):
            trainer.run(lambda at: trainer.stop() if at.step == step else None)
        assert trainer.position == step
    else:  # nothing is left to interrupt after the last step
        trainer.run(lambda at: trainer.stop() if at.step == step else None)
    finished(config, tmp_path / "torn")
    _same(tmp_path / "whole", tmp_path / "torn")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_how_to_go_on_and_does(tmp_path: Path, sent: int) -> None:
    config = toy(tmp_path, optimiser=optimiser(tmp_path, epochs=300))
    file, out = tmp_path / "toy.yaml", tmp_path / "run"
    file.write_text(json.dumps(config.to_dict()))
    command = [sys.executable, "-m", "lineament", "train", "--config", str(file), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (out / "log.csv").is_file() or len((out / "log.csv").read_text().splitlines()) < 3:
        assert process.poll() is None, "the run ended before it could be interrupted"
        time.sleep(0.05)
    process.send_signal(sent)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "--resume" in said
    again = Trainer(config, out, resume=True)
    assert 0 < again.position < 300 * again.steps_per_epoch
    rows = _rows(out, "log.csv")
    assert all(int(row[1]) <= again.position for row in rows[1:])


def test_a_run_is_not_resumed_on_other_labels(tmp_path: Path) -> None:
    config = toy(tmp_path)
    Trainer(config, tmp_path / "run").run()
    environment = tmp_path / "run" / "environment.json"
    record = json.loads(environment.read_text())
    assert record["images"] == len(Trainer(config, tmp_path / "run", resume=True).train_rows)
    environment.write_text(json.dumps(record | {"data_fingerprint": "0" * 16}))
    with pytest.raises(ResumeError, match="other data"):
        Trainer(config, tmp_path / "run", resume=True)


def test_what_a_run_started_from_is_part_of_it(tmp_path: Path) -> None:
    path = Trainer(toy(tmp_path), tmp_path / "first").run()
    config = toy(tmp_path, seed=1)
    Trainer(config, tmp_path / "second", start=str(path)).run()
    record = json.loads((tmp_path / "second" / "environment.json").read_text())
    assert record["start"]["name"] == str(path)
    assert len(record["start"]["sha256"]) == 64
    with pytest.raises(ResumeError, match="another config"):
        Trainer(config, tmp_path / "second", resume=True)
    path.unlink()  # the checkpoint holds all that a resumed run needs
    assert Trainer(config, tmp_path / "second", start=str(path), resume=True).position == 8


def test_rows_of_windows_that_a_killed_run_did_are_forgotten(tmp_path: Path) -> None:
    config = toy(tmp_path, weighting={"name": "uniform", "windows": 2}, optimiser=optimiser(tmp_path, epochs=3))
    finished(config, tmp_path / "whole")
    torn = Trainer(config, tmp_path / "torn")
    torn.save_checkpoint()
    with pytest.raises(KeyboardInterrupt):
        torn.run(lambda at: torn.stop() if at.step == 7 else None)
    state = (tmp_path / "torn" / "checkpoint.safetensors").read_bytes()
    Trainer(config, tmp_path / "torn", resume=True).run()
    (tmp_path / "torn" / "checkpoint.safetensors").write_bytes(state)  # as if killed at the end, saved at step 7
    finished(config, tmp_path / "torn")
    _same(tmp_path / "whole", tmp_path / "torn")


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": {"name": "weighted_bce"}, "weighting": {"name": "uncertainty"}},
        {"model": toy_model("mgmtn", mask="mean", width=16, hidden=16), "array": "regions"},
        {"model": toy_model("dmm-cnn", inner=16, hidden=16), "array": "landmarks"},
        {"model": toy_model("far-amtn"), "weighting": {"name": "dws"}},
    ],
    ids=["uncertainty", "mgmtn", "dmm-cnn", "far-amtn"],
)
def test_a_step_works_on_another_device_than_the_images(tmp_path: Path, changes: dict[str, object]) -> None:
    """The meta device refuses to mix with the processor's memory, as a CUDA card does."""
    arrays = {"landmarks": np.full((48, 5, 2), 0.5, np.float32), "regions": np.full((48, 8, 14, 12), 128, np.uint8)}
    data = toy(tmp_path).to_dict()["data"]
    for name in changes.keys() & {"array"}:
        np.save(tmp_path / "array.npy", arrays[str(changes[name])])
        data |= {str(changes[name]): str(tmp_path / "array.npy")}
    sections = {name: section for name, section in changes.items() if name != "array"}
    trainer = Trainer(
        toy(tmp_path, data=data, optimiser=optimiser(tmp_path, device="meta"), **sections), tmp_path / "run"
    )
    loss = trainer.loss_of(trainer.train_rows[:8])
    assert loss.device.type == "meta"
    if any(name == "weighting" and section == {"name": "uncertainty"} for name, section in changes.items()):
        return  # its own parameters stay in the processor's memory, and no gradient comes there from meta
    loss.backward()
    assert all(
        parameter.grad is None or parameter.grad.device == parameter.device
        for parameter in trainer.network.parameters()
    )


def test_two_processes_log_and_weigh_as_one(tmp_path: Path) -> None:
    still = {"crop": None, "flip": False, "brightness": 0.0}
    model = {"backbone": "toy", "input_size": [64, 52], "options": {"dropout": 0.0}}
    changes = {"augment": still, "model": model, "optimiser": optimiser(tmp_path, epochs=3, patience=3, lr=1e-3)}
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    name = "uncertainty"  # it learns by gradient; the log of window losses is what the other strategies learn from
    config = toy(tmp_path, weighting={"name": name}, **changes)
    Trainer(config, tmp_path / f"{name}-one").run()
    file = tmp_path / f"{name}.yaml"
    file.write_text(json.dumps(config.to_dict()))
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "lineament",
        "train",
    ]
    command = [*launcher, "--config", str(file), "--out", str(tmp_path / f"{name}-two"), "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [str(tmp_path / f"{name}-two" / "model.safetensors")], "one process speaks"
    one, two = (_rows(tmp_path / f"{name}-{kind}", "attributes.csv") for kind in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two]
    one, two = ([[float(cell or "nan") for cell in row[2:]] for row in rows[1:]] for rows in (one, two))
    np.testing.assert_allclose(two, one, rtol=2e-3)
    held = [
        [row[5] for row in _rows(tmp_path / f"{name}-{kind}", "log.csv")[1:] if len(row) > 5] for kind in ("one", "two")
    ]
    assert len(held[0]) == len(held[1])
