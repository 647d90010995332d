"""The odd files that are nothing but bytes: kind -> (expected, size, suffix, maker)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import odd_parts as parts
from odd_parts import chunk, encode, photo, png_with
from PIL import Image

WHOLE = (160, 200)
BYTES: dict[str, tuple[str, tuple[int, int] | None, str, Callable[[], bytes]]] = {}


def ok(kind: str, suffix: str, make: Callable[[], bytes], size: tuple[int, int] = WHOLE) -> None:
    BYTES[kind] = ("ok", size, suffix, make)


def bad(expected: str, kind: str, suffix: str, make: Callable[[], bytes]) -> None:
    BYTES[kind] = (expected, None, suffix, make)


def _image(mode: str) -> Image.Image:
    return Image.fromarray(photo()).convert(mode)


def _with_alpha() -> Image.Image:
    image = _image("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _frames() -> dict[str, object]:
    return {"save_all": True, "append_images": [Image.fromarray(photo()[::-1])]}


def _jpeg(**options: object) -> bytes:
    return encode(quality=90, **options)


def _cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


def _scan(data: bytes, index: int) -> tuple[int, int]:
    return [(start, end) for marker, start, end in parts.jpeg_segments(data) if marker == 0xDA][index]


def _without_scans(count: int) -> bytes:
    data = _jpeg(progressive=True)
    return data[: _scan(data, -count)[0]] + b"\xff\xd9"


def _many_scans() -> bytes:
    data = _jpeg(progressive=True)
    start, end = _scan(data, -1)
    return data[:end] + data[start:end] * 500 + data[end:]


def _frame_patched(at: int, new: bytes, **options: object) -> bytes:
    data = _jpeg(**options)
    return parts.patch(data, parts.frame_start(data) + at, new)


# JPEG
ok("jpeg", "jpg", _jpeg)
ok("jpeg_progressive", "jpg", lambda: _jpeg(progressive=True))
ok("jpeg_grey", "jpg", lambda: encode(_image("L")))
ok("jpeg_cmyk", "jpg", lambda: encode(_image("CMYK")))
ok("jpeg_lying_on_its_side", "jpg", lambda: _jpeg(exif=parts.exif(6)), (200, 160))
ok("jpeg_impossible_orientation", "jpg", lambda: _jpeg(exif=parts.exif(99)))
ok("jpeg_damaged_exif", "jpg", lambda: _jpeg(exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\xff" * 40))
ok("jpeg_damaged_colour_profile", "jpg", lambda: _jpeg(icc_profile=b"no profile" * 30))
ok("jpeg_foreign_colour_profile", "jpg", lambda: _jpeg(icc_profile=parts.other_profile()))
ok("jpeg_with_rubbish_after_its_end", "jpg", lambda: _jpeg() + bytes(range(256)) * 40)
ok("jpeg_with_fill_bytes", "jpg", lambda: (lambda data: data[:2] + b"\xff" * 9 + data[2:])(_jpeg()))
ok("jpeg_of_two_pictures", "jpg", lambda: encode(None, "MPO", **_frames()))
ok("jpeg_of_plain_mid_grey", "jpg", lambda: encode(np.full((64, 64, 3), 128, np.uint8)), (64, 64))
ok("jpeg_with_restart_markers", "jpg", lambda: _jpeg(restart_marker_blocks=4))
bad("truncated", "jpeg_cut_in_half", "jpg", lambda: _cut(_jpeg()))
bad("truncated", "jpeg_cut_in_its_header", "jpg", lambda: _jpeg()[:100])
bad("truncated", "jpeg_of_two_bytes", "jpg", lambda: b"\xff\xd8")
bad("truncated", "jpeg_without_end_marker", "jpg", lambda: _jpeg()[:-2])
bad("truncated", "jpeg_cut_and_closed", "jpg", lambda: _cut(_jpeg(), 0.6) + b"\xff\xd9")
bad(
    "truncated",
    "jpeg_cut_and_closed_with_restarts",
    "jpg",
    lambda: _cut(_jpeg(restart_marker_blocks=4), 0.6) + b"\xff\xd9",
)
bad("truncated", "jpeg_grey_cut_and_closed", "jpg", lambda: _cut(encode(_image("L")), 0.7) + b"\xff\xd9")
bad("truncated", "jpeg_cmyk_cut_and_closed", "jpg", lambda: _cut(encode(_image("CMYK")), 0.7) + b"\xff\xd9")
bad("truncated", "jpeg_filled_up_with_zeros", "jpg", lambda: _cut(_jpeg()) + bytes(200_000))
bad("truncated", "jpeg_taller_than_its_data", "jpg", lambda: _frame_patched(5, b"\x04\x00"))
bad("truncated", "jpeg_progressive_last_scan_cut", "jpg", lambda: _jpeg(progressive=True)[:-300] + b"\xff\xd9")
bad("truncated", "jpeg_progressive_without_last_scan", "jpg", lambda: _without_scans(1))
bad("truncated", "jpeg_progressive_first_scan_only", "jpg", lambda: _without_scans(9))
bad("empty", "jpeg_of_zero_height", "jpg", lambda: _frame_patched(5, b"\x00\x00"))
bad("too_large", "jpeg_of_4_gigapixels", "jpg", lambda: _frame_patched(5, b"\xff\xdc\xff\xdc"))
bad("unreadable", "jpeg_of_500_scans", "jpg", _many_scans)
bad(
    "unreadable",
    "jpeg_of_100000_comments",
    "jpg",
    lambda: (lambda data: data[:2] + b"\xff\xfe\x00\x02" * 100_000 + data[2:])(_jpeg()),
)
bad("unreadable", "jpeg_without_a_picture", "jpg", lambda: b"\xff\xd8\xff\xd9" + b" " * 20)
bad("unreadable", "jpeg_of_no_colours", "jpg", lambda: _frame_patched(9, b"\x00"))
bad("unsupported", "jpeg_of_12_bits", "jpg", lambda: _frame_patched(4, b"\x0c"))
bad("unsupported", "jpeg_lossless", "jpg", lambda: _frame_patched(1, b"\xc3"))

# PNG
ok("png", "png", lambda: encode(None, "PNG"))
ok("png_transparent", "png", lambda: encode(_with_alpha(), "PNG"))
ok("png_palette_with_transparency", "png", lambda: encode(_image("P"), "PNG", transparency=3))
ok("png_of_one_bit", "png", lambda: encode(_image("1"), "PNG"))
ok("png_grey_with_alpha", "png", lambda: encode(_with_alpha().convert("LA"), "PNG"))
ok("png_of_16_bits", "png", lambda: encode(photo()[..., 0].astype(np.uint16) * 257, "PNG"))
ok("png_interlaced", "png", lambda: parts.interlaced_png(photo()))
ok("png_animated", "png", lambda: encode(None, "PNG", **_frames()))
ok("png_lying_on_its_side", "png", lambda: encode(None, "PNG", exif=parts.exif(8)), (200, 160))
ok("png_with_rubbish_after_its_end", "png", lambda: encode(None, "PNG") + b"rubbish" * 99)
ok("png_with_text_bomb", "png", lambda: png_with(chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(16 << 20)))))
ok("png_with_profile_bomb", "png", lambda: png_with(chunk(b"iCCP", b"p\x00\x00" + zlib.compress(bytes(16 << 20)))))
ok("png_of_one_pixel", "png", lambda: encode(photo()[:1, :1], "PNG"), (1, 1))
ok("png_very_wide", "png", lambda: encode(np.tile(photo()[:1], (1, 100, 1)), "PNG"), (16000, 1))
ok("png_all_black", "png", lambda: encode(np.zeros((200, 160, 3), np.uint8), "PNG"))
bad("truncated", "png_cut_in_half", "png", lambda: _cut(encode(None, "PNG")))
bad("truncated", "png_without_end_chunk", "png", lambda: encode(None, "PNG")[:-12])
bad("truncated", "png_signature_only", "png", lambda: parts.PNG)
bad("truncated", "png_of_half_its_rows", "png", lambda: parts.png(160, 200, zlib.compress(parts.rows(photo()[:100]))))
bad("truncated", "png_with_cut_stream", "png", lambda: parts.png(160, 200, _cut(zlib.compress(parts.rows(photo())))))
bad("truncated", "png_without_last_pass", "png", lambda: parts.interlaced_png(photo(), keep=6))
bad(
    "unreadable",
    "png_with_a_flipped_bit",
    "png",
    lambda: (lambda data: parts.patch(data, 5000, bytes([data[5000] ^ 4])))(encode(None, "PNG")),
)
bad("unreadable", "png_without_header", "png", lambda: parts.PNG + chunk(b"IDAT", b"xx") + chunk(b"IEND"))
bad("unreadable", "png_of_300000_chunks", "png", lambda: png_with(chunk(b"tEXt", b"a\x00b") * 300_000))
bad("empty", "png_of_zero_width", "png", lambda: parts.png(0, 10, b""))
bad("too_large", "png_of_900_megapixels", "png", lambda: parts.png(30_000, 30_000, b""))
bad(
    "too_large",
    "png_bomb_of_zeros",
    "png",
    lambda: parts.png(10_000, 10_000, zlib.compress(bytes(10_000 * 10_001), 1), colour=0),
)

# GIF
ok("gif", "gif", lambda: encode(_image("P"), "GIF"))
ok("gif_animated", "gif", lambda: encode(_image("P"), "GIF", save_all=True, append_images=[_image("P").rotate(180)]))
ok("gif_interlaced", "gif", lambda: encode(_image("P"), "GIF", interlace=1))
ok("gif_without_trailer", "gif", lambda: encode(_image("P"), "GIF")[:-1])
ok("gif_of_50000_frames", "gif", lambda: parts.gif((20, 20), (20, 20), 50_000), (20, 20))
ok("gif_frame_beyond_its_screen", "gif", lambda: parts.gif((4, 4), (40, 30)), (40, 30))
bad("truncated", "gif_cut_in_half", "gif", lambda: _cut(encode(_image("P"), "GIF")))
bad("truncated", "gif_codes_end_early", "gif", lambda: parts.gif((60, 60), (60, 60), codes=parts.lzw(1800)))
bad("empty", "gif_without_a_frame", "gif", lambda: parts.gif((20, 20), (20, 20), 0))
bad("empty", "gif_frame_of_zero_width", "gif", lambda: parts.gif((20, 20), (0, 20), codes=parts.lzw(9)))
bad("too_large", "gif_huge_screen_small_frame", "gif", lambda: parts.gif((65535, 65535), (20, 20)))

# WebP
ok("webp", "webp", lambda: encode(None, "WEBP"))
ok("webp_transparent", "webp", lambda: encode(_with_alpha(), "WEBP", lossless=True))
ok("webp_lying_on_its_side", "webp", lambda: encode(None, "WEBP", exif=parts.exif(5)), (200, 160))
ok("webp_of_50000_frames", "webp", lambda: parts.webp_frames(50_000), (16, 16))
bad("truncated", "webp_cut_in_half", "webp", lambda: _cut(encode(None, "WEBP")))
bad(
    "truncated",
    "webp_filled_up_with_zeros",
    "webp",
    lambda: _cut(encode(None, "WEBP")) + bytes(len(encode(None, "WEBP")) // 2 + 1),
)
bad("too_large", "webp_of_268_megapixels", "webp", lambda: _huge_webp())

# TIFF
ok("tiff", "tif", lambda: encode(None, "TIFF"))
ok("tiff_lzw", "tif", lambda: encode(None, "TIFF", compression="tiff_lzw"))
ok("tiff_jpeg", "tif", lambda: encode(None, "TIFF", compression="jpeg"))
ok("tiff_of_two_pages", "tif", lambda: encode(None, "TIFF", **_frames()))
ok("tiff_lying_on_its_side", "tif", lambda: encode(None, "TIFF", tiffinfo={274: 7}), (200, 160))
ok("tiff_of_floats", "tif", lambda: encode((photo()[..., 0] / np.float32(255)).astype(np.float32), "TIFF"))
ok("tiff_that_follows_itself", "tif", lambda: parts.grey_tiff(20, 10, following=8), (20, 10))
bad("unsupported", "tiff_of_unknown_floats", "tif", lambda: encode(photo()[..., 0].astype(np.float32), "TIFF"))
bad("unsupported", "tiff_camera_raw", "dng", lambda: parts.grey_tiff(20, 10, t50706=(1, 4, 0x00000401)))
bad("unsupported", "tiff_preview_only", "nef", lambda: parts.grey_tiff(20, 10, t254=(4, 1, 1)))
bad("unsupported", "tiff_of_64_bit_levels", "tif", lambda: parts.grey_tiff(20, 10, t258=(3, 1, 64)))
bad("truncated", "tiff_cut_in_half", "tif", lambda: _cut(encode(None, "TIFF")))
bad("truncated", "tiff_lzw_cut_in_half", "tif", lambda: _cut(encode(None, "TIFF", compression="tiff_lzw")))
bad("truncated", "tiff_lacking_strips", "tif", lambda: parts.grey_tiff(20, 10, t278=(4, 1, 5)))
bad("truncated", "tiff_tag_beyond_the_end", "tif", lambda: parts.grey_tiff(20, 10, t700=(1, 500, 5000)))
bad("unreadable", "tiff_absurd_tag_count", "tif", lambda: parts.grey_tiff(20, 10, t273=(4, 0, 0)))
bad("unreadable", "tiff_without_size", "tif", lambda: parts.grey_tiff(20, 10, t256=(4, 0, 0)))
bad("empty", "tiff_of_zero_width", "tif", lambda: parts.grey_tiff(0, 10))
bad("too_large", "tiff_of_absurd_size", "tif", lambda: parts.grey_tiff(4_000_000_000, 4_000_000_000, t279=(4, 1, 100)))
bad(
    "too_large",
    "tiff_with_giant_tile",
    "tif",
    lambda: parts.grey_tiff(20, 10, t322=(4, 1, 65536), t323=(4, 1, 65536), t324=(4, 1, 200), t325=(4, 1, 10)),
)

# BMP, AVIF
ok("bmp", "bmp", lambda: encode(None, "BMP"))
ok("bmp_palette", "bmp", lambda: encode(_image("P"), "BMP"))
ok("bmp_run_length", "bmp", lambda: parts.run_length_bmp(40, 30, b"\x28\x77\x00\x00" * 30 + b"\x00\x01"), (40, 30))
bad("truncated", "bmp_cut_in_half", "bmp", lambda: _cut(encode(None, "BMP")))
bad("truncated", "bmp_run_length_cut", "bmp", lambda: parts.run_length_bmp(40, 30, b"\x28\x77\x00\x00" * 12))
bad("empty", "bmp_of_zero_height", "bmp", lambda: parts.patch(encode(None, "BMP"), 22, bytes(4)))
bad(
    "too_large",
    "bmp_of_4_gigapixels",
    "bmp",
    lambda: parts.patch(encode(None, "BMP"), 18, struct.pack("<ii", 65535, 65535)),
)
bad("too_large", "bmp_run_length_bomb", "bmp", lambda: parts.run_length_bmp(7000, 7000, b"\x01\x00" * 1000))
ok("avif", "avif", lambda: encode(None, "AVIF"))
bad("truncated", "avif_cut_in_half", "avif", lambda: _cut(encode(None, "AVIF")))


def _huge_webp() -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (16382).to_bytes(3, "little") * 2
        + b"VP8 "
        + struct.pack("<I", 10)
        + bytes(10)
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


# No picture at all
for _kind, _data in {
    "white_space": b" \n\t\r\n" * 50,
    "zeros": bytes(4000),
    "one_byte": b"\xff",
    "random_bytes": b"\x07" + np.random.default_rng(0).bytes(5000),
    "text": b"This is a shopping list, not a photo.\n" * 20,
    "web_page": b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "json_error": b'{"error": "access denied"}',
    "git_lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "zip_archive": b"PK\x03\x04" + bytes(60),
    "macos_companion": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(60),
    "program": b"\x7fELF\x02\x01\x01" + bytes(60),
    "text_in_utf16": "not a photo".encode("utf-16"),
}.items():
    bad("unreadable", _kind, "jpg", lambda data=_data: data)
bad("empty", "zero_bytes", "jpg", lambda: b"")

# Pictures and films of formats that are not decoded
for _kind, _data in {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "pdf": b"%PDF-1.7\n",
    "photoshop": b"8BPS\x00\x01" + bytes(40),
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "jpeg_2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40),
    "jpeg_xl": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "icon": b"\x00\x00\x01\x00\x01\x00" + bytes(40),
    "ppm": b"P6\n2 2\n255\n" + bytes(12), "openexr": b"\x76\x2f\x31\x01" + bytes(40),
    "canon_raw": b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(40),
    "video_mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42" + bytes(40),
    "video_webm": b"\x1a\x45\xdf\xa3" + bytes(40), "heic_header": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
}.items():  # fmt: skip
    bad("unsupported", _kind, "jpg", lambda data=_data: data)
