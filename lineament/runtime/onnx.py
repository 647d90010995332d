"""ONNX Runtime: the default, and the only runtime of the core install. CPU, CUDA and CoreML providers.

crops (N,3,218,178) -> N runs of batch 1 -> logits (N,A)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import ModelFileError, UsageError
from lineament.runtime.network import FaceByFace
from lineament.types import Float32, UInt8

_PROVIDERS = {"onnx": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "coreml": "CoreMLExecutionProvider"}
_INSTALL = {
    "cuda": "pip install onnxruntime-gpu (in place of onnxruntime), with the CUDA libraries it names",
    "coreml": "pip install onnxruntime on macOS",
}


class OnnxNetwork(FaceByFace):
    """A network run by ONNX Runtime. The provider asked for is the one used: there is no falling back to the CPU."""

    def __init__(
        self, path: Path, *, runtime: str = "onnx", precision: str = "fp32", threads: int | None = None
    ) -> None:
        check_provider(runtime)
        super().__init__(path, runtime, precision, threads)

    def _face(self, single: UInt8) -> Float32:
        return np.asarray(self._session.run(["logits"], {"crops": single}, self._only)[0], np.float32)

    def _maps(self, single: UInt8) -> Float32:
        return np.asarray(self._session.run(["maps"], {"crops": single}, self._only)[0], np.float32)

    def _face_and_features(self, single: UInt8) -> Float32:
        return np.concatenate(
            self._session.run(["logits", "features"], {"crops": single}, self._only), axis=1, dtype=np.float32
        )

    @property
    def has_features(self) -> bool:
        return self._has_features

    def _open(self) -> None:
        self._session = open_session(self.path, _PROVIDERS[self.runtime])
        given = {output.name: output.shape for output in self._session.get_outputs()}
        if "logits" not in given or [entry.name for entry in self._session.get_inputs()] != ["crops"]:
            raise ModelFileError(
                f"{self.path} must take `crops` and give `logits`; it gives {sorted(given)}. Export it again with "
                "`lineament export`."
            )
        if given["logits"][-1] != len(self.card.attributes):
            raise ModelFileError(
                f"{self.path} gives {given['logits'][-1]} logits, its card names {len(self.card.attributes)} "
                "attributes. Export it again."
            )
        self._has_features = "features" in given
        self._only = only_what_is_fetched()


def check_provider(runtime: str) -> None:
    """Raise UsageError naming the install where ONNX Runtime here lacks the provider a runtime needs."""
    import onnxruntime

    if _PROVIDERS[runtime] not in onnxruntime.get_available_providers():
        raise UsageError(
            f"--runtime {runtime} is not available in this installation. Install it with: {_INSTALL[runtime]}."
        )


def only_what_is_fetched() -> Any:
    """Return run options by which ONNX Runtime leaves out what no fetched output needs."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return options


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
        raise ModelFileError(
            f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0]} Fetch or export it again."
        ) from error
    if session.get_providers()[0] != provider:
        raise UsageError(
            f"ONNX Runtime could not start {provider} and offered {session.get_providers()[0]} instead. Use --runtime "
            "onnx."
        )
    return session


def _load_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "Fail",
        "InvalidGraph",
        "InvalidProtobuf",
        "InvalidArgument",
        "NotImplemented",
        "NoSuchFile",
        "RuntimeException",
    )
    return tuple(getattr(state, name) for name in names)
