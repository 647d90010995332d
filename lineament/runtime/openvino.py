"""OpenVINO (`[openvino]`): the fastest runtime on Intel and AMD processors.

    crops (N,3,218,178) -> N requests of batch 1, up to `threads` at once -> logits (N,A)

Precision is always set: OpenVINO's own default is bf16 on processors that have it, ours is fp32 unless bf16 or int8 is
asked for. What an int8 file leaves in floating point (everything up to the first convolution, matrix products) is
computed in bf16 where the processor does that, else in fp32.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lineament.errors import MissingExtraError, ModelFileError
from lineament.forks import never_end
from lineament.offline import without_intels_reporter
from lineament.runtime.network import FaceByFace
from lineament.runtime.resource_pool import ResourcePool
from lineament.types import Float32, UInt8

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoNetwork(FaceByFace):
    """A network run by OpenVINO on the CPU; at most `threads` faces compute at once whoever asks.

    Convention: every request is a compilation of its own with a single stream, which computes on the thread that asks:
    streams of one compilation wait for each other where two networks alternate (measured: 258 against 366 pairs of
    detector and network a second on two cores).
    """

    def __init__(self, path: Path, *, precision: str = "fp32", threads: int | None = None) -> None:
        super().__init__(path, "openvino", precision, threads)

    def _face(self, single: UInt8) -> Float32:
        return _answer(self._lent, single, "logits")

    def _maps(self, single: UInt8) -> Float32:
        return _answer(self._lent_for_maps, single, "maps")

    def _face_and_features(self, single: UInt8) -> Float32:
        with self._lent_with_features.one() as request:
            request.infer({"crops": single}, share_inputs=True)
            return np.concatenate(
                [request.get_tensor(name).data for name in ("logits", "features")], axis=1, dtype=np.float32
            )

    @cached_property
    def has_features(self) -> bool:
        """Whether the file gives `features`."""
        return has_output(self.path, "features")

    def _open(self) -> None:
        def lent(most: int, *outputs: str) -> ResourcePool[Any]:
            return ResourcePool(lambda: open_request(self.path, self.precision, (1, 3, 218, 178), outputs), most)

        never_end([getattr(self, name, None) for name in ("_lent", "_lent_for_maps", "_lent_with_features")])
        self._lent, self._lent_for_maps = lent(self.threads, "logits"), lent(1, "maps")
        self._lent_with_features = lent(self.threads, "logits", "features")
        with self._lent.one():  # a damaged file is found now, not at the first photo
            pass


def _answer(lent: ResourcePool[Any], single: UInt8, output: str) -> Float32:
    with lent.one() as request:
        request.infer({"crops": single}, share_inputs=True)
        return np.array(request.get_tensor(output).data, np.float32)


def has_output(path: Path, name: str) -> bool:
    """Return whether an ONNX file has an output of this name."""
    return any(name in output.names for output in _core().read_model(str(path)).outputs)


def open_request(path: Path, precision: str, shape: tuple[int, ...] | None = None, outputs: Sequence[str] = ()) -> Any:
    """Compile an ONNX file with one input and return a request for it that computes on the calling thread.

    Args: precision: fp32, bf16 or int8 (what the file holds in 8 bits, the rest in bf16 where the processor has it,
    else in fp32); shape: of the input, None for any; outputs: the only ones wanted, so that nothing is computed for
    others; none for all.
    Raises: ModelFileError for a file that OpenVINO cannot read; MissingExtraError without OpenVINO.
    """
    core = _core()
    try:
        model = core.read_model(str(path))
        if shape is not None:
            model.reshape(list(shape))
        if outputs:
            model = type(model)([model.output(name) for name in outputs], model.get_parameters())
        return core.compile_model(model, "CPU", _hints(_hint(core, precision))).create_infer_request()
    except RuntimeError as error:
        raise ModelFileError(
            f"OpenVINO cannot load {path}: {str(error).splitlines()[-1]} Use --runtime onnx."
        ) from error


def _core() -> Any:
    try:
        with without_intels_reporter():
            import openvino
    except ImportError as error:
        raise MissingExtraError("OpenVINO", "openvino") from error
    return openvino.Core()


def _hint(core: Any, precision: str) -> str:
    """Return OpenVINO's name of the precision in which floating point is computed here."""
    if precision == "int8":
        return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    return _PRECISIONS[precision]


def _hints(precision: str) -> dict[str, Any]:
    """Return the settings that fix what would otherwise depend on the processor: precision, streams, threads,
    pinning."""
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }


class OpenVinoSession:
    """An ONNX file with one input (1,h,w,3) compiled by OpenVINO for any size, one thread per caller, at most `threads`
    at once.

    Convention: safe to call from many threads, and after a fork (compiled anew in the child). One photo is one request:
    nothing is batched.
    Args: fixed: sizes (h, w) that come again and again; small: the longest side up to which other sizes share a
        compilation.
    """

    def __init__(
        self, path: Path, *, precision: str, threads: int, fixed: Sequence[tuple[int, int]] = (), small: int = 0
    ) -> None:
        self.path, self.precision, self.threads, self.fixed, self.small = (
            path,
            precision,
            threads,
            frozenset(fixed),
            small,
        )
        self._lock = Lock()
        self._open()
        with self._lent.one() as requests:  # a damaged file is found now
            requests.of((0, 0))

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if name in ("path", "precision", "threads", "fixed", "small")
        }

    def __setstate__(self, recipe: dict[str, Any]) -> None:
        OpenVinoSession.__init__(self, **recipe)

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
        never_end(getattr(self, "_lent", None))
        self._lent = ResourcePool(lambda: _Requests(self), self.threads)
        self._pid = os.getpid()


class _Requests:
    """One caller's requests. A compilation prepares itself anew whenever the size changes (2 ms, as much as a pass at
    320 pixels takes), so the sizes that alternate on every photo have one each: those that are `fixed`, the small ones,
    all others."""

    def __init__(self, session: OpenVinoSession) -> None:
        self._session = session
        self._made: dict[Any, Any] = {}

    def of(self, size: tuple[int, int]) -> Any:
        session = self._session
        fixed = size in session.fixed
        key = size if fixed else bool(session.small) and max(size) <= session.small
        if key not in self._made:
            self._made[key] = open_request(session.path, session.precision, (1, *size, 3) if fixed else None)
        return self._made[key]
