"""What keeps a card busy: no read back from the device but the log's, batches read ahead in order, parts of a batch
that sum to the whole."""

from __future__ import annotations

import dataclasses
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from train_kit import finished, optimiser, toy, toy_model  # noqa: E402

from lineament.errors import DivergedError  # noqa: E402
from lineament.models.checkpoint import load_tensors  # noqa: E402
from lineament.training.prefetch import ahead  # noqa: E402
from lineament.training.trainer import Trainer  # noqa: E402

READS = {
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::equal",
    "aten::masked_select",
}
"""Operations whose answer the processor must see before it can go on: on a card each of them waits for the device."""


class Reads(TorchDispatchMode):
    """Counts the operations that would read back from a device. What torch keeps in main memory on purpose, the
    optimiser's step counters and dropout's and augmentation's own draws, is read for nothing and not counted: only
    tensors that `.to(device)` moves are."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self.trainer, self.where = trainer, list[str]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        if name in READS and not self._in_main_memory(args[0]):
            self.counted[name] += 1
            self.where += traceback.format_stack(limit=4)[:-1]
        return function(*args, **(kwargs or {}))

    def _in_main_memory(self, tensor: Any) -> bool:
        steps = (state["step"] for state in self.trainer.optimiser.state.values() if "step" in state)
        return tensor.data_ptr() in {step.data_ptr() for step in steps}


def long_toy(tmp_path: Path, **changes: object):
    data = toy(tmp_path).to_dict()["data"] | {"limit": 176, "holdout": 8}
    return toy(tmp_path, data=data, **changes)


@pytest.mark.parametrize(
    ("name", "options"),
    [("baseline", {}), ("mgmtn", {"mask": "mean", "width": 16, "hidden": 16}), ("far-amtn", {}), ("dmm-cnn", None)],
)
def test_in_twenty_steps_only_the_log_reads_from_the_device(
    tmp_path: Path, name: str, options: dict[str, object] | None
) -> None:
    model = toy_model(name, **(options if options is not None else {"landmarks": 5, "inner": 16, "hidden": 16}))
    config = long_toy(tmp_path, model=model, optimiser=optimiser(tmp_path, epochs=1, read_every=20))
    if name == "dmm-cnn":
        np.save(tmp_path / "p.npy", np.full((176, 5, 2), 0.5, np.float32))
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, landmarks=str(tmp_path / "p.npy")))
    trainer = Trainer(config, tmp_path / "run")
    trainer.network.train()
    order = np.split(trainer.train_rows[:160], 20)
    losses = []
    with Reads(trainer) as reads:
        for rows in order:
            losses.append(trainer.step(rows, trainer._read(rows)))
            trainer.position += 1
    assert sum(reads.counted.values()) == 1, "".join(reads.where)
    assert [np.isnan(loss) for loss in losses] == [True] * 19 + [False]


def test_the_counter_counts(tmp_path: Path) -> None:
    trainer = Trainer(toy(tmp_path), tmp_path / "run")
    trainer.network.train()
    with Reads(trainer) as reads:
        trainer.step(trainer.train_rows[:8])
        trainer.step(trainer.train_rows[:8])
    assert sum(reads.counted.values()) == 2, "every step's loss is read where read_every is 1"


def test_reading_rarely_changes_no_weight(tmp_path: Path) -> None:
    often = finished(long_toy(tmp_path), tmp_path / "often")
    rarely = finished(long_toy(tmp_path, optimiser=optimiser(tmp_path, read_every=7, prefetch=0)), tmp_path / "rarely")
    assert all(torch.equal(often[key], rarely[key]) for key in often)


def test_a_loss_that_is_no_number_is_found_at_the_next_reading(tmp_path: Path) -> None:
    trainer = Trainer(toy(tmp_path, optimiser=optimiser(tmp_path, read_every=3)), tmp_path / "run")
    with torch.no_grad():
        trainer.network.head.bias[3] = float("inf")
    with pytest.raises(DivergedError, match="at step 3"):
        trainer.run()
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_parts_of_a_batch_sum_to_its_gradient(tmp_path: Path) -> None:
    plain = {"crop": None, "flip": False, "brightness": 0.0}
    model = {"backbone": "toy", "input_size": [64, 52], "options": {"dropout": 0.0}}
    data = toy(tmp_path).to_dict()["data"] | {"attributes": ["Smiling", "Bangs"]}
    found = {}
    for parts in (1, 2, 4):
        config = toy(
            tmp_path, augment=plain, model=model, data=data, optimiser=optimiser(tmp_path, accumulate=parts, epochs=1)
        )
        Trainer(config, tmp_path / f"run{parts}").run()
        found[parts] = load_tensors(tmp_path / f"run{parts}" / "checkpoint.safetensors")[0]
    for parts in (2, 4):
        for key, tensor in found[1].items():
            if key.startswith("network."):
                torch.testing.assert_close(found[parts][key], tensor, atol=1e-5, rtol=1e-4)


def test_batches_come_ahead_in_order_and_errors_come_through() -> None:
    asked: list[int] = []

    def read(rows):
        asked.append(int(rows[0]))
        if rows[0] == 5:
            raise ValueError("torn")
        return rows  # type: ignore[return-value]

    order = [np.array([i]) for i in range(7)]
    seen = ahead(read, order, 2)
    assert int(next(seen)[1][0]) == 0
    got = [0]
    with pytest.raises(ValueError, match="torn"):
        got.extend(int(batch[0]) for _, batch in seen)
    assert asked[:6] == [0, 1, 2, 3, 4, 5]
    assert [int(batch[0]) for _, batch in ahead(read, order[:5], 0)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains(tmp_path: Path, precision: str) -> None:
    trainer = Trainer(toy(tmp_path, optimiser=optimiser(tmp_path, precision=precision, epochs=1)), tmp_path / "run")
    losses: list[float] = []
    trainer.run(lambda at: losses.append(at.loss))
    assert np.isfinite(losses).all()
    assert (trainer.scaler is not None) == (precision == "fp16")
