"""Hand-made pieces of picture files, for files that no encoder would write."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@lru_cache(maxsize=1)
def photo() -> npt.NDArray[np.uint8]:
    """Return the face of NASA's portrait of Eileen Collins (public domain), (200,160,3) uint8 RGB."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[20:220, 140:300])


def encode(picture: Any = None, format: str = "JPEG", **options: Any) -> bytes:
    """Return a picture (array or Pillow image; the portrait by default) as a file's bytes."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(photo() if picture is None else picture)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    """Return EXIF data that hold an orientation and nothing else."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """Return one PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, packed: bytes, *extra: bytes, bits: int = 8, colour: int = 2, interlaced: int = 0
) -> bytes:
    """Return a PNG of already compressed rows; `extra` chunks stand before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    return PNG + header + b"".join(extra) + chunk(b"IDAT", packed) + chunk(b"IEND")


def rows(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return unfiltered PNG rows."""
    return b"".join(b"\x00" + row.tobytes() for row in pixels)


def png_with(*extra: bytes) -> bytes:
    """Return the portrait as PNG with extra chunks before its picture data."""
    pixels = photo()
    return png(pixels.shape[1], pixels.shape[0], zlib.compress(rows(pixels)), *extra)


def interlaced_png(pixels: npt.NDArray[np.uint8], keep: int = 7) -> bytes:
    """Return an Adam7 PNG of which only the first `keep` passes are there."""
    passes = [rows(pixels[top::down, left::right]) for left, top, right, down in _ADAM7[:keep]]
    return png(pixels.shape[1], pixels.shape[0], zlib.compress(b"".join(passes)), interlaced=1)


def tiff(tags: dict[int, tuple[int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """Return a little-endian TIFF of one directory, tag -> (type, count, value or offset), and bytes after it."""
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + tail


def grey_tiff(width: int, height: int, following: int = 0, **changed: tuple[int, int, int]) -> bytes:
    """Return an uncompressed grey TIFF in one strip. changed: t258=(3, 1, 16) sets tag 258; the strip lies at offset
    200."""
    tags = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 200),
        277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, width * height),
    }  # fmt: skip
    tags.update({int(name[1:]): value for name, value in changed.items()})
    tags = {tag: value for tag, value in tags.items() if value[1]}
    body = tiff(tags, following=following)
    return body + bytes(200 - len(body)) + bytes(i % 251 for i in range(min(width * height, 1 << 16)))


def gif(screen: tuple[int, int], frame: tuple[int, int], count: int = 1, *, codes: bytes | None = None) -> bytes:
    """Return a GIF of `count` frames of one colour, with a screen and frames of any claimed size."""
    if codes is None:
        codes = lzw(frame[0] * frame[1])
    image = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02" + sub_blocks(codes)
    palette = bytes([0, 0, 0, 200, 30, 30, 30, 200, 30, 255, 255, 255])
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + palette + image * count + b";"


def sub_blocks(data: bytes) -> bytes:
    return (
        b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)) + b"\x00"
    )


def lzw(count: int) -> bytes:
    """Return LZW codes of 2-bit pixels, `count` times colour 1, never compressed: a clear code before every second
    pixel."""
    codes = [code for at in range(count) for code in ((4, 1) if at % 2 == 0 else (1,))] + [5]
    value = sum(code << 3 * at for at, code in enumerate(codes))
    return value.to_bytes(-(-3 * len(codes) // 8), "little")


def webp_frames(count: int) -> bytes:
    """Return an animated WebP whose second frame is repeated until there are `count`."""
    tiny = [np.full((16, 16, 3), level, np.uint8) for level in (10, 200)]
    data = encode(tiny[0], "WEBP", save_all=True, append_images=[Image.fromarray(tiny[1])], duration=50)
    at, frames = 12, []
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        frames.append(data[at : at + 8 + length + length % 2])
        at += 8 + length + length % 2
    body = b"WEBP" + b"".join(frames) + frames[-1] * (count - 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def run_length_bmp(width: int, height: int, codes: bytes) -> bytes:
    """Return an 8-bit run-length BMP with a grey palette."""
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(codes), 0, 0, 54 + 1024) + info + palette + codes


def jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return (marker, start, end) of a JPEG's segments, the bytes of a scan counted to its header."""
    found, at = [], 2
    while at < len(data):
        marker, start = data[at + 1], at
        at += 2 if marker == 0xD9 else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            while data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8)):
                at += 1
        found.append((marker, start, at))
        if marker == 0xD9:
            break
    return found


def patch(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def frame_start(data: bytes) -> int:
    """Return where a JPEG's frame header begins (its marker)."""
    return next(start for marker, start, _ in jpeg_segments(data) if marker in (0xC0, 0xC2))


def other_profile() -> bytes:
    """Return a valid RGB profile that is far from sRGB: sRGB's own with red and green exchanged."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    where = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = where[b"rXYZ"], where[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data)
