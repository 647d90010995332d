"""A video's frames as they are shown: square pixels, upright (mirrored ones too), HDR and wide colours in sRGB; notes
say so."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_kit import MarkedFaces, photo
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.inputs.expand import items
from lineament.inputs.item import Item
from lineament.inputs.video_frame import HDR, SQUARED, WIDE, linear, to_photo

av = pytest.importorskip("av", reason="videos need the extra [video]")
HLG, PQ = 18, 16


def write(path: Path, pixels: np.ndarray, aspect: Fraction | None = None) -> Path:
    """Write two equal frames; MPEG-4 says the pixels' aspect in its own stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 10_000_000
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def first(path: Path) -> Item:
    return next(iter(items([str(path)])))


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(Fraction(2), (60, 160)), (Fraction(1, 2), (120, 80)), (Fraction(4, 3), (60, 107)), (None, (60, 80))],
)
def test_pixels_are_shown_as_wide_as_the_file_says(
    tmp_path: Path, aspect: Fraction | None, size: tuple[int, int]
) -> None:
    pixels = np.repeat(np.repeat(photo(0, size=(4, 5)), 16, 0), 16, 1)[:60]
    item = first(write(tmp_path / "v.avi", pixels, aspect))
    assert item.data.shape[:2] == size
    assert item.note == (None if aspect is None else SQUARED)
    if aspect == 2:
        assert np.abs(item.data[:, ::2].astype(int) - pixels).mean() < 20, "stretched, nothing cut"


class Side:
    """A display matrix as PyAV gives it, in every version a buffer with a type."""

    type = "DISPLAYMATRIX"

    def __init__(self, a: int, b: int, c: int, d: int) -> None:
        self.data = struct.pack("<9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self.data)


class Frame:
    """A frame that says of itself what a test wants; everything else is a real one's."""

    def __init__(self, frame: Any, side: tuple[Any, ...] = (), **codes: int) -> None:
        self._frame, self.side_data = frame, side
        self.color_trc, self.color_primaries, self.colorspace, self.color_range = (
            codes.get(name, 2) for name in ("color_trc", "color_primaries", "colorspace", "color_range")
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame, name)


class Stream:
    sample_aspect_ratio = None
    codec_context = None


def moved(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Return a picture with each pixel taken to (a x + c y, b x + d y), moved into the frame: the matrix's meaning,
    pixel by pixel."""
    height, width = pixels.shape[:2]
    places = {(x, y): (a * x + c * y, b * x + d * y) for x in range(width) for y in range(height)}
    left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
    out = np.zeros((height, width, 3) if b == 0 else (width, height, 3), np.uint8)
    for (x, y), (to_x, to_y) in places.items():
        out[to_y - top, to_x - left] = pixels[y, x]
    return out


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [(s, 0, 0, t) for s in (1, -1) for t in (1, -1)] + [(0, s, t, 0) for s in (1, -1) for t in (1, -1)],
)
def test_all_eight_ways_a_frame_can_lie(a: int, b: int, c: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photo(0, size=(6, 8))
    side = Side(a, b, c, d)
    monkeypatch.setattr("lineament.inputs.video_frame.memoryview", lambda data: data.data, raising=False)
    found, note = to_photo(Frame(av.VideoFrame.from_ndarray(pixels, format="rgb24"), (side,)), Stream())
    np.testing.assert_array_equal(found, moved(pixels, a, b, c, d))
    assert note is None


def hdr_of(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """Return R'G'B' (3,H,W) in BT.2020 of an sRGB picture: the conversion there, from the standards' other
    direction."""
    coded = pixels.transpose(2, 0, 1) / 255
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087-0
    light = np.tensordot(to_2020, light, 1)
    if transfer == PQ:
        power = (light * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if transfer == HLG:
        display = light * 0.203
        luminance = np.tensordot([0.2627, 0.678, 0.0593], display, 1)
        scene = display * np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1)
        return np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
        )
    return light ** (1 / 2.4)


@pytest.mark.parametrize(("transfer", "note"), [(HLG, HDR), (PQ, HDR), (14, WIDE)])
@pytest.mark.parametrize("full", [False, True])
def test_hdr_and_wide_colours_come_back_as_srgb(transfer: int, note: str, full: bool) -> None:
    pixels = np.repeat(
        np.repeat(photo(0, size=(8, 8)), 8, 0), 8, 1
    )  # flat patches, so that chroma's own scaling does not count
    red, green, blue = hdr_of(pixels, transfer)
    luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
    base, steps, chroma_steps = (0, 1023, 1023) if full else (64, 876, 896)
    planes = [
        base + steps * luma,
        512 + chroma_steps * (blue - luma) / 1.8814,
        512 + chroma_steps * (red - luma) / 1.4746,
    ]
    frame = av.VideoFrame(64, 64, "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((64, plane.line_size // 2), np.uint16)
        rows[:, :64] = np.rint(values).clip(0, 1023)
        plane.update(rows.tobytes())
    found, said = to_photo(
        Frame(frame, color_trc=transfer, color_primaries=9, colorspace=9, color_range=2 if full else 1), Stream()
    )
    assert said == note
    assert np.abs(found.astype(int) - pixels).mean() < 2
    assert np.quantile(np.abs(found.astype(int) - pixels), 0.99) < 12  # ten bits of a steep curve, in the darkest


def test_what_is_brighter_than_white_is_white() -> None:
    assert (linear(np.ones((3, 1, 1), np.float32), PQ) > 40).all()
    assert (linear(np.ones((3, 1, 1), np.float32), HLG) > 4.9).all()


def test_notes_reach_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.api._bundled_detector", lambda network, threads: MarkedFaces())
    monkeypatch.chdir(tmp_path)
    write_toy_model(Path("toy.onnx"))
    write(Path("v.avi"), photo(0), Fraction(2))
    done = CliRunner().invoke(app, ["analyze", "v.avi", "--model", "toy.onnx", "--jsonl", "-", "--quiet"])
    record = json.loads(done.stdout.splitlines()[0])
    assert record["image"] == {"width": 320, "height": 120, "note": SQUARED}
