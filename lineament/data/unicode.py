"""Text files in any Unicode encoding: which one it is, by byte-order mark or by its zeros; anything else is taken as
the bytes it is.

    bytes -> "utf-8-sig" | "utf-16-le" ... | None (no Unicode encoding but UTF-8 or a legacy one)

Spreadsheets and shells of Windows write UTF-16; editors put a byte-order mark before UTF-8. Source: the Unicode
Standard, 23.8 (byte-order mark). Reconstructed here: telling UTF-16 and UTF-32 without a mark.
"""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_RUNS = {"utf-16-le": rb"(?:[\t\n\r -~]\x00){4}", "utf-16-be": rb"(?:\x00[\t\n\r -~]){4}"}
"""Four characters of ASCII in a row, as every file name's ending or number has; lists separated by NUL have no such
run."""
_LOOKED_AT = 1 << 16


def encoding_of(data: bytes) -> tuple[str | None, int]:
    """Return a text's encoding and the length of its byte-order mark; (None, 0) for UTF-8 without a mark and everything
    else.

    >>> encoding_of(b"\\xff\\xfea\\x00"), encoding_of(b"plain"), encoding_of("a.jpg".encode("utf-16-be"))
    (('utf-16-le', 2), (None, 0), ('utf-16-be', 0))
    """
    for mark, name in _MARKS:
        if data.startswith(mark):  # UTF-32 before UTF-16, whose mark it begins with; no text begins with NUL
            return name, len(mark)
    if b"\x00" not in data[:_LOOKED_AT]:
        return None, 0
    for name in ("utf-32-le", "utf-32-be"):
        if len(data) % 4 == 0 and _decodes(data, name):
            return name, 0
    for name, run in _RUNS.items():
        found = re.search(run, data[:_LOOKED_AT])
        if found is not None and found.start() % 2 == 0 and _decodes(data, name):
            return name, 0
    return None, 0


def decode_text(data: bytes) -> str:
    """Return a text file as text, without its byte-order mark; bytes that are in no Unicode encoding as surrogate
    escapes (as in file names).

    What is not whole (half a UTF-16 character) becomes U+FFFD.
    """
    encoding, mark = encoding_of(data)
    if encoding in (None, "utf-8"):
        return data[mark:].decode("utf-8", "surrogateescape")
    return data[mark:].decode(str(encoding), "replace")


def codec_of(head: bytes) -> tuple[str, str]:
    """Return (encoding, errors) with which to open a text file that begins with `head`, its byte-order mark left out.

    >>> codec_of("file,Smiling".encode("utf-16"))
    ('utf-16', 'replace')
    """
    encoding, mark = encoding_of(head)
    if encoding is None or encoding == "utf-8":
        return "utf-8-sig", "surrogateescape"
    return (encoding.rpartition("-")[0] if mark else encoding), "replace"


def _decodes(data: bytes, encoding: str) -> bool:
    """Return whether the beginning of a text decodes, to characters of which none is NUL (which would separate names,
    in another encoding)."""
    width = 4 if encoding.startswith("utf-32") else 2
    try:
        return "\x00" not in data[: min(len(data), _LOOKED_AT) // width * width].decode(encoding)
    except UnicodeDecodeError as error:
        return width == 2 and error.start >= _LOOKED_AT - 4  # a pair of surrogates across the end of what is looked at
