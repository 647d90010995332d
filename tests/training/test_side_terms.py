"""What a training learns beside its attributes, through the trainer itself: landmarks, identities, adaptive
thresholds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train_kit import finished, toy, toy_model  # noqa: E402

from lineament.errors import ConfigError  # noqa: E402
from lineament.evaluation.thresholds import dmm_step  # noqa: E402
from lineament.models.checkpoint import read_header  # noqa: E402
from lineament.objectives.adaptive_thresholds import AdaptiveThresholds  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402

TRANSFA = {"size": 16, "heads": 2, "widths": [16], "identity": 4, "dropout": 0.0}
STILL = {"crop": None, "flip": False, "brightness": 0.0}


def test_thresholds_follow_the_rule_round_by_round() -> None:
    rng = np.random.default_rng(0)
    fitted, tau = AdaptiveThresholds(3), np.full(3, 0.5)
    for round_ in range(12):
        probs, targets, known = rng.random((40, 3)), rng.random((40, 3)) < [0.1, 0.5, 0.9], rng.random((40, 3)) < 0.9
        fitted.look(torch.tensor(probs), torch.tensor(targets), torch.tensor(known))
        tau = dmm_step(tau, probs, targets, known, step=0.02 * 0.5 ** (round_ // 5))
        np.testing.assert_allclose(fitted.tau.numpy(), tau, atol=1e-9)
    assert tau[0] > 0.5 > tau[2]


def test_adaptive_thresholds_end_in_the_file_and_its_card(tmp_path: Path) -> None:
    from lineament.export.onnx_export import export

    config = toy(tmp_path, loss={"thresholds": "adaptive"})
    Trainer(config, tmp_path / "run").run()
    said = read_header(tmp_path / "run" / "model.safetensors")["thresholds"]
    assert len(said) == 40
    assert set(said.values()) - {0.5}
    card = export(tmp_path / "run", tmp_path / "x.onnx")
    assert card.document["decision"]["thresholds"] == said
    Trainer(toy(tmp_path), tmp_path / "plain").run()
    assert "thresholds" not in read_header(tmp_path / "plain" / "model.safetensors")
    with pytest.raises(ConfigError, match=r"set data\.holdout"):
        toy(tmp_path, loss={"thresholds": "adaptive"}, data=toy(tmp_path).to_dict()["data"] | {"holdout": 0})


@pytest.mark.parametrize("form", ["squared", "nme"])
def test_the_landmark_term_is_added_with_its_weight(tmp_path: Path, form: str) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).random((48, 5, 2)).astype(np.float32))
    data = toy(tmp_path).to_dict()["data"] | {"landmarks": str(tmp_path / "points.npy")}
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        config = toy(tmp_path, model=toy_model("dmm-cnn", inner=8, hidden=8, dropout=0.0), data=data, augment=STILL,
                     loss={"landmark": weight, "landmark_form": form})  # fmt: skip
        trainer = Trainer(config, tmp_path / f"{form}{weight}")
        losses[weight] = trainer.loss_of(trainer.train_rows[:8]).item()
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * (losses[1.0] - losses[0.0]), rel=1e-3)
    assert losses[1.0] - losses[0.0] > (0.3 if form == "nme" else 0.01)


def test_identities_join_the_loss_once_their_centres_are_known(tmp_path: Path) -> None:
    config = toy(tmp_path, model=toy_model("transfa", **TRANSFA), augment=STILL, loss={"identity": 1.0})
    trainer = Trainer(config, tmp_path / "run")
    rows = trainer.train_rows[:8]
    first, second = trainer.loss_of(rows), trainer.loss_of(rows)
    assert second.item() > first.item(), "the first look knows no centre; the second contrasts with those of the first"
    people = torch.from_numpy(np.unique(trainer.material.table.identity[rows]))
    shown = trainer.side.people[trainer.side.centres.seen]
    assert shown.tolist() == people.tolist()
    second.backward()
    assert trainer.network.identify[1].weight.grad.abs().sum() > 0


def test_a_resumed_run_with_identities_and_thresholds_is_the_uninterrupted_one(tmp_path: Path) -> None:
    config = toy(tmp_path, model=toy_model("transfa", **TRANSFA), loss={"identity": 0.5, "thresholds": "adaptive"})
    whole, torn = finished(config, tmp_path / "whole"), finished(config, tmp_path / "torn", stop_after=7)
    for name, tensor in whole.items():
        assert torch.equal(tensor, torn[name]), name
    one, other = (read_header(tmp_path / run / "model.safetensors")["thresholds"] for run in ("whole", "torn"))
    assert one == other


def test_identities_are_refused_where_they_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tells people apart"):
        Trainer(toy(tmp_path, loss={"identity": 1.0}), tmp_path / "a")
    config = toy(tmp_path, model=toy_model("transfa", **TRANSFA), loss={"identity": 1.0})
    trainer = Trainer(config, tmp_path / "b")
    nobody = dataclasses.replace(trainer.material.table, identity=None)
    with pytest.raises(ConfigError, match="who is who"):
        trainer.side._tell_apart(nobody, trainer.network)
