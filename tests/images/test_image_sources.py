"""Where pictures come from: arrays, streams, Pillow images, files that may not be read; caps hold for every kind of
source."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import odd_parts as parts
import pytest
from PIL import Image, ImageFile

from lineament.errors import (
    EmptyError,
    PermissionDeniedError,
    TooLargeError,
    UnreadableError,
    UsageError,
)
from lineament.images import load_image


@pytest.fixture
def photo() -> Any:
    return parts.photo()


def test_arrays_say_their_channels(photo: Any) -> None:
    np.testing.assert_array_equal(load_image(photo, channels="RGB").pixels, photo)
    bgr = load_image(photo[..., ::-1], channels="BGR").pixels
    np.testing.assert_array_equal(bgr, photo)
    assert bgr.flags.c_contiguous
    grey = photo[..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(load_image(array, channels="L").pixels, grey[..., None].repeat(3, 2))


def test_an_answer_does_not_share_memory_with_the_callers_array(photo: Any) -> None:
    assert not np.shares_memory(load_image(photo, channels="RGB").pixels, photo)


@pytest.mark.parametrize(
    ("array", "channels", "said"),
    [
        (np.zeros((4, 4, 3), np.uint8), None, "BGR"), (np.zeros((4, 4, 3), np.uint8), "rgb", "BGR"),
        (np.zeros((4, 4, 3), np.float32), "RGB", "uint8"), (np.zeros((4, 4, 3), np.uint16), "RGB", "uint8"),
        (np.zeros((4, 4, 4), np.uint8), "RGB", "alpha"), (np.zeros((3, 4, 4), np.uint8), "RGB", "H,W,3"),
        (np.zeros((4, 4), np.uint8), "RGB", "H,W,3"), (np.zeros((4, 4, 3), np.uint8), "L", "H,W"),
        (np.zeros(4, np.uint8), "L", "H,W"), (np.zeros((2, 4, 4, 3), np.uint8), "RGB", "H,W,3"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_right(array: Any, channels: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_image(array, channels=channels)


def test_sources_that_cannot_be_right(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(parts.encode())
    with pytest.raises(UsageError, match="NumPy arrays only"):
        load_image(path, channels="RGB")
    for wrong in (0, None, [1, 2], object()):
        with pytest.raises(UsageError, match="Pass a path"):
            load_image(wrong)
    with path.open(encoding="latin-1") as text, pytest.raises(UsageError, match="'rb'"):
        load_image(text)
    with path.open("rb") as closed:
        pass
    with pytest.raises(UsageError, match="closed"):
        load_image(closed)
    with path.open("rb") as read:
        read.read()
        with pytest.raises(EmptyError, match="seek"):
            load_image(read)


def test_empty_array_and_pillow_image() -> None:
    with pytest.raises(EmptyError):
        load_image(np.zeros((0, 4, 3), np.uint8), channels="RGB")
    with pytest.raises(EmptyError):
        load_image(Image.new("RGB", (0, 4)))


def test_caps_hold_for_every_kind_of_source(photo: Any, tmp_path: Path) -> None:
    data = parts.encode(None, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png", Image.fromarray(photo)):
        assert load_image(source, max_pixels=160 * 200).width == 160
        with pytest.raises(TooLargeError, match="max_pixels"):
            load_image(source, max_pixels=160 * 200 - 1)
    with pytest.raises(TooLargeError, match="max_pixels"):
        load_image(io.BytesIO(data), max_pixels=160 * 200 - 1)
    with pytest.raises(TooLargeError):
        load_image(photo, channels="RGB", max_pixels=100)
    for source in (data, io.BytesIO(data), tmp_path / "a.png"):
        with pytest.raises(TooLargeError, match="max_bytes"):
            load_image(source, max_bytes=len(data) - 1)
    assert load_image(io.BytesIO(data), max_bytes=len(data)).width == 160


def test_an_endless_stream_is_cut_off() -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return (b"\x89PNG\r\n\x1a\n" + bytes(size))[:size]

    with pytest.raises(TooLargeError):
        load_image(Endless(), max_bytes=100_000)


def test_a_failing_stream_is_unreadable() -> None:
    class Failing:
        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(UnreadableError, match="Input/output"):
        load_image(Failing())


def test_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(parts.encode())

    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDeniedError, match="permissions"):
        load_image(path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the administrator can become another user"
)
def test_permission_as_another_user(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(parts.encode())
    path.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionDeniedError):
            load_image(path)
    finally:
        os.seteuid(0)


def test_pillow_told_to_accept_cut_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match="LOAD_TRUNCATED_IMAGES"):
        load_image(parts.encode()[:-500])
