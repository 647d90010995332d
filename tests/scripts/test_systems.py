"""From toy runs to the page of systems: what is committed of a run rebuilds its numbers, and what was not run is
said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from script_kit import script

torch = pytest.importorskip("torch")
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from lineament.config import expand  # noqa: E402
from lineament.data.celeba import Official  # noqa: E402
from lineament.data.synthetic import SyntheticSource, make  # noqa: E402
from lineament.data.synthetic_files import write_official  # noqa: E402
from lineament.errors import DataError  # noqa: E402
from lineament.evaluation.evaluate import stored_crop  # noqa: E402
from lineament.evaluation.results import OFFICIAL, read_record, read_records, write_record  # noqa: E402
from lineament.images import load_image  # noqa: E402
from lineament.models.checkpoint import find_weights, load_network_file, load_tensors  # noqa: E402
from lineament.runtime.onnx_file import read_card  # noqa: E402
from lineament.runtime.registry import resolve_model  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


collect_run, ablate, systems = script("collect_run"), script("ablate"), script("systems")


def write_config(path: Path, name: str, model: str, cache: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "name": name,
        "model": {"name": model, "backbone": "toy", "input_size": [64, 52], "options": options},
        "data": {"layout": "synthetic", "limit": 48, "holdout": 8, "cache": str(cache)},
        "augment": {"crop": [58, 48]},
        "optimiser": {
            "epochs": 3,
            "batch": 8,
            "precision": "fp32",
            "warmup_steps": 2,
            "lr": 1e-2,
            "threads": 1,
            "ema": 0.5,
        },
    }
    path.write_text(json.dumps(record))  # JSON is YAML
    return path


PARTS = {"baseline": "baseline", "far-amtn": "far-amtn", "far-amtn-less": "far-amtn", "far-amtn-no-dws": "far-amtn"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy configs, a drawn official release, and what `ablate.py` made of them."""
    root = tmp_path_factory.mktemp("world")
    write_official(root / "release", make(60, seed=9))
    configs = [
        write_config(root / "configs" / "table" / "baseline.yaml", "baseline", "baseline", root / "cache"),
        write_config(
            root / "configs" / "table" / "far_amtn.yaml",
            "far-amtn",
            "far-amtn",
            root / "cache",
            fusion_size=8,
            reduction=2,
        ),
    ]
    write_config(root / "configs" / "table" / "mgrr.yaml", "mgrr", "mgrr", root / "cache")
    write_config(root / "configs" / "shipped" / "v1.yaml", "v1", "baseline", root / "cache")
    for name, model in PARTS.items():
        write_config(root / "configs" / "parts" / f"{name}.yaml", f"parts-{name}", model, root / "cache")
    where = [
        "--runs",
        root / "runs",
        "--results",
        root / "results",
        "--data",
        root / "release",
        "--seeds",
        "0",
        "--system",
        "0",
        "--speed",
    ]
    assert ablate.main([str(part) for part in (*configs, *where)]) == 0
    base, other = (read_record(root / "results" / "runs" / f"{name}-s0") for name in ("baseline", "far-amtn"))
    for name, record in {
        "v1": base,
        "parts-baseline": other,
        "parts-far-amtn": base,
        "parts-far-amtn-less": other,
    }.items():
        run = root / "runs" / ("far-amtn-s0" if "far" in name else "baseline-s0")
        write_record(run, root / "results", record.predictions, record.card, name=name)
    return root


def test_a_record_answers_as_the_network_did(world: Path) -> None:
    record, source = read_record(world / "results" / "runs" / "far-amtn-s0"), Official(world / "release", "val")
    network, _ = load_network_file(world / "runs" / "far-amtn-s0" / "model.safetensors")
    crops = np.concatenate(
        [stored_crop(load_image(source.read_bytes(row)).pixels)[0].pixels for row in range(len(source.table))]
    )
    with torch.no_grad():
        logits = network(network.preprocess(torch.from_numpy(crops))).logits.numpy()
    assert record.predictions.files == source.table.files
    np.testing.assert_allclose(record.predictions.raw, 1 / (1 + np.exp(-logits)), atol=2e-3)
    sure = np.abs(logits) > 1e-2
    np.testing.assert_array_equal((record.predictions.raw >= 0.5)[sure], (logits >= 0)[sure])
    drawn = [record.predictions.attributes.index(name) for name in source.table.attributes]
    np.testing.assert_array_equal(record.predictions.targets[:, drawn], source.table.targets)
    assert record.predictions.known.sum() == source.table.targets.size
    np.testing.assert_array_equal(record.predictions.identity, source.table.identity)
    assert record.card["name"] == "far-amtn"
    assert record.images_per_s() is None or record.images_per_s() > 0
    assert record.attribute_losses()[2].shape == (3, 40)
    assert list((world / "results" / "labels").iterdir()) == [
        world / "results" / "labels" / f"{record.about['labels']}.npz"
    ]


def test_what_was_collected_is_not_trained_again_and_half_runs_go_on(world: Path) -> None:
    weights = world / "runs" / "baseline-s0" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    where = ["--runs", world / "runs", "--results", world / "results", "--data", world / "release"]
    config = world / "configs" / "table" / "baseline.yaml"
    assert ablate.main([str(part) for part in (config, *where)]) == 0
    assert weights.stat().st_mtime_ns == before
    shutil.rmtree(world / "results" / "runs" / "baseline-s0")
    weights.unlink()  # its checkpoint is still there
    assert ablate.main([str(part) for part in (config, *where, "--speed")]) == 0
    assert (world / "results" / "runs" / "baseline-s0" / "run.json").is_file()


def test_systems_weights_lie_where_names_are_looked_up(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.runtime.registry.systems_folder", lambda: world / "results" / "systems")
    assert resolve_model("far-amtn").path == world / "results" / "systems" / "far-amtn" / "model.onnx"
    assert (world / "results" / "systems" / "far-amtn" / "model.card.json").is_file()
    monkeypatch.setattr("lineament.model_files.checkout_systems", lambda: world / "results" / "systems")
    assert find_weights("far-amtn") == world / "results" / "systems" / "far-amtn" / "model.onnx", (
        "one file answers and is trained further"
    )
    one, two = (
        load_network_file(file)[0].state_dict()
        for file in (find_weights("far-amtn"), world / "runs" / "far-amtn-s0" / "model.safetensors")
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_the_page_is_rebuilt_from_results_alone(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "results" / "runs", tmp_path / "results" / "runs")
    shutil.copytree(world / "results" / "labels", tmp_path / "results" / "labels")
    arguments = ["--results", tmp_path / "results", "--configs", world / "configs", "--out", tmp_path / "docs"]
    arguments = [str(part) for part in (*arguments, "--draws", "50")]
    assert systems.main([*arguments, "--check"]) == 1
    assert systems.main(arguments) == 0
    assert systems.main([*arguments, "--check"]) == 0
    document = json.loads((tmp_path / "docs" / "systems.json").read_text())
    base, other = document["table"]["rows"]
    assert (base["name"], base["seeds"], other["name"]) == ("baseline", [0], "far-amtn")
    assert (base["difference"], base["verdict"], other["verdict"]) == (None, None, None), "none on one training"
    assert other["difference"] == pytest.approx(100 * (other["mean_accuracy"] - base["mean_accuracy"]), abs=1e-3)
    assert other["parameters"] > base["parameters"] > 0
    assert other["ms_per_face"] > 0
    assert document["not_run"]["table"] == {"baseline": [1, 2], "far-amtn": [1, 2], "mgrr": [0]}
    assert document["not_run"]["parts"]["parts-far-amtn-no-dws"] == [0, 1, 2]
    assert [row["name"] for row in document["shipped"]] == ["v1"]
    assert set(document["convergence"][0]["epochs"]) == set(systems.MGMTN_GROUPS)
    text = (tmp_path / "docs" / "systems.md").read_text()
    assert f"{100 * other['mean_accuracy']:.2f}" in text
    assert "one training" in text
    assert "- mgrr, seed 0: `lineament/configs/table/mgrr.yaml`" in text
    assert "| v1 | 0 |" in text
    assert "(convergence.svg)" in (tmp_path / "docs" / "convergence.md").read_text()
    assert (tmp_path / "docs" / "convergence.svg").read_text().count("line2d") >= 8, "a line per group"
    assert "## Not run\n\n- parts-baseline, seed 1, 2" in (tmp_path / "docs" / "ablations.md").read_text()


def test_a_part_is_compared_with_its_whole_and_a_sign_that_turns_is_said(world: Path, tmp_path: Path) -> None:
    """The toy parts are the toy systems with names exchanged, so that reduced scale says the opposite."""
    document = systems.build(world / "results", world / "configs", draws=50)
    base, whole, part = document["parts"]["rows"]
    assert [row["name"] for row in (base, whole, part)] == ["parts-baseline", "parts-far-amtn", "parts-far-amtn-less"]
    assert base["whole"] is whole["whole"] is None
    wanted = 100 * (part["mean_accuracy"] - whole["mean_accuracy"])
    assert part["whole"]["name"] == "parts-far-amtn"
    assert part["whole"]["difference"] == pytest.approx(wanted, abs=1e-3)
    assert part["difference"] == pytest.approx(0.0)
    assert document["table"]["rows"][1]["difference"] == pytest.approx(-whole["difference"])
    text = systems.pages(document)["ablations.md"]
    assert ("**Does not carry over**" in text) == (whole["difference"] != 0)
    document["table"]["rows"][1]["difference"] = whole["difference"]
    assert "**Does not carry over**" not in systems.pages(document)["ablations.md"]


def test_several_trainings_give_a_verdict(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "results", tmp_path / "results")
    for seed in (1, 2):
        for name in ("baseline", "far-amtn"):
            copy = tmp_path / "results" / "runs" / f"{name}-s{seed}"
            shutil.copytree(tmp_path / "results" / "runs" / f"{name}-s0", copy)
            about = json.loads((copy / "run.json").read_text())
            (copy / "run.json").write_text(json.dumps(about | {"seed": seed}))
    row = systems.build(tmp_path / "results", world / "configs", draws=50)["table"]["rows"][1]
    assert row["seeds"] == [0, 1, 2]
    assert row["verdict"] == ("better" if row["low"] > 0 else "worse" if row["high"] < 0 else "inside the noise")


def test_a_record_without_its_labels_or_a_run_without_weights_is_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "results" / "runs", tmp_path / "runs")
    with pytest.raises(DataError, match="collect_run"):
        read_records(tmp_path)
    found = read_record(world / "results" / "runs" / "baseline-s0")
    with pytest.raises(DataError, match="not finished"):
        write_record(tmp_path, tmp_path / "results", found.predictions, {})


def test_95_percent_of_the_gain_lies_where_straight_lines_cross_it() -> None:
    assert systems.epoch_of_gain([1.0, 0.5, 0.0]) == pytest.approx(2.9)
    assert systems.epoch_of_gain([1.0, 0.02, 0.0]) == pytest.approx(1 + 0.95 / 0.98)
    assert systems.epoch_of_gain([1.0, -0.5, 0.0]) == pytest.approx(
        1 + 0.95 / 1.5
    )  # reached on the way, even if lost again
    assert systems.epoch_of_gain([1.0, 1.5]) is None
    assert systems.epoch_of_gain([1.0]) is None


def test_labels_are_made_again_from_the_data_folder(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world / "results" / "runs", tmp_path / "runs")
    (tmp_path / "data" / "celeba").mkdir(parents=True)
    shutil.copytree(world / "release", tmp_path / "data" / "celeba" / "official")
    monkeypatch.setenv("LINEAMENT_DATA", str(tmp_path / "data"))
    again, before = read_records(tmp_path), read_records(world / "results")
    assert [record.about for record in again] == [record.about for record in before]
    for one, other in zip(again, before, strict=True):
        np.testing.assert_array_equal(one.predictions.targets, other.predictions.targets)
        np.testing.assert_array_equal(one.predictions.known, other.predictions.known)
        np.testing.assert_array_equal(one.predictions.identity, other.predictions.identity)


def test_the_committed_page_is_fresh() -> None:
    labels = {json.loads(path.read_text("utf-8"))["labels"] for path in (ROOT / "results" / "runs").glob("*/run.json")}
    if (
        not all((ROOT / "results" / "labels" / f"{name}.npz").is_file() for name in labels)
        and not expand(OFFICIAL).is_dir()
    ):
        pytest.skip(
            "the committed runs are scored on CelebA's labels, which are not in the repository: LINEAMENT_DATA names "
            "no data folder"
        )
    assert systems.main(["--check"]) == 0, "run python scripts/systems.py"


def test_a_shipped_run_becomes_the_default_and_the_old_one_keeps_a_name(world: Path, tmp_path: Path) -> None:
    ship = script("ship")
    weights, kept = tmp_path / "weights", tmp_path / "systems"
    weights.mkdir()
    shutil.copy(world / "results" / "systems" / "baseline" / "model.onnx", weights / "default.onnx")
    shutil.copy(world / "runs" / "baseline-s0" / "model.safetensors", weights / "default.safetensors")
    old = (weights / "default.safetensors").read_bytes()
    before, after = ship.ship(world / "runs" / "far-amtn-s0", "v7", weights, kept)
    assert (before, after) == (kept / "v7" / "model.onnx", weights / "default.onnx")
    assert (kept / "v7" / "model.safetensors").read_bytes() == old
    assert [read_card(path).name for path in (before, after)] == ["v7", "default"]
    assert (read_card(before).document["architecture"], read_card(after).document["architecture"]) == (
        "baseline on toy",
        "far-amtn on toy",
    )
    assert json.loads((weights / "default.card.json").read_text("utf-8"))["file"] == "default.onnx"
    assert not (weights / "default.safetensors").exists(), "the new default is one file"
    ship.ship(world / "runs" / "baseline-s0", "v8", weights, kept, share=1.0)
    trained = world / "runs" / "far-amtn-s0" / "model.safetensors"
    one, two = (load_network_file(file)[0].state_dict() for file in (kept / "v8" / "model.onnx", trained))
    assert all(torch.equal(one[name], two[name]) for name in two), "and can be trained further after it lost the name"
    ship.ship(world / "runs" / "baseline-s0", "v7", weights, kept)
    assert read_card(before).document["architecture"] == "baseline on toy", "a name once given is not given again"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_between_two_networks_are_their_weighted_mean(world: Path, tmp_path: Path, share: float) -> None:
    ship = script("ship")
    old, new = (world / "runs" / f"{name}-s0" / "model.safetensors" for name in ("baseline", "far-amtn"))
    with pytest.raises(SystemExit, match="not of one network"):
        ship.between(old, new, share, tmp_path / "x.safetensors")
    tensors, header = load_tensors(old)
    moved = {name: tensor * 3 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    with safe_open(old, "pt") as file:
        save_file(moved, tmp_path / "new.safetensors", metadata=file.metadata())
    made = ship.between(old, tmp_path / "new.safetensors", share, tmp_path / "deep" / "mixed.safetensors")
    mixed, said = load_tensors(made)
    assert said == header
    for name, tensor in tensors.items():
        wanted = (
            tensor.numpy().astype(np.float64) * ((1 - share) + 3 * share)
            if tensor.is_floating_point()
            else tensor.numpy()
        )
        np.testing.assert_allclose(mixed[name].numpy().astype(np.float64), wanted, rtol=2e-3, atol=1e-6)
    with pytest.raises(SystemExit, match=r"0\.\.1"):
        ship.between(old, tmp_path / "new.safetensors", 1.5, tmp_path / "x.safetensors")


def test_a_run_that_was_given_masks_is_scored_with_those_of_each_image(tmp_path: Path) -> None:
    """Its exported file cannot have them, so torch answers; other masks would give other answers."""
    release = write_official(tmp_path / "release", make(60, seed=9))
    path = write_config(tmp_path / "given.yaml", "given", "mgmtn", tmp_path / "cache", mask="mean", width=16, hidden=16)
    record = json.loads(path.read_text())
    record["data"]["regions"] = str(tmp_path / "masks-{fingerprint}.npy")
    path.write_text(json.dumps(record))
    rng, source = np.random.default_rng(0), Official(release, "val")
    of_training = SyntheticSource(48).table
    masks = rng.integers(0, 256, (len(source.table), 8, 14, 12), np.uint8)
    np.save(tmp_path / f"masks-{of_training.fingerprint()}.npy", rng.integers(0, 256, (48, 8, 14, 12), np.uint8))
    where = ["--runs", tmp_path / "runs", "--results", tmp_path / "results", "--data", release, "--seeds", "0"]
    with pytest.raises(DataError, match="No cached array"):
        ablate.main([str(part) for part in (path, *where)])
    np.save(tmp_path / f"masks-{source.table.fingerprint()}.npy", masks)
    assert ablate.main([str(part) for part in (path, *where)]) == 0
    found = read_record(tmp_path / "results" / "runs" / "given-s0")
    network, _ = load_network_file(tmp_path / "runs" / "given-s0" / "model.safetensors")
    crops = np.concatenate(
        [stored_crop(load_image(source.read_bytes(row)).pixels)[0].pixels for row in range(len(source.table))]
    )
    with torch.no_grad():
        x = network.preprocess(torch.from_numpy(crops))
        given, mean = (
            network(x, region=region).logits.numpy() for region in (torch.from_numpy(masks).float() / 255, None)
        )
    np.testing.assert_allclose(found.predictions.raw, 1 / (1 + np.exp(-given)), atol=2e-3)
    assert np.abs(given - mean).max() > 0.05
