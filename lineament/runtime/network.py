"""What every runtime is to the rest of the package: crops in, logits out, one face at a time.

crops (N,3,218,178) uint8 RGB -> logits (N,A) float32
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np

from lineament.runtime.card import Card
from lineament.types import Crops, Float, ModelOutput, UInt8

Outputs = tuple[Float, "Float | None"]


@runtime_checkable
class Network(Protocol):
    """A loaded model. `id` is what records show; `runtime` and `precision` say how it computes, and never change by themselves."""

    @property
    def card(self) -> Card: ...

    @property
    def id(self) -> str: ...

    @property
    def runtime(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def __call__(self, crops: Crops) -> ModelOutput: ...


def model_id(card: Card) -> str:
    """Return NAME@XXXXXXXX, the last part being the start of the file's SHA-256."""
    return f"{card.name}@{(card.file_sha256 or '0' * 8)[:8]}"


def run_each(face: Callable[[UInt8], Outputs], pixels: UInt8, pool: ThreadPoolExecutor | None, threads: int = 1) -> list[Outputs]:
    """Run `face` on every crop by itself, on the pool where there is one and more than one face; answers keep the order.

    Convention: a face never shares a batch, so its logits cannot depend on its neighbours. The pool takes them a few at a time: waking a
    thread for every face costs a tenth of the rate.
    """
    singles = [np.ascontiguousarray(pixels[i : i + 1]) for i in range(len(pixels))]
    if pool is None or len(singles) < 2:
        return [face(single) for single in singles]
    few = max(1, len(singles) // (4 * threads))
    parts = [singles[first : first + few] for first in range(0, len(singles), few)]
    return [answer for answers in pool.map(lambda part: [face(single) for single in part], parts) for answer in answers]


def collect(outputs: Sequence[Outputs], attributes: tuple[str, ...]) -> ModelOutput:
    """Return the outputs of N single faces as one: logits (N,A), maps (N,M,h,w) where the network gives them."""
    if not outputs:
        return ModelOutput(np.zeros((0, len(attributes)), np.float32), attributes)
    logits = np.concatenate([logit for logit, _ in outputs]).astype(np.float32, copy=False)
    maps = [single for _, single in outputs if single is not None]
    return ModelOutput(logits, attributes, np.concatenate(maps) if maps else None)
