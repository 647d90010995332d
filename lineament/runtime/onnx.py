"""ONNX Runtime: the default, and the only runtime of the core install. CPU, CUDA and CoreML providers.

crops (N,3,218,178) -> N runs of batch 1 -> logits (N,A)
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lineament.errors import ModelFileError, UsageError
from lineament.runtime.card import Card
from lineament.runtime.network import Outputs, collect, model_id, run_each
from lineament.runtime.onnx_file import read_card
from lineament.runtime.threads import default_threads
from lineament.types import Crops, ModelOutput, UInt8

_PROVIDERS = {"onnx": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}
_INSTALL = {
    "cuda": "pip install onnxruntime-gpu (in place of onnxruntime), with the CUDA libraries it names",
    "coreml": "pip install onnxruntime on macOS",
}


class OnnxNetwork:
    """A network run by ONNX Runtime, one face per run and one thread per run; `threads` runs at once.

    Convention: safe to call from many threads, and after a fork (the session is made anew in the child, with one thread, because its
    siblings want the other CPUs). The provider asked for is the one used: there is no falling back to the CPU.
    """

    def __init__(self, path: Path, *, runtime: str = "onnx", precision: str = "fp32", threads: int | None = None) -> None:
        check_provider(runtime)
        self.path, self.runtime, self.precision = path, runtime, precision
        self.card: Card = read_card(path)
        self.id = model_id(self.card)
        self.threads = default_threads() if threads is None else threads
        self._lock = Lock()
        self._open()

    def __call__(self, crops: Crops) -> ModelOutput:
        """Return the logits (N,A) of N crops. Zero crops give zero rows."""
        if os.getpid() != self._pid:
            self._reopen_after_fork()
        return collect(run_each(self._face, crops.pixels, self._pool, self.threads), self.card.attributes)

    def _face(self, single: UInt8) -> Outputs:
        answers = self._session.run(self._names, {"crops": single})
        return np.asarray(answers[0], np.float32), np.asarray(answers[1], np.float32) if len(answers) > 1 else None

    def _open(self) -> None:
        self._session = open_session(self.path, _PROVIDERS[self.runtime])
        given = {output.name: output.shape for output in self._session.get_outputs()}
        if "logits" not in given or [entry.name for entry in self._session.get_inputs()] != ["crops"]:
            raise ModelFileError(
                f"{self.path} must take `crops` and give `logits`; it gives {sorted(given)}. Export it again with `lineament export`."
            )
        if given["logits"][-1] != len(self.card.attributes):
            raise ModelFileError(
                f"{self.path} gives {given['logits'][-1]} logits, its card names {len(self.card.attributes)} attributes. Export it again."
            )
        self._names = ["logits", "maps"] if "maps" in given else ["logits"]
        self._pool = ThreadPoolExecutor(self.threads, "attributes") if self.threads > 1 else None
        self._pid = os.getpid()

    def _reopen_after_fork(self) -> None:
        with self._lock:
            if os.getpid() != self._pid:
                self.threads = 1
                self._open()


def check_provider(runtime: str) -> None:
    """Raise UsageError naming the install where ONNX Runtime here lacks the provider a runtime needs."""
    import onnxruntime

    if _PROVIDERS[runtime] not in onnxruntime.get_available_providers():
        raise UsageError(f"--runtime {runtime} is not available in this installation. Install it with: {_INSTALL[runtime]}.")


def open_session(path: Path, provider: str = "CPUExecutionProvider") -> Any:
    """Open an ONNX Runtime session that computes on the calling thread only.

    Raises: ModelFileError for a damaged file; UsageError where the provider could not start.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except _load_errors() as error:
        raise ModelFileError(f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0]} Fetch or export it again.") from error
    if session.get_providers()[0] != provider:
        raise UsageError(f"ONNX Runtime could not start {provider} and offered {session.get_providers()[0]} instead. Use --runtime onnx.")
    return session


def _load_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidGraph", "InvalidProtobuf", "InvalidArgument", "NotImplemented", "NoSuchFile", "RuntimeException")
    return tuple(getattr(state, name) for name in names)
