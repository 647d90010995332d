"""Decoder processes: decoding with a time limit; each worker thread has a process that is killed and replaced when too
slow.

    item -> (child process: path or bytes -> pixels) -> DecodedImage, or TimedOutError

What the process says is JSON and pixels, never a pickle: it reads files that may come from anyone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, local
from typing import Any

import numpy as np

from lineament.errors import LineamentError, TimedOutError, UnreadableError, image_error
from lineament.inputs.item import Item
from lineament.runs.child_process import ChildLostError, ChildProcess
from lineament.types import DecodedImage

_START_SECONDS = 120.0


class TimedDecoder:
    """Decode items in child processes, each photo within `seconds`. Safe to call from many threads; each has a child of
    its own. main: what the child runs."""

    def __init__(self, seconds: float, max_pixels: int, main: Callable[[Connection], None] | None = None) -> None:
        self._seconds, self._max_pixels, self._main = seconds, max_pixels, main or serve_requests
        self._mine = local()
        self._children: list[ChildProcess] = []
        self._lock = Lock()

    def __call__(self, item: Item, *, max_side: int | None = None) -> DecodedImage:
        """Return the pixels of an item. Raises: ImageError; TimedOutError after `seconds`."""
        path = None if item.path is None else str(item.path)
        request = {"path": path, "max_pixels": self._max_pixels, "max_side": max_side}
        data = item.data if isinstance(item.data, bytes) else b""
        child = self._child()
        try:
            return _ask(child, request, data, self._seconds)
        except TimeoutError as error:
            self._end(child)
            raise TimedOutError(
                f"Not decoded within {self._seconds:g} s. Raise --timeout, or look at the file and the folder it is in."
            ) from error
        except ChildLostError as error:
            self._end(child)
            raise UnreadableError(
                "The decoder crashed on this photo: the file is damaged in a way no decoder should meet."
            ) from error

    def close(self) -> None:
        """End the child processes."""
        with self._lock:
            for child in self._children:
                child.close()
            self._children = []

    def _end(self, child: ChildProcess) -> None:
        child.kill()
        self._mine.child = None

    def _child(self) -> ChildProcess:
        if getattr(self._mine, "child", None) is None:
            self._mine.child = self._started()
            with self._lock:
                self._children = [child for child in self._children if child.alive()] + [self._mine.child]
        found: ChildProcess = self._mine.child
        return found

    def _started(self) -> ChildProcess:
        child = ChildProcess(self._main, name="lineament decoder")
        try:
            child.receive_bytes(_START_SECONDS)
        except (TimeoutError, ChildLostError) as error:
            child.close()
            raise LineamentError(
                "The decoding process did not start. Leave --timeout out, or check that Python can start processes "
                "here."
            ) from error
        return child


def _ask(child: ChildProcess, request: dict[str, Any], data: bytes, seconds: float) -> DecodedImage:
    child.send(json.dumps(request).encode("ascii"))
    child.send(data)
    header = json.loads(child.receive_bytes(seconds))
    if "code" in header:
        raise image_error(header["code"], header["message"])
    pixels = np.frombuffer(bytearray(child.receive_bytes(seconds)), np.uint8)
    full = header["full_size"]
    return DecodedImage(pixels.reshape(header["shape"]), header["note"], None if full is None else (full[0], full[1]))


def serve_requests(pipe: Connection) -> None:
    """Answer decoding requests until they end: what a child process runs."""
    from lineament.images import load_image

    pipe.send_bytes(b"ready")
    while True:
        request, data = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        source = data if request["path"] is None else Path(request["path"])
        try:
            image = load_image(source, max_pixels=request["max_pixels"], max_side=request["max_side"])
        except LineamentError as error:
            _say(pipe, {"code": error.code, "message": str(error)})
        except (MemoryError, OSError) as error:
            _say(pipe, {"code": UnreadableError.code, "message": f"Reading failed: {error}"})
        else:
            _say(pipe, {"shape": image.pixels.shape, "note": image.note, "full_size": image.full_size})
            pipe.send_bytes(np.ascontiguousarray(image.pixels).data.cast("B"))


def _say(pipe: Connection, header: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(header).encode("ascii"))
