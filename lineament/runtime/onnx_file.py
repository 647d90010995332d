"""The card inside an ONNX file, read and replaced without the `onnx` package: the file is a protobuf message, metadata
one of its fields.

    file bytes -> (field number, payload)* -> metadata {key: text}

Source: `ModelProto` in onnx.proto3: field 7 is the graph, field 14 `metadata_props`, entries with 1 = key and 2 =
value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lineament.errors import ModelFileError
from lineament.files import replacing, sha256_of
from lineament.runtime.card import CARD_KEY, Card

_GRAPH, _METADATA = 7, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_card(path: Path) -> Card:
    """Return the card inside an ONNX file, its SHA-256 included.

    Raises: ModelFileError where the file is no ONNX model or carries no card.
    """
    metadata = read_metadata(path)
    if CARD_KEY not in metadata:
        raise ModelFileError(
            f"{path} carries no Lineament card, so nothing is known about its input, attribute names or thresholds. "
            "Export it with `lineament export RUN --out FILE`, or add a card with "
            "lineament.runtime.onnx_file.with_card."
        )
    return Card.from_json(metadata[CARD_KEY], origin=str(path), file_sha256=sha256_of(path))


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file. Raises: ModelFileError where it is damaged or no ONNX file."""
    try:
        with path.open("rb") as file:
            fields = [(number, payload) for number, payload, _ in _fields(file, keep=_METADATA)]
    except OSError as error:
        raise ModelFileError(f"Cannot read the model file {path}: {error.strerror}.") from error
    except (ValueError, EOFError) as error:
        raise ModelFileError(
            f"{path} is not an ONNX model, or it is damaged ({error}). Fetch or export it again."
        ) from error
    if _GRAPH not in [number for number, _ in fields]:
        raise ModelFileError(f"{path} is not an ONNX model: it holds no graph. Fetch or export it again.")
    return dict(_entry(payload) for number, payload in fields if number == _METADATA)


def with_card(path: Path, card: Card, out: Path) -> None:
    """Write a copy of an ONNX file that carries `card` instead of its own; every other byte of the model stays.

    `out` may be `path`: it is replaced at once, never half-written.
    """
    kept = bytearray()
    with path.open("rb") as file:
        for number, payload, raw in _fields(file, keep=None):
            if number != _METADATA or _entry(payload)[0] != CARD_KEY:
                kept += raw
    key, value = CARD_KEY.encode(), card.to_json().encode("utf-8")
    entry = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value
    kept += _varint(_METADATA << 3 | _BYTES) + _varint(len(entry)) + entry
    with replacing(out) as partial:
        partial.write_bytes(kept)


def _fields(file: BinaryIO, keep: int | None) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (field number, payload, raw bytes) of a message; payloads of fields other than `keep` are skipped unless it
    is None."""
    size = file.seek(0, 2)
    file.seek(0)
    while (start := file.tell()) < size:
        tag = _read_varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _read_varint(file)
            length = 0
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length = _read_varint(file)
        else:
            raise ValueError(f"field {number} has wire type {kind}")
        body = file.tell()
        if number == 0 or body + length > size:
            raise EOFError(f"field {number} ends after the file does")
        wanted = keep is None or number == keep
        payload = file.read(length) if wanted else b""
        raw = b""
        if keep is None:
            file.seek(start)
            raw = file.read(body + length - start)
        file.seek(body + length)
        yield number, payload, raw


def _entry(payload: bytes) -> tuple[str, str]:
    from io import BytesIO

    parts = {number: body for number, body, _ in _fields(BytesIO(payload), keep=None)}
    return parts.get(1, b"").decode("utf-8"), parts.get(2, b"").decode("utf-8")


def _read_varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise EOFError("number cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
