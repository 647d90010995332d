"""Decoder processes: decoding with a time limit; each worker thread has a process that is killed and replaced when too
slow.

    item -> (child process: path or bytes -> pixels) -> DecodedImage, or TimedOutError

A thread cannot be stopped while it hangs in a decoder or in a read from a dead network folder; a process can be left
behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread, local
from typing import Any, BinaryIO

import numpy as np

from lineament.errors import LineamentError, TimedOutError, UnreadableError, image_error
from lineament.inputs.item import Item
from lineament.types import DecodedImage

_START_SECONDS = 120.0
_PROGRAM = "from lineament.runs.decoder_process import serve_requests; serve_requests()"


class TimedDecoder:
    """Decode items in child processes, each photo within `seconds`. Safe to call from many threads; each has a child of
    its own."""

    def __init__(self, seconds: float, max_pixels: int) -> None:
        self._seconds, self._max_pixels = seconds, max_pixels
        self._mine = local()
        self._children: list[_Child] = []
        self._lock = Lock()

    def __call__(self, item: Item, *, max_side: int | None = None) -> DecodedImage:
        """Return the pixels of an item. Raises: ImageError; TimedOutError after `seconds`."""
        request = {
            "path": None if item.path is None else str(item.path),
            "max_pixels": self._max_pixels,
            "max_side": max_side,
        }
        data = item.data if isinstance(item.data, bytes) else b""
        child = self._child()
        try:
            return child.ask(request, data, self._seconds)
        except (TimedOutError, _ChildDiedError) as error:
            child.kill()
            self._mine.child = None
            if isinstance(error, _ChildDiedError):
                raise UnreadableError(
                    "The decoder crashed on this photo: the file is damaged in a way no decoder should meet."
                ) from error
            raise

    def close(self) -> None:
        """End the child processes."""
        with self._lock:
            for child in self._children:
                child.kill()

    def _child(self) -> _Child:
        if getattr(self._mine, "child", None) is None:
            self._mine.child = _Child()
            with self._lock:
                self._children = [child for child in self._children if child.alive()] + [self._mine.child]
        found: _Child = self._mine.child
        return found


class _ChildDiedError(Exception):
    """The child's pipe closed."""


class _Child:
    """One decoding process and the thread that reads its answers (so that waiting for one can end)."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which lets what is begun be finished
        )  # fmt: skip
        self._answers: SimpleQueue[tuple[dict[str, Any], bytearray] | None] = SimpleQueue()
        Thread(target=self._read, name="decoder answers", daemon=True).start()
        if self._wait(_START_SECONDS) is None:
            raise LineamentError(
                "The decoding process did not start. Leave --timeout out, or check that Python can start processes "
                "here."
            )

    def ask(self, request: dict[str, Any], data: bytes, seconds: float) -> DecodedImage:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(request | {"bytes": len(data)}).encode("ascii") + b"\n" + data)
            pipe.flush()
        except OSError as error:
            raise _ChildDiedError from error
        answer = self._wait(seconds)
        if answer is None:
            raise _ChildDiedError
        header, body = answer
        if "code" in header:
            raise image_error(header["code"], header["message"])
        full = header["full_size"]
        return DecodedImage(
            np.frombuffer(body, np.uint8).reshape(header["shape"]),
            header["note"],
            None if full is None else (full[0], full[1]),
        )

    def kill(self) -> None:
        self._process.kill()
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except OSError:
                return

    def alive(self) -> bool:
        return self._process.poll() is None

    def _wait(self, seconds: float) -> tuple[dict[str, Any], bytearray] | None:
        try:
            return self._answers.get(timeout=seconds)
        except Empty as error:
            raise TimedOutError(
                f"Not decoded within {seconds:g} s. Raise --timeout, or look at the file and the folder it is in."
            ) from error

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            line = pipe.readline()
            if not line:
                self._answers.put(None)
                self._process.wait()
                return
            header = json.loads(line)
            body = bytearray(header.get("bytes", 0))
            view = memoryview(body)
            while view:
                read = pipe.readinto(view)  # type: ignore[attr-defined]
                if not read:
                    self._answers.put(None)
                    return
                view = view[read:]
            self._answers.put((header, body))


def serve_requests(requests: BinaryIO | None = None, answers: BinaryIO | None = None) -> None:
    """Answer decoding requests until they end: what a child process runs."""
    from lineament.images import load_image

    requests, answers = requests or sys.stdin.buffer, answers or sys.stdout.buffer
    _send(answers, {"ready": True})
    for line in requests:
        request = json.loads(line)
        source = requests.read(request["bytes"]) if request["path"] is None else Path(request["path"])
        try:
            image = load_image(source, max_pixels=request["max_pixels"], max_side=request["max_side"])
        except LineamentError as error:
            _send(answers, {"code": error.code, "message": str(error)})
            continue
        except (MemoryError, OSError) as error:
            _send(answers, {"code": UnreadableError.code, "message": f"Reading failed: {error}"})
            continue
        header = {
            "shape": image.pixels.shape,
            "note": image.note,
            "full_size": image.full_size,
            "bytes": image.pixels.nbytes,
        }
        _send(answers, header, image.pixels.tobytes())


def _send(pipe: BinaryIO, header: dict[str, Any], body: memoryview | bytes = b"") -> None:
    pipe.write(json.dumps(header).encode("ascii") + b"\n")
    pipe.write(body)
    pipe.flush()
