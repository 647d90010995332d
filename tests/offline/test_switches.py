"""The switches themselves: off before the library loads, and no choice of the program's own is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, **environment: str) -> str:
    """Return what a fresh interpreter prints. Its environment has none of the switches but those given."""
    switches = (
        "ORT_DISABLE_TELEMETRY",
        "RAY_USAGE_STATS_ENABLED",
        "NNCF_CI",
        "MPLCONFIGDIR",
        "HF_HUB_DISABLE_TELEMETRY",
    )
    clean = {name: value for name, value in os.environ.items() if name not in switches}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SAY = "import os; print(os.environ.get('ORT_DISABLE_TELEMETRY'))"


def test_importing_the_package_switches_onnx_runtime_off_before_it_loads() -> None:
    assert run(f"import sys, lineament; assert 'onnxruntime' not in sys.modules; {SAY}") == "1"
    assert run(f"import lineament.runtime.onnx, lineament.serve.workers; {SAY}") == "1"


@pytest.mark.parametrize("chosen", ["0", "1", "", "yes"])
def test_a_choice_in_the_environment_stays(chosen: str) -> None:
    assert run(f"import lineament; {SAY}", ORT_DISABLE_TELEMETRY=chosen) == chosen


def test_a_library_that_the_program_has_loaded_is_its_own_business() -> None:
    assert run(f"import sys; sys.modules['onnxruntime'] = type(sys)('onnxruntime'); import lineament; {SAY}") == "None"


def test_a_spawned_worker_is_silent_though_its_parent_chose_nothing() -> None:
    """The parent's ONNX Runtime was loaded by its own program; the workers are ours."""
    code = f"""
import sys, types
sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')
import multiprocessing, os, lineament.runs.processes
if __name__ == '__main__':
    sys.modules.pop('onnxruntime')
    child = multiprocessing.get_context('spawn').Process(target=eval, args=("__import__('lineament') and print(__import__('os').environ.get('ORT_DISABLE_TELEMETRY'), flush=True)",))
    child.start(); child.join()
    {SAY}
"""  # noqa: E501
    assert run(code).split() == ["1", "None"]


def test_intels_reporter_is_hidden_while_openvino_loads_and_only_then(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    load = "from lineament.runtime.openvino import _core; _core(); "
    assert run(f"{load}import openvino_telemetry; print('there')", HOME=str(tmp_path)) == "there"
    assert not list(tmp_path.rglob("*"))


def test_intels_own_consent_file_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lineament.offline import without_intels_reporter

    monkeypatch.setattr("lineament.offline._consent_file", lambda: tmp_path / "openvino_telemetry")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    with without_intels_reporter():
        assert sys.modules["openvino_telemetry"] is None
    assert "openvino_telemetry" not in sys.modules
    (tmp_path / "openvino_telemetry").write_text("1")
    with without_intels_reporter():
        assert "openvino_telemetry" not in sys.modules


def test_nncf_and_ray_are_told_before_they_load(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    told = run(
        "from lineament.export.quantise import _nncf; nncf, _ = _nncf(); from nncf.telemetry import wrapper; "
        "print(type(wrapper.telemetry).__name__)",
        HOME=str(tmp_path),
    )
    assert told == "MagicMock"
    assert not list(tmp_path.rglob("*"))
    pytest.importorskip("ray")
    enabled = "from ray._common.usage import usage_lib; print(usage_lib.usage_stats_enabled())"
    assert run(f"from lineament.runs.ray_cluster import ray_data; ray_data(); {enabled}", HOME=str(tmp_path)) == "False"
    assert (
        run(
            f"from lineament.runs.ray_cluster import ray_data; ray_data(); {enabled}",
            HOME=str(tmp_path),
            RAY_USAGE_STATS_ENABLED="1",
        )
        == "True"
    )


def test_charts_leave_no_font_list_in_home(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = run(
        "from lineament.report.figures import _pyplot; _pyplot(); import os; print(os.environ['MPLCONFIGDIR'])",
        HOME=str(tmp_path),
    )
    assert not list(tmp_path.rglob("*"))
    assert not Path(folder).exists()
    kept = run(
        "from lineament.report.figures import _pyplot; _pyplot(); import os; print(os.environ['MPLCONFIGDIR'])",
        MPLCONFIGDIR=str(tmp_path),
    )
    assert kept == str(tmp_path)


def test_the_hub_that_timm_loads_counts_nothing() -> None:
    pytest.importorskip("timm")
    assert run("import lineament.models.backbone, os; print(os.environ['HF_HUB_DISABLE_TELEMETRY'])") == "1"
