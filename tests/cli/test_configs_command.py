"""`lineament configs`, and how `train` chooses a config, its data and its values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lineament.cli import app
from lineament.cli.config_options import chosen, repeated
from lineament.config import configs_folder, find_config, list_configs, load_config, with_data, with_values
from lineament.data.synthetic import make
from lineament.data.synthetic_files import write_official
from lineament.errors import ConfigError

pytest.importorskip("yaml")


def test_without_its_library_names_are_listed_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = CliRunner().invoke(app, ["configs"])
    assert found.exit_code == 0
    assert [line.strip() for line in found.stdout.splitlines()[1:]] == list(list_configs())
    assert "lineament[train]" in found.stderr
    rows = json.loads(CliRunner().invoke(app, ["configs", "--json", "-"]).stdout)
    assert [set(row) for row in rows] == [{"name", "file"}] * len(list_configs())
    assert CliRunner().invoke(app, ["configs", "v1"]).stdout == find_config("v1").read_text()


def test_configs_are_listed_and_printed_by_name() -> None:
    found = CliRunner().invoke(app, ["configs", "--json", "-"])
    rows = {row["name"]: row for row in json.loads(found.stdout)}
    assert set(rows) == set(list_configs())
    assert rows["mgmtn-celeba"]["network"] == "mgmtn"
    assert rows["mgmtn-celeba"]["backbone"] == "resnest50d"
    assert CliRunner().invoke(app, ["configs", "mgmtn-celeba"]).stdout == find_config("mgmtn-celeba").read_text()
    assert "dmm-cnn-lfwa" in CliRunner().invoke(app, ["configs"]).stdout


def test_a_name_that_is_none_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Nearest names: .*mgmtn-celeba"):
        find_config("mgmtn-celebs")
    assert find_config(configs_folder() / "shipped" / "v0.yaml").is_file()


def test_every_config_is_package_data() -> None:
    listed = {path.relative_to(configs_folder()).as_posix() for path in list_configs().values()}
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")
    project = tomllib.loads((configs_folder().parents[1] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["lineament"]
    files = (path for pattern in patterns for path in configs_folder().parent.glob(pattern) if path.suffix == ".yaml")
    packed = {path.relative_to(configs_folder()).as_posix() for path in files}
    assert listed == packed


def test_values_are_set_by_dotted_key() -> None:
    config = load_config("mgmtn-celeba")
    changed = with_values(
        config, ["optimiser.lr=1e-3", "model.options.dropout=0.1", "augment.crop=[200, 170]", "data.cache=null"]
    )
    assert (changed.optimiser.lr, changed.model.options["dropout"], changed.augment.crop, changed.data.cache) == (
        1e-3,
        0.1,
        (200, 170),
        None,
    )
    assert with_values(config, []) == config
    for pair, words in (("lr", "key=value"), ("optimiser.rate=1", "Unknown key optimiser.rate"),
    ("optimiser.lr.x=1", "lr is no section"),
                        ("optimiser.lr=quick", "expected a number"), ("seed=[", "not YAML")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            with_values(config, [pair])


def test_the_layout_of_given_data_is_seen(tmp_path: Path) -> None:
    config = load_config("mgmtn-celeba")
    release = write_official(tmp_path / "release", make(4))
    assert with_data(config, release).data.layout == "official"
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train-0.parquet").touch()
    assert with_data(config, tmp_path / "hub").data.layout == "parquet"
    assert with_data(load_config("mgmtn-lfwa"), release).data.layout == "lfwa"
    with pytest.raises(ConfigError, match="is not there"):
        with_data(config, tmp_path / "none")


def test_the_command_line_can_be_said_again(tmp_path: Path) -> None:
    data = tmp_path / "a b"
    data.mkdir()
    found = chosen("mgmtn-celeba", data=data, device="cuda:1", values=["seed=3"])
    assert (found.optimiser.device, found.data.path, found.seed) == ("cuda:1", str(data), 3)
    said = repeated("mgmtn-celeba", data=data, device="cuda:1", values=["seed=3"])
    assert said == f"--config mgmtn-celeba --data '{data}' --device cuda:1 --set seed=3"


def test_cuda_without_a_card_is_one_sentence(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    release = write_official(tmp_path / "release", make(4))
    command = [
        sys.executable,
        "-m",
        "lineament",
        "train",
        "--config",
        "mgmtn-celeba",
        "--data",
        str(release),
        "--device",
        "cuda",
    ]
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "torch sees no CUDA card here. Use" in done.stderr
    assert not (tmp_path / "runs").exists(), "nothing was decoded or written"
