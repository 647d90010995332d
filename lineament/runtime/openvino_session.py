"""A second network beside the attributes' one, run by OpenVINO at the same stated precision: the detector, whose input changes size.

feeds {name: array} -> outputs, as an ONNX Runtime session's `run(None, feeds)` gives them
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lineament.runtime.lending import Lent
from lineament.runtime.openvino import open_request

Size = tuple[int, int]


class OpenVinoSession:
    """An ONNX file with one input (1,h,w,3) compiled by OpenVINO for any size, one thread per caller, at most `threads` at once.

    Convention: safe to call from many threads, and after a fork (compiled anew in the child). One photo is one request: nothing is batched.
    Args: fixed: sizes (h, w) that come again and again; small: the longest side up to which other sizes share a compilation.
    """

    def __init__(self, path: Path, *, precision: str, threads: int, fixed: Sequence[Size] = (), small: int = 0) -> None:
        self.path, self.precision, self.threads, self.fixed, self.small = path, precision, threads, frozenset(fixed), small
        self._lock = Lock()
        self._open()
        with self._lent.one() as requests:  # a damaged file is found now
            requests.of((0, 0))

    def run(self, names: None, feeds: dict[str, Any]) -> list[Any]:
        """Return all outputs in the file's order, as arrays of the caller's own."""
        if os.getpid() != self._pid:
            with self._lock:
                if os.getpid() != self._pid:
                    self._open()
        _, height, width, _ = next(iter(feeds.values())).shape
        with self._lent.one() as requests:
            request = requests.of((height, width))
            request.infer(feeds, share_inputs=True)
            return [np.array(output.data) for output in request.output_tensors]

    def _open(self) -> None:
        self._lent = Lent(lambda: _Requests(self), self.threads)
        self._pid = os.getpid()


class _Requests:
    """One caller's requests. A compilation prepares itself anew whenever the size changes (2 ms, as much as a pass at 320 pixels takes), so the
    sizes that alternate on every photo have one each: those that are `fixed`, the small ones, all others."""

    def __init__(self, session: OpenVinoSession) -> None:
        self._session = session
        self._made: dict[Any, Any] = {}

    def of(self, size: Size) -> Any:
        session = self._session
        fixed = size in session.fixed
        key = size if fixed else bool(session.small) and max(size) <= session.small
        if key not in self._made:
            self._made[key] = open_request(session.path, session.precision, (1, *size, 3) if fixed else None)
        return self._made[key]
