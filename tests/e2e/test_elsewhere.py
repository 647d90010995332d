"""A model in other processes: pickled, copied, in a spawn pool, in a child made by fork."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import lineament
from lineament.outputs.sinks import record_line

PORTRAIT = Path(lineament.__file__).parent / "weights" / "astronaut.jpg"


def line(model: Any) -> bytes:
    return record_line(model.analyze(PORTRAIT))


def load(runtime: str) -> Any:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    return lineament.load(runtime=runtime, threads=1, profile="all")


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_copy_answers_to_the_byte(runtime: str) -> None:
    model = load(runtime)
    for twin in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        assert twin.settings == model.settings
        assert line(twin) == line(model)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize(("runtime", "precision"), [("onnx", None), ("openvino", None), ("openvino", "bf16")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_answers_to_the_byte(
    method: str, runtime: str, precision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    load(runtime)
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "tests" / "e2e")]))
    model = lineament.load(runtime=runtime, precision=precision, threads=1, profile="all")
    want = line(model)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map_async(line, [model]).get(240) == [want]
