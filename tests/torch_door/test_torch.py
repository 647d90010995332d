"""lineament.torch: modules that preprocess themselves and refuse what they cannot read, a dataset for DataLoader,
metrics on tensors."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lineament.torch as door  # noqa: E402
from lineament.config import ModelConfig, TrainConfig  # noqa: E402
from lineament.data.synthetic import make  # noqa: E402
from lineament.data.synthetic_files import write_official, write_parquet, write_table  # noqa: E402
from lineament.errors import ModelFileError, UsageError  # noqa: E402
from lineament.models.build import build_network  # noqa: E402
from lineament.models.checkpoint import load_network_file, save_network  # noqa: E402
from lineament.schema import CELEBA_40  # noqa: E402

SMALL = {
    "baseline": {}, "mgmtn": {"mask": "mean", "width": 8, "hidden": 12}, "far-amtn": {},
    "dmm-cnn": {"landmarks": 5, "inner": 8, "hidden": 16},
}  # fmt: skip


@pytest.fixture(scope="module", params=SMALL)
def trained(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("net") / f"{request.param}.safetensors"
    torch.manual_seed(0)
    config = TrainConfig(
        "toy", model=ModelConfig(name=request.param, backbone="toy", input_size=(64, 52), options=SMALL[request.param])
    )
    save_network(path, build_network(config.model, CELEBA_40).eval(), config)
    return path


def test_a_module_takes_bytes_and_answers_as_the_network_does(trained: Path) -> None:
    net, plain = door.load(trained), load_network_file(trained)[0]
    crops = torch.from_numpy(make(3).crops)
    with torch.no_grad():
        found, wanted = net(crops), plain(plain.preprocess(crops)).logits
    torch.testing.assert_close(found.logits, wanted)
    assert net.attributes == CELEBA_40
    assert found.features is not None
    assert found.features.shape[:2] in {(3, 1), (3, len(net.groups))}
    assert found.probs.min() >= 0
    assert not net.training
    assert not any(module._forward_pre_hooks for module in net.modules()), "nothing is left hanging on the network"


def test_group_features_are_what_the_heads_read(trained: Path) -> None:
    net = door.load(trained)
    heads = getattr(net.network, "heads", None)
    if heads is None or len(heads) != len(net.groups):
        pytest.skip("one head for all")
    with torch.no_grad():
        found = net(torch.from_numpy(make(2).crops))
        own = torch.cat([head(found.features[:, k]) for k, head in enumerate(heads)], 1)
    flat = [name for members in net.groups.values() for name in members]
    torch.testing.assert_close(
        own, found.logits[:, [net.attributes.index(name) for name in flat]], atol=1e-4, rtol=1e-4
    )


def test_floats_are_refused_unless_their_range_is_said_and_kept(trained: Path) -> None:
    crops = torch.from_numpy(make(2).crops)
    with pytest.raises(UsageError, match="must be uint8"):
        door.load(trained)(crops.float())
    with pytest.raises(UsageError, match="must be uint8"):
        door.load(trained, float_range=(0.0, 1.0))(crops.long())
    unit = door.load(trained, float_range=(0.0, 1.0))
    with pytest.raises(UsageError, match=r"hold 0 to \d+, outside the stated range 0 to 1"):
        unit(torch.cat([crops.float(), torch.zeros_like(crops).float()]))
    with torch.no_grad():
        torch.testing.assert_close(
            unit(crops.float() / 255).logits, door.load(trained)(crops).logits, atol=2e-3, rtol=1e-3
        )
    with pytest.raises(UsageError, match=r"\(N,3,218,178\)"):
        unit(crops[:, :, :200])
    with pytest.raises(UsageError, match="float_range"):
        door.load(trained, float_range=(1.0, 0.0))


def test_gradients_reach_the_pixels_and_the_weights(trained: Path) -> None:
    net = door.load(trained, float_range=(0.0, 255.0))
    crops = torch.from_numpy(make(1).crops).float().requires_grad_()
    net(crops).logits.sum().backward()
    assert float(crops.grad.abs().sum()) > 0


def test_a_name_that_is_none_says_where_it_looked() -> None:
    with pytest.raises(ModelFileError, match="lineament-systems"):
        door.load("nobody")


def _layouts(folder: Path) -> dict[str, door.FaceDataset]:
    faces = make(12)
    table = write_table(folder / "table" / "labels.csv", faces)
    found = {
        "official": door.FaceDataset(write_official(folder / "official", faces), "official"),
        "table": door.FaceDataset(table, "table", attributes=["Smiling", "Bangs"]),
        "synthetic": door.FaceDataset(folder, "synthetic"),
    }
    with contextlib.suppress(ImportError):
        found["parquet"] = door.FaceDataset(write_parquet(folder / "parquet", faces), split="all")
    return found


def test_every_layout_has_a_length_and_goes_through_a_loader(tmp_path: Path) -> None:
    for name, data in _layouts(tmp_path).items():
        assert len(data) == (512 if name == "synthetic" else 12)
        loader = torch.utils.data.DataLoader(data, batch_size=5)
        batch = next(iter(loader))
        assert batch["crop"].shape == (5, 3, 218, 178)
        assert batch["crop"].dtype == torch.uint8
        assert batch["targets"].shape == batch["known"].shape == (5, len(data.attributes))
        assert torch.equal(batch["row"], torch.arange(5))
        copy = pickle.loads(pickle.dumps(data))
        assert torch.equal(copy[3]["crop"], data[3]["crop"])
        assert torch.equal(data[-1]["row"], torch.tensor(len(data) - 1))
        with pytest.raises(IndexError):
            data[len(data)]


_WITH_WORKERS = """
import sys
import torch
import lineament.torch as door
if __name__ == "__main__":
    data = door.FaceDataset(sys.argv[1], "table", attributes=["Smiling", "Bangs"])
    loader = torch.utils.data.DataLoader(data, batch_size=5, num_workers=2, multiprocessing_context="spawn")
    print([row for batch in loader for row in batch["row"].tolist()])
"""


def test_a_loader_with_worker_processes_reads_every_row_in_order(tmp_path: Path) -> None:
    """In a process of its own: torch's loader leaves a handler for its children's deaths behind, which killed later
    tests of this one."""
    table, script = write_table(tmp_path / "labels.csv", make(12)), tmp_path / "load.py"
    script.write_text(_WITH_WORKERS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(table)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(list(range(12)))


def test_a_damaged_picture_is_black_and_unknown(tmp_path: Path) -> None:
    where = write_table(tmp_path / "labels.csv", make(4))
    data = door.FaceDataset(where, "table")
    (tmp_path / data.table.files[1]).write_bytes(b"no picture")
    assert int(data[1]["crop"].max()) == 0
    assert not data[1]["known"].any()
    assert data[2]["known"].any()


def test_metrics_on_tensors_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    logits, targets = torch.tensor(rng.normal(size=(50, 3))), torch.tensor(rng.random((50, 3)) < 0.4).float()
    known = torch.tensor(rng.random((50, 3)) < 0.8)
    yes, truth, there = (logits >= 0).numpy(), targets.numpy() > 0.5, known.numpy()
    slow = [(yes[:, a] == truth[:, a])[there[:, a]].mean() for a in range(3)]
    np.testing.assert_allclose(door.accuracy(logits, targets, known).numpy(), slow)
    both = [
        np.mean([yes[truth[:, a] & there[:, a], a].mean(), (~yes)[~truth[:, a] & there[:, a], a].mean()])
        for a in range(3)
    ]
    np.testing.assert_allclose(door.balanced_accuracy(logits, targets, known).numpy(), both)
    for metric in (door.f1, door.average_precision, door.roc_auc):
        assert metric(logits, targets, known).shape == (3,)
    perfect = torch.where(targets > 0.5, 5.0, -5.0)
    assert door.roc_auc(perfect, targets).tolist() == door.average_precision(perfect, targets).tolist() == [1, 1, 1]
