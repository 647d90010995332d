"""Sessions of the detector's networks, and the threads that one photo may use.

CpuSession   one file, a fixed number of threads, the same numbers each run
WideSession  several threads, opened when first needed, anew in a forked child
InFlight     how many photos are being searched: one alone may have all threads
in_threads   tiles and batches of views, side by side
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from lineament.errors import ModelFileError
from lineament.forks import never_end

T = TypeVar("T")
R = TypeVar("R")


class Session(Protocol):
    """What runs a network: ONNX Runtime's session, or another runtime's that is called like it."""

    def run(self, names: None, feeds: dict[str, Any]) -> Sequence[Any]: ...


class CpuSession:
    """An ONNX Runtime session on the CPU that gives the same numbers each run; pickled and copied by what it was opened
    from.

    Raises: ModelFileError if the file is missing or no ONNX model.
    """

    def __init__(self, path: str | Path, threads: int | None) -> None:
        import onnxruntime

        self._path, self._threads = Path(path).absolute(), threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.enable_mem_pattern = False  # photos differ in size: a plan of memory made anew for each costs more
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not self._path.is_file():
            raise ModelFileError(f"No detector at {path}. Give the path of an ONNX file.")
        state = onnxruntime.capi.onnxruntime_pybind11_state
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (state.Fail, state.InvalidProtobuf) as error:
            raise ModelFileError(f"{path} cannot be opened as an ONNX model ({error}).") from error
        self.run, self.get_inputs, self.get_outputs = (
            self._session.run,
            self._session.get_inputs,
            self._session.get_outputs,
        )

    def __reduce__(self) -> tuple[type[CpuSession], tuple[Path, int | None]]:
        return CpuSession, (self._path, self._threads)


class WideSession:
    """A `CpuSession` of several threads, opened when it first runs: the same numbers as with one, sooner.

    After a fork the child opens its own, since the threads of the first stay with the parent.
    """

    def __init__(self, path: str | Path, threads: int) -> None:
        self._path, self._threads = Path(path).absolute(), threads
        self._session: CpuSession | None = None
        _WIDE.add(self)

    def run(self, names: None, feeds: dict[str, Any]) -> Sequence[Any]:
        """Run the network. Raises: ModelFileError as CpuSession does."""
        session = self._session = self._session or CpuSession(self._path, self._threads)
        answer: Sequence[Any] = session.run(names, feeds)
        return answer

    def forget(self) -> None:
        """Open anew next time, without ending what is open."""
        never_end(self._session)
        self._session = None

    def __reduce__(self) -> tuple[type[WideSession], tuple[Path, int]]:
        return WideSession, (self._path, self._threads)


_WIDE: WeakSet[WideSession] = WeakSet()


def _forget_threads() -> None:
    for session in _WIDE:
        session.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_threads)


class InFlight:
    """How many photos are being searched at this moment (`with`). A copy in another process counts its own."""

    def __init__(self) -> None:
        self._lock, self._count = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1

    @property
    def alone(self) -> bool:
        """Whether it is one photo at most."""
        return self._count <= 1

    def __reduce__(self) -> tuple[type[InFlight], tuple[()]]:
        return InFlight, ()


def in_threads(work: Callable[[T], R], parts: Sequence[T], at_once: int) -> list[R]:
    """Return the work done on each part, in their order, by up to `at_once` threads."""
    if at_once == 1 or len(parts) <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(min(at_once, len(parts)), "detection") as pool:
        return list(pool.map(work, parts))
