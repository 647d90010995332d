"""OpenVINO (`[openvino]`): the fastest runtime on Intel and AMD processors.

    crops (N,3,218,178) -> N requests of batch 1, up to `threads` at once -> logits (N,A)

Precision is always set: OpenVINO's own default is bf16 on processors that have it, ours is fp32 unless bf16 or int8 is asked for. What an int8 file
leaves in floating point (everything up to the first convolution, matrix products) is computed in bf16 where the processor does that, else in fp32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import MissingExtraError, ModelFileError
from lineament.runtime.lending import Lent
from lineament.runtime.network import FaceByFace
from lineament.types import Float, UInt8

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoNetwork(FaceByFace):
    """A network run by OpenVINO on the CPU; at most `threads` faces compute at once whoever asks.

    Convention: every request is a compilation of its own with a single stream, which computes on the thread that asks: streams of one compilation
    wait for each other where two networks alternate (measured: 258 against 366 pairs of detector and network a second on two cores).
    """

    def __init__(self, path: Path, *, precision: str = "fp32", threads: int | None = None) -> None:
        super().__init__(path, "openvino", precision, threads)

    def _face(self, single: UInt8) -> Float:
        return _answer(self._lent, single, "logits")

    def _maps(self, single: UInt8) -> Float:
        return _answer(self._lent_for_maps, single, "maps")

    def _open(self) -> None:
        def lent(output: str, most: int) -> Lent[Any]:
            return Lent(lambda: open_request(self.path, self.precision, (1, 3, 218, 178), output), most)

        self._lent, self._lent_for_maps = lent("logits", self.threads), lent("maps", 1)
        with self._lent.one():  # a damaged file is found now, not at the first photo
            pass


def _answer(lent: Lent[Any], single: UInt8, output: str) -> Float:
    with lent.one() as request:
        request.infer({"crops": single}, share_inputs=True)
        return np.array(request.get_tensor(output).data, np.float32)


def open_request(path: Path, precision: str, shape: tuple[int, ...] | None = None, output: str | None = None) -> Any:
    """Compile an ONNX file with one input and return a request for it that computes on the calling thread.

    Args: precision: fp32, bf16 or int8 (what the file holds in 8 bits, the rest in bf16 where the processor has it, else in fp32); shape: of the
    input, None for any; output: the only one wanted, so that nothing is computed for others; None for all.
    Raises: ModelFileError for a file that OpenVINO cannot read; MissingExtraError without OpenVINO.
    """
    core = _core()
    try:
        model = core.read_model(str(path))
        if shape is not None:
            model.reshape(list(shape))
        if output is not None:
            model = type(model)([model.output(output)], model.get_parameters())
        return core.compile_model(model, "CPU", _hints(_hint(core, precision))).create_infer_request()
    except RuntimeError as error:
        raise ModelFileError(f"OpenVINO cannot load {path}: {str(error).splitlines()[-1]} Use --runtime onnx.") from error


def _core() -> Any:
    try:
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
    """Return the settings that fix what would otherwise depend on the processor: precision, streams, threads, pinning."""
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
