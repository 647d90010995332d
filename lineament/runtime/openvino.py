"""OpenVINO (`[openvino]`): the fastest runtime on Intel and AMD processors.

    crops (N,3,218,178) -> N requests of batch 1, up to `threads` at once -> logits (N,A)

Precision is always set: OpenVINO's own default is bf16 on processors that have it, ours is fp32 unless bf16 is asked for.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lineament.errors import MissingExtraError, ModelFileError
from lineament.runtime.card import Card
from lineament.runtime.lending import Lent
from lineament.runtime.network import Outputs, collect, model_id, run_each
from lineament.runtime.onnx_file import read_card
from lineament.runtime.threads import default_threads
from lineament.types import Crops, ModelOutput, UInt8

_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoNetwork:
    """A network run by OpenVINO on the CPU: one face per request, one thread per request, `threads` requests at once.

    Convention: safe to call from many threads; at most `threads` faces compute at once whoever asks. Every request is a compilation of its own
    with a single stream, which computes on the thread that asks: streams of one compilation wait for each other where two networks alternate
    (measured: 258 against 366 pairs of detector and network a second on two cores). After a fork the model is compiled anew, with one thread.
    """

    runtime = "openvino"

    def __init__(self, path: Path, *, precision: str = "fp32", threads: int | None = None) -> None:
        self.path, self.precision = path, precision
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
        with self._lent.one() as request:
            request.infer({"crops": single}, share_inputs=True)
            maps = np.array(request.get_tensor("maps").data, np.float32) if self._has_maps else None
            return np.array(request.get_tensor("logits").data, np.float32), maps

    def _open(self) -> None:
        self._lent = Lent(lambda: open_request(self.path, self.precision, (1, 3, 218, 178)), self.threads)
        with self._lent.one() as request:  # a damaged file is found now, not at the first photo
            names = {name for output in request.model_outputs for name in output.get_names()}
        self._has_maps = "maps" in names
        self._pool = ThreadPoolExecutor(self.threads, "attributes") if self.threads > 1 else None
        self._pid = os.getpid()

    def _reopen_after_fork(self) -> None:
        with self._lock:
            if os.getpid() != self._pid:
                self.threads = 1
                self._open()


def open_request(path: Path, precision: str, shape: tuple[int, ...] | None = None) -> Any:
    """Compile an ONNX file with one input and return a request for it that computes on the calling thread.

    Args: precision: fp32, bf16 or int8 (what the file holds in 8 bits, the rest in fp32); shape: of the input, None for any.
    Raises: ModelFileError for a file that OpenVINO cannot read; MissingExtraError without OpenVINO.
    """
    core = _core()
    try:
        model = core.read_model(str(path))
        if shape is not None:
            model.reshape(list(shape))
        return core.compile_model(model, "CPU", _hints(precision)).create_infer_request()
    except RuntimeError as error:
        raise ModelFileError(f"OpenVINO cannot load {path}: {str(error).splitlines()[-1]} Use --runtime onnx.") from error


def _core() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("OpenVINO", "openvino") from error
    return openvino.Core()


def _hints(precision: str) -> dict[str, Any]:
    """Return the settings that fix what would otherwise depend on the processor: precision, streams, threads, pinning."""
    return {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
