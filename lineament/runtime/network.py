"""The network interface of every runtime: crops in, logits out, one face at a time.

crops (N,3,218,178) uint8 RGB -> logits (N,A) float32
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lineament.errors import ModelFileError
from lineament.runtime.card import Card
from lineament.runtime.onnx_file import read_card
from lineament.runtime.threads import default_threads
from lineament.types import Crops, Float32, ModelOutput, UInt8


@runtime_checkable
class Network(Protocol):
    """A loaded model. `id` is what records show; `runtime` and `precision` say how it computes, and never change by
    themselves."""

    card: Card

    @property
    def id(self) -> str: ...

    @property
    def runtime(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def __call__(self, crops: Crops) -> ModelOutput: ...

    def with_maps(self, crops: Crops) -> ModelOutput: ...

    def with_features(self, crops: Crops) -> ModelOutput: ...


def model_id(card: Card) -> str:
    """Return NAME@XXXXXXXX, the last part being the start of the file's SHA-256."""
    return f"{card.name}@{(card.file_sha256 or '0' * 8)[:8]}"


class FaceByFace(ABC):
    """What the runtimes share: one face per run and one thread per run, `threads` runs at once, and a fresh start after
    a fork.

    Convention: safe to call from many threads. A face never shares a batch, so its logits cannot depend on its
    neighbours. In a forked child the model is opened anew, with one thread, because its siblings want the other CPUs.
    Pickled and copied by its recipe (path, runtime, precision, threads): the other process opens the same file.
    """

    def __init__(self, path: Path, runtime: str, precision: str, threads: int | None) -> None:
        self.path, self.runtime, self.precision = path, runtime, precision
        self.card: Card = read_card(path)
        self.id = model_id(self.card)
        self.threads = default_threads() if threads is None else threads
        self._lock = Lock()
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "path": self.path.absolute(),
            "runtime": self.runtime,
            "precision": self.precision,
            "threads": self.threads,
            "id": self.id,
        }

    def __setstate__(self, recipe: dict[str, Any]) -> None:
        """Load the same file anew: what `pickle` and `copy` do. Raises: ModelFileError where it is another file now."""
        FaceByFace.__init__(self, recipe["path"], recipe["runtime"], recipe["precision"], recipe["threads"])
        if self.id != recipe["id"]:
            raise ModelFileError(
                f"{self.path} holds {self.id} now, not {recipe['id']}. Load the model anew in this process."
            )

    @abstractmethod
    def _open(self) -> None:
        """Open the model for `self.threads` runs at once."""

    @abstractmethod
    def _face(self, single: UInt8) -> Float32:
        """Return the logits (1,A) of one crop (1,3,218,178)."""

    @abstractmethod
    def _maps(self, single: UInt8) -> Float32:
        """Return the maps (1,M,h,w) of one crop (1,3,218,178); asked only of files whose card names maps. Safe to call
        from many threads."""

    @abstractmethod
    def _face_and_features(self, single: UInt8) -> Float32:
        """Return logits and features side by side (1,A+D) of one crop, in one pass; asked only of files that have
        `features`."""

    @property
    @abstractmethod
    def has_features(self) -> bool:
        """Whether the file gives `features`."""

    def __call__(self, crops: Crops) -> ModelOutput:
        """Return the logits (N,A) of N crops. Zero crops give zero rows. No map is computed."""
        self._after_a_fork()
        return collect(self._each(crops.pixels, self._face), self.card.attributes)

    def with_features(self, crops: Crops) -> ModelOutput:
        """Return the logits (N,A) and what the network pooled of each face (N,D), in one pass.

        Raises: ModelFileError where the file has no such output.
        """
        if not self.has_features:
            raise ModelFileError(
                f"{self.path} gives no `features`, which own attributes are read from. Export it again with `lineament "
                "export`."
            )
        self._after_a_fork()
        attributes = self.card.attributes
        both = np.concatenate(
            [np.zeros((0, 0), np.float32)] if not len(crops) else self._each(crops.pixels, self._face_and_features)
        )
        return replace(
            collect([both[:, : len(attributes)]] if len(both) else [], attributes), features=both[:, len(attributes) :]
        )

    def with_maps(self, crops: Crops) -> ModelOutput:
        """Return the same logits, bit for bit, and the maps (N,M,h,w) of where they come from (the card's `maps`), for
        those who ask."""
        output, about = self(crops), self.card.document.get("maps")
        if not about or not about["of"] or not len(crops):
            return output
        return replace(output, maps=np.concatenate([self._maps(single) for single in singles(crops.pixels)]))

    def _after_a_fork(self) -> None:
        if os.getpid() != self._pid:
            with self._lock:
                if os.getpid() != self._pid:
                    self.threads = 1
                    self._start()

    def _start(self) -> None:
        self._open()
        self._pool = ThreadPoolExecutor(self.threads, "attributes") if self.threads > 1 else None
        self._pid = os.getpid()

    def _each(self, pixels: UInt8, face: Callable[[UInt8], Float32]) -> list[Float32]:
        """Run every crop by itself, in order. The pool takes them a few at a time: waking a thread for every face costs
        a tenth of the rate."""
        faces = singles(pixels)
        if self._pool is None or len(faces) < 2:
            return [face(single) for single in faces]
        few = max(1, len(faces) // (4 * self.threads))
        parts = [faces[first : first + few] for first in range(0, len(faces), few)]
        return [
            answer
            for answers in self._pool.map(lambda part: [face(single) for single in part], parts)
            for answer in answers
        ]


def singles(pixels: UInt8) -> list[UInt8]:
    """Return N crops one by one, each (1,3,218,178) and contiguous."""
    return [np.ascontiguousarray(pixels[i : i + 1]) for i in range(len(pixels))]


def collect(outputs: Sequence[Float32], attributes: tuple[str, ...]) -> ModelOutput:
    """Return the logits of N single faces as one (N,A)."""
    if not outputs:
        return ModelOutput(np.zeros((0, len(attributes)), np.float32), attributes)
    return ModelOutput(np.concatenate(outputs).astype(np.float32, copy=False), attributes)
