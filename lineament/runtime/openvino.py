"""OpenVINO (`[openvino]`): the fastest runtime on Intel and AMD processors.

    crops (N,3,218,178) -> N asynchronous requests of batch 1 -> logits (N,A)

Precision is always set: OpenVINO's own default is bf16 on processors that have it, ours is fp32 unless bf16 is asked for.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any

import numpy as np

from lineament.errors import MissingExtraError, ModelFileError
from lineament.runtime.card import Card
from lineament.runtime.network import Outputs, collect, model_id
from lineament.runtime.onnx_file import read_card
from lineament.runtime.threads import default_threads
from lineament.types import Crops, ModelOutput

_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoNetwork:
    """A network run by OpenVINO on the CPU: one face per request, one thread per stream, `threads` streams.

    Convention: safe to call from many threads; requests are shared, so at most `threads` faces compute at once whoever asks. After a fork
    the model is compiled anew in the child, with one thread.
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
        outputs: list[Outputs] = []
        for start in range(0, len(crops), self.threads):
            outputs += self._together(crops.pixels[start : start + self.threads])
        return collect(outputs, self.card.attributes)

    def _together(self, pixels: Any) -> list[Outputs]:
        """Run up to `threads` faces at once, each in a request of its own."""
        requests = [self._free.get()]
        with suppress(Empty):
            while len(requests) < len(pixels):
                requests.append(self._free.get_nowait())
        try:
            outputs: list[Outputs] = []
            for start in range(0, len(pixels), len(requests)):
                part = pixels[start : start + len(requests)]
                for request, single in zip(requests, part, strict=False):
                    request.start_async({"crops": np.ascontiguousarray(single[None])}, share_inputs=True)
                for request, _ in zip(requests, part, strict=False):
                    request.wait()
                    outputs.append(self._read(request))
            return outputs
        finally:
            for request in requests:
                self._free.put(request)

    def _read(self, request: Any) -> Outputs:
        maps = np.array(request.get_tensor("maps").data, np.float32) if self._has_maps else None
        return np.array(request.get_tensor("logits").data, np.float32), maps

    def _open(self) -> None:
        core, hints = _core(), _hints(self.precision, self.threads)
        try:
            model = core.read_model(str(self.path))
            model.reshape({"crops": [1, 3, 218, 178]})
            self._compiled = core.compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise ModelFileError(f"OpenVINO cannot load {self.path}: {str(error).splitlines()[-1]} Use --runtime onnx.") from error
        self._has_maps = any("maps" in output.get_names() for output in self._compiled.outputs)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.threads):
            self._free.put(self._compiled.create_infer_request())
        self._pid = os.getpid()

    def _reopen_after_fork(self) -> None:
        with self._lock:
            if os.getpid() != self._pid:
                self.threads = 1
                self._open()


def _core() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("OpenVINO", "openvino") from error
    return openvino.Core()


def _hints(precision: str, threads: int) -> dict[str, Any]:
    """Return the settings that fix what would otherwise depend on the processor: precision, streams, threads, pinning."""
    return {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }
