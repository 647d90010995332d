"""A second network beside the attributes' one, run by OpenVINO at the same stated precision: the detector, whose input changes size.

feeds {name: array} -> outputs, as an ONNX Runtime session's `run(None, feeds)` gives them
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock, local
from typing import Any

import numpy as np

from lineament.runtime.openvino import _core, _hints


class OpenVinoSession:
    """An ONNX file compiled by OpenVINO for any input size, one request and one thread per caller, at most `threads` at once.

    Convention: safe to call from many threads, and after a fork (compiled anew in the child). One photo is one request: nothing is batched.
    """

    def __init__(self, path: Path, *, precision: str, threads: int) -> None:
        self.path, self.precision, self.threads = path, precision, threads
        self._lock = Lock()
        self._compile()

    def run(self, names: None, feeds: dict[str, Any]) -> list[Any]:
        """Return all outputs in the file's order, as arrays of the caller's own."""
        if os.getpid() != self._pid:
            with self._lock:
                if os.getpid() != self._pid:
                    self._compile()
        if getattr(self._mine, "request", None) is None:
            self._mine.request = self._compiled.create_infer_request()
        request = self._mine.request
        request.infer(feeds, share_inputs=True)
        return [np.array(request.get_output_tensor(index).data) for index in range(len(self._compiled.outputs))]

    def _compile(self) -> None:
        core = _core()
        self._compiled = core.compile_model(core.read_model(str(self.path)), "CPU", _hints(self.precision, self.threads))
        self._mine = local()
        self._pid = os.getpid()
