"""A network that answers from a photo's bytes alone, for the tests of the index: no weights, no decoding, every call
counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lineament.runtime.card import CARD_VERSION, INPUT_CONTRACT, Card
from lineament.schema import CELEBA_40, in_profile
from lineament.types import Answer, FaceReport, Quality, Report


def hit_of(path: Path) -> Any:
    """Return what a search gives of a photo that is as it was indexed (`search.index.Hit`)."""
    from lineament.search.index import Hit

    seen, probs = path.stat(), dict.fromkeys(in_profile("default"), 0.5)
    return Hit(str(path), 0, (5, 5, 35, 45), 0.5, 10.0, probs, seen.st_size, seen.st_mtime_ns)


def toy_card(attributes: tuple[str, ...] = CELEBA_40, thresholds: dict[str, float] | None = None) -> Card:
    document = {
        "card_version": CARD_VERSION, "name": "toy", "architecture": "none", "attributes": list(attributes),
        "input": dict(INPUT_CONTRACT), "decision": {"thresholds": thresholds or {}}, "data": "none", "licence": "none",
        "intended_use": "tests",
    }  # fmt: skip
    return Card.from_json(json.dumps(document), origin="toy")


def face(probs: np.ndarray, attributes: tuple[str, ...] = CELEBA_40, size: float = 30.0) -> FaceReport:
    answers = {name: Answer(float(p), "yes" if p >= 0.5 else "no") for name, p in zip(attributes, probs, strict=True)}
    points = tuple((float(10 + i), float(20 + i)) for i in range(5))
    return FaceReport((1.0, 2.0, 31.0, 42.0), 0.99, points, Quality(size, 0.5, 1.0, 2.0, 3.0), answers)


class ToyModel:
    """As many faces as the hash of the bytes says (0..2), with probabilities drawn from it; files that start with
    b"BAD" are unreadable."""

    def __init__(self, model_id: str = "toy@00000000", attributes: tuple[str, ...] = CELEBA_40) -> None:
        self.id, self.card, self.attributes, self.calls = model_id, toy_card(attributes), attributes, [0]

    def analyze_path(self, path: str) -> Report:
        self.calls[0] += 1
        data = Path(path).read_bytes()
        if data.startswith(b"BAD"):
            return Report(path, "unreadable", self.id, "all", error=("unreadable", "The bytes are of no picture."))
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(data).digest()[:8], "big"))
        count = int(rng.integers(0, 3))
        faces = tuple(face(rng.random(len(self.attributes)).round(4), self.attributes) for _ in range(count))
        return Report(path, "ok" if faces else "no_face", self.id, "all", faces, width=40, height=50)

    def stream(self, sources: Iterable[str], /, *, after: Callable[[Report], None]) -> Iterator[Report]:
        for path in sources:
            report = self.analyze_path(path)
            if report.faces:
                with Image.open(path) as image:
                    after(replace(report, pixels=np.asarray(image.convert("RGB"))))
            yield report


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (50, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix != ".png" else "PNG")
    return path


def contents(db: Path) -> list[tuple[object, ...]]:
    """Everything an index says of its photos, whatever order it was built in."""
    import duckdb

    with duckdb.connect(str(db), read_only=True) as con:
        return con.execute(
            "SELECT path, size, sha256, status, error, width, height, scene, faces.* EXCLUDE (file_id)"
            " FROM files LEFT JOIN faces USING (file_id) ORDER BY path, face"
        ).fetchall()
