"""One frame of a video as a photo: square pixels, upright, 8-bit sRGB; what was done is said.

    frame -> (H,W,3) uint8 RGB, note

Pixel aspect: a frame is stretched along one axis, never shrunk. Rotation: the display matrix, mirrored ones too, read
here because PyAV before 14.1 does not. HDR (HLG and PQ) and BT.2020: converted to sRGB, reference white (203 cd/m2) to
white, what is brighter clipped.
Source: ITU-R BT.2100-2 tables 4 and 5 (PQ, HLG, the HLG OOTF at 1000 cd/m2), BT.2020-2, BT.2087-0 (matrix to BT.709),
BT.2408-5 (reference white); ISO/IEC 14496-12, 8.5.2 (matrix); IEC 61966-2-1 (sRGB). What differs: no tone mapping above
white, and gamut by clipping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lineament.types import Float32, UInt8

_PQ, _HLG, _BT2020 = 16, 18, 9
"""Code points of ITU-T H.273: transfer characteristics and colour primaries."""
_KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114)}
_KR_KB_2020 = (0.2627, 0.0593)
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
REFERENCE_WHITE, HLG_PEAK = 203.0, 1000.0
MOST_STRETCH = 8.0
_ROWS_AT_ONCE = 256
SQUARED, HDR, WIDE = "pixels made square", "HDR converted to sRGB", "BT.2020 colours converted to sRGB"


def to_photo(frame: Any, stream: Any) -> tuple[UInt8, str | None]:
    """Return a decoded frame's pixels (H,W,3) uint8 sRGB, upright and square, and a note on what was done, None for
    nothing."""
    notes: list[str] = []
    pixels = _srgb(frame, stream, notes)
    pixels = _squared(pixels, stream, notes)
    return np.ascontiguousarray(_turned(pixels, _matrix(frame))), "; ".join(notes) or None


def _squared(pixels: UInt8, stream: Any, notes: list[str]) -> UInt8:
    """Return a picture whose pixels are stored wider or taller than they are shown, as it is shown."""
    aspect = float(getattr(stream, "sample_aspect_ratio", None) or 1)
    if aspect == 1 or not 1 / MOST_STRETCH <= aspect <= MOST_STRETCH:
        return pixels
    height, width = pixels.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if size == (width, height):
        return pixels
    notes.append(SQUARED)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """Return (a, b, c, d) of the display matrix, which takes (x, y) to (a x + c y, b x + d y), None where there is
    none."""
    for data in frame.side_data:
        if str(getattr(data, "type", "")).endswith("DISPLAYMATRIX"):
            values = np.frombuffer(bytes(memoryview(data))[:36], np.int32)
            if len(values) == 9 and values[[0, 1, 3, 4]].any():
                a, b, c, d = (int(value) for value in values[[0, 1, 3, 4]])
                return a, b, c, d
    return None


def _turned(pixels: UInt8, matrix: tuple[int, int, int, int] | None) -> UInt8:
    """Return a picture as its display matrix says, to the nearest quarter turn.

    >>> _turned(np.array([[1, 2], [3, 4]], np.uint8), (0, -65536, 65536, 0)).tolist()
    [[2, 4], [1, 3]]
    """
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return pixels.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]


def _srgb(frame: Any, stream: Any, notes: list[str]) -> UInt8:
    transfer, primaries, space = (_code(name, frame, stream) for name in ("color_trc", "color_primaries", "colorspace"))
    if transfer not in (_PQ, _HLG) and primaries != _BT2020:
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    notes.append(HDR if transfer in (_PQ, _HLG) else WIDE)
    signal: Float32
    if str(frame.format.name).startswith(("gbr", "rgb", "bgr")):
        green, blue, red = _planes(frame.reformat(format="gbrp10le"))
        signal = np.stack([red, green, blue]).astype(np.float32) / np.float32(1023)
    else:
        signal = _decoded(
            _planes(frame.reformat(format="yuv444p10le")), _code("color_range", frame, stream) == 2, space
        )
    rows = range(0, signal.shape[1], _ROWS_AT_ONCE)
    return np.concatenate([_shown(signal[:, row : row + _ROWS_AT_ONCE], transfer, primaries) for row in rows])


def _code(name: str, frame: Any, stream: Any) -> int:
    """Return a code point of H.273 from the frame, or from the stream where PyAV's frames do not say it; 2 is
    "unspecified"."""
    for where in (frame, stream.codec_context):
        found = getattr(where, name, None)
        if found is not None and int(found) != 2:
            return int(found)
    return 2


def _planes(frame: Any) -> npt.NDArray[np.uint16]:
    """Return the planes (3,H,W) of a frame of three planes of 16-bit words."""
    rows = [np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
    return np.stack(rows)


def _decoded(planes: npt.NDArray[np.uint16], full: bool, space: int) -> Float32:
    """Return R'G'B' (3,H,W) in 0..1 of Y'CbCr in 10 bits. Source: BT.2100-2 table 6 (matrix), table 9 (ranges)."""
    base, luma_steps, steps = (0.0, 1023.0, 1023.0) if full else (64.0, 876.0, 896.0)
    luma, blue, red = planes.astype(np.float32)
    luma, blue, red = (luma - base) / luma_steps, (blue - 512) / steps, (red - 512) / steps
    kr, kb = _KR_KB.get(space, _KR_KB_2020)
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return np.stack([r, (luma - kr * r - kb * b) / (1 - kr - kb), b]).clip(0, 1).astype(np.float32)


def _shown(signal: Float32, transfer: int, primaries: int) -> UInt8:
    """Return sRGB (H,W,3) uint8 of R'G'B' (3,H,W)."""
    light = linear(signal, transfer)
    if primaries == _BT2020:
        light = np.tensordot(_TO_709, light, 1).astype(np.float32)
    light = light.clip(0, 1)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    shown: UInt8 = np.rint(255 * coded).astype(np.uint8).transpose(1, 2, 0)
    return shown


def linear(signal: Float32, transfer: int) -> Float32:
    """Return linear light (3,H,W), 1 at reference white, of R'G'B' (3,H,W) in 0..1.

    >>> whites = ((0.75, 18), (0.5807, 16), (1.0, 1))
    >>> [round(float(linear(np.full((3, 1, 1), s, np.float32), t)[0, 0, 0]), 2) for s, t in whites]
    [1.0, 1.0, 1.0]
    """
    if transfer == _PQ:
        root = signal ** (1 / 78.84375)
        nits = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return np.asarray(nits / REFERENCE_WHITE, np.float32)
    if transfer == _HLG:
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        luminance = np.tensordot(np.array([0.2627, 0.678, 0.0593], np.float32), scene, 1)
        return np.asarray(scene * luminance**0.2 * (HLG_PEAK / REFERENCE_WHITE), np.float32)
    return np.asarray(signal**2.4, np.float32)  # BT.1886
