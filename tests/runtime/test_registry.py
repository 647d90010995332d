"""Names, paths, precisions and the probe behind `--runtime auto`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from toy_model import toy_card, write_toy_model

from lineament.errors import ModelFileError, UsageError
from lineament.runtime import probe, registry
from lineament.runtime.onnx_file import read_card
from lineament.runtime.registry import list_models, load_network, resolve_model


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with default, v0 and a detector, and a checkout with one trained system."""
    weights, systems = tmp_path / "weights", tmp_path / "systems"
    weights.mkdir()
    (systems / "mgmtn").mkdir(parents=True)
    write_toy_model(weights / "default.onnx", card=toy_card(name="default"))
    write_toy_model(weights / "default.int8.onnx", seed=1, card=toy_card(name="default"))
    write_toy_model(weights / "v0.onnx", seed=2, card=toy_card(name="v0"))
    write_toy_model(weights / "retinaface.onnx", with_card=False)
    write_toy_model(systems / "mgmtn" / "model.onnx", seed=3, card=toy_card(name="mgmtn"))
    monkeypatch.setattr(registry, "weights_folder", lambda: weights)
    monkeypatch.setattr(registry, "systems_folder", lambda: systems)
    monkeypatch.setenv("LINEAMENT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_names_found(house: Path) -> None:
    assert [(entry.name, entry.precision) for entry in list_models()] == [
        ("default", "fp32"),
        ("default", "int8"),
        ("v0", "fp32"),
        ("mgmtn", "fp32"),
    ]
    assert load_network("v0").card.name == "v0"
    assert load_network("mgmtn").id.startswith("mgmtn@")
    assert load_network(house / "weights" / "v0.onnx").card.name == "v0"


def test_int8_is_a_file_of_its_own(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.runtime.threads.int8_is_exact", lambda: True)
    plain, int8 = load_network("default"), load_network("default", precision="int8")
    assert (plain.precision, int8.precision) == ("fp32", "int8")
    assert plain.id != int8.id
    with pytest.raises(ModelFileError, match="has no int8 file"):
        load_network("v0", precision="int8")
    with pytest.raises(ModelFileError, match=r"v0\.int8\.onnx"):
        load_network(house / "weights" / "v0.onnx", precision="int8")
    assert load_network(house / "weights" / "default.onnx", precision="int8").id == int8.id


def test_a_file_is_never_said_to_be_of_another_precision(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.runtime.threads.int8_is_exact", lambda: True)
    assert load_network(house / "weights" / "default.int8.onnx").precision == "int8"
    with pytest.raises(UsageError, match="holds an int8 network"):
        load_network(house / "weights" / "default.int8.onnx", precision="fp32")
    monkeypatch.setattr("lineament.runtime.threads.int8_is_exact", lambda: False)
    with pytest.raises(UsageError, match="saturates"):
        load_network(house / "weights" / "default.int8.onnx")


def test_int8_is_refused_where_it_saturates(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.runtime.threads.int8_is_exact", lambda: False)
    with pytest.raises(UsageError, match="saturates"):
        load_network("default", precision="int8")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"name_or_path": "nope"}, ModelFileError, "Known: default, mgmtn, v0"),
        ({"name_or_path": "dmm-cnn"}, ModelFileError, "trained system"),
        ({"name_or_path": "gone/model.onnx"}, ModelFileError, "There is no model file"),
        ({"runtime": "tpu"}, UsageError, "onnx, openvino, cuda, coreml, auto"),
        ({"runtime": "cuda"}, UsageError, "onnxruntime-gpu"),
        ({"precision": "fp8"}, UsageError, "fp32, bf16, int8"),
        ({"threads": 0}, UsageError, "at least 1"),
    ],
)
def test_errors_name_the_fix(house: Path, arguments: dict[str, object], error: type[Exception], says: str) -> None:
    if arguments.get("runtime") == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this machine has the CUDA provider")
    with pytest.raises(error, match=says):
        load_network(**arguments)  # type: ignore[arg-type]


def test_auto_measures_once_and_remembers(house: Path) -> None:
    told: list[str] = []
    first = load_network("default", "auto", notify=told.append)
    second = load_network("default", "auto", notify=told.append)
    assert first.runtime == second.runtime
    assert first.precision == second.precision == "fp32"
    assert "ms per" in told[0]
    assert "measured earlier" in told[1]
    assert list(json.loads((house / "cache" / "runtime-probe.json").read_text()).values()) == [first.runtime]


def test_auto_forgets_another_model_and_never_changes_precision(house: Path) -> None:
    pytest.importorskip("openvino")
    told: list[str] = []
    load_network("default", "auto", notify=told.append)
    load_network("v0", "auto", notify=told.append)
    assert "ms per" in told[1]
    assert load_network("default", "auto", "bf16").runtime == "openvino"  # the only one that computes in bf16


def test_a_damaged_or_readonly_cache_only_costs_the_probe(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe.cache_folder().mkdir(parents=True)
    (probe.cache_folder() / "runtime-probe.json").write_text("{ torn")
    assert load_network("default", "auto").runtime in probe.CANDIDATES
    shutil.rmtree(probe.cache_folder())
    probe.cache_folder().write_text("a file where the folder should be")
    assert load_network("default", "auto").runtime in probe.CANDIDATES


def test_a_path_that_looks_like_a_name(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house / "weights")
    shutil.copy("v0.onnx", "mine")
    assert resolve_model("mine").path == Path("mine")


def test_every_model_listed_here_carries_a_card() -> None:
    """The package's own weights: detector and eye network lie in the same folder, and are no models to name."""
    assert {entry.name for entry in list_models()} >= {"default"}
    assert [read_card(entry.path).name for entry in list_models() if entry.precision == "fp32"] == [
        entry.name for entry in list_models() if entry.precision == "fp32"
    ]
