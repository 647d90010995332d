"""Format detection from the first bytes: by content, never by file name.

Only the formats of `DECODED` ever reach Pillow. Others are told apart just enough to say what to do about them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lineament.errors import EmptyError, TruncatedError, UnreadableError, UnsupportedError

DECODED = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"), (b"BM", "BMP"),
    (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"II+\x00", "TIFF"), (b"MM\x00+", "TIFF"),
)  # fmt: skip

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"%!PS", "PostScript"), (b"\xc5\xd0\xd3\xc6", "EPS"), (b"%PDF", "PDF"), (b"8BPS", "Photoshop"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"II\xbc\x01", "JPEG XR"),
    (b"\x00\x00\x01\x00", "icon (ICO)"), (b"\x00\x00\x02\x00", "cursor or Targa"), (b"icns", "icon (ICNS)"),
    (b"gimp xcf", "GIMP"), (b"\x76\x2f\x31\x01", "OpenEXR"), (b"#?RADIANCE", "Radiance HDR"), (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"SIMPLE  =", "FITS"), (b"\x0a\x05\x01\x08", "PCX"), (b"\x59\xa6\x6a\x95", "Sun raster"), (b"\x8aMNG", "MNG"),
    (b"FUJIFILMCCD-RAW", "camera raw"), (b"IIRO", "camera raw"), (b"IIU\x00", "camera raw"), (b"FOVb", "camera raw"),
    (b"\x1a\x45\xdf\xa3", "video (Matroska or WebM)"), (b"FLV\x01", "video (FLV)"),
    (b"\xd7\xcd\xc6\x9a", "Windows metafile"),
)  # fmt: skip

_NOT_PICTURES: tuple[tuple[bytes, str], ...] = (
    (b"\x00\x05\x16\x07", "It is the '._' companion that macOS writes beside a file; use the file itself."),
    (b"version https://git-lfs", "It is a Git LFS pointer, not the picture; run `git lfs pull`."),
    (b"PK\x03\x04", "It is a ZIP archive; unpack it first."),
    (b"\x1f\x8b", "It is a gzip archive; unpack it first."),
)

_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"heim": "HEIF", b"heis": "HEIF",
    b"hevc": "HEIF", b"hevx": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF", b"crx ": "camera raw",
}  # fmt: skip

HEAD_TEXT = 1024
_PNM = frozenset(b"1234567fFy")


@dataclass(frozen=True)
class Container:
    """A picture file that was walked to its end. data: what Pillow decodes; size: (width, height) where the container
    says it.

    scan_end: JPEG only, where the last scan's bytes end, when the completeness of that scan can be tested by decoding.
    """

    format: str
    data: bytes
    size: tuple[int, int] | None = None
    note: str | None = None
    scan_end: int | None = None
    progressive: bool = False


def sniff(head: bytes) -> str:
    """Return the format (one of `DECODED`) of a file that begins with `head`.

    Raises: EmptyError for no bytes; UnsupportedError for a known format that is not decoded; TruncatedError where
        nothing but a part of a signature is there; UnreadableError for everything else.

    >>> sniff(b"GIF89a...")
    'GIF'
    """
    if not head:
        raise EmptyError("Zero bytes.")
    found = next((name for signature, name in _SIGNATURES if head.startswith(signature)), None) or _container(head)
    if found in DECODED:
        return found
    foreign = (
        found or next((name for signature, name in _FOREIGN if head.startswith(signature)), None) or _text_picture(head)
    )
    if foreign is not None:
        raise UnsupportedError(
            f"A file of the kind {foreign} is not decoded. Convert it to JPEG, PNG, WebP, GIF, TIFF or BMP."
        )
    if len(head) >= 2 and any(signature.startswith(head) for signature, _ in _SIGNATURES):
        raise TruncatedError("The file ends inside its first bytes.")
    raise UnreadableError(_not_a_picture(head))


def _container(head: bytes) -> str | None:
    """Return the kind of a RIFF or ISO media file (HEIF, AVIF, MP4), which say it a few bytes in."""
    if head.startswith(b"RIFF") and len(head) >= 12:
        return {b"WEBP": "WEBP", b"AVI ": "video (AVI)"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        if len(head) < 12:
            raise TruncatedError("The file ends inside its first bytes.")
        length = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head), 256), 4))]
        if head[8:12] in (b"mif1", b"msf1") and (b"avif" in brands or b"avis" in brands):
            return "AVIF"  # a generic major brand: the compatible ones say which codec
        return _BRANDS.get(head[8:12]) or next(
            (_BRANDS[brand] for brand in brands if brand in (b"avif", b"heic", b"heix")), "video (MP4)"
        )
    return None


def _text_picture(head: bytes) -> str | None:
    text = head[:HEAD_TEXT].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "SVG"
    if len(head) > 3 and head[:1] == b"P" and head[1] in _PNM and head[2:3] in (b"\n", b" ", b"\r", b"\t"):
        return "PNM"
    return "XPM" if text.startswith(b"/* xpm") else None


def _not_a_picture(head: bytes) -> str:
    for signature, advice in _NOT_PICTURES:
        if head.startswith(signature):
            return advice
    text = head[:HEAD_TEXT].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "It is a web page, not a picture; the download probably failed."
    if not text.strip(b"\x00"):
        return "There is nothing in it but white space or zeros."
    if all(byte >= 32 or byte in b"\t\r\n\x0c" for byte in head[:HEAD_TEXT]):
        return "It is text, not a picture."
    return "It is no picture of any known format."
