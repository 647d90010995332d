"""Pictures that a run leaves in folders: annotated photos and aligned crops.

    report (with pixels) -> DIR/STEM-HASH.jpg, DIR/STEM-HASH-FACE.png

The hash is of the whole source, so two photos of one name in two folders never meet. A file is written whole or not at
all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from lineament.errors import UsageError
from lineament.files import replacing
from lineament.inputs.item import source_hash
from lineament.types import Report

JPEG_QUALITY = 92


class DrawFolder:
    """Annotated photos as JPEG, one per photo with pixels."""

    def __init__(self, folder: Path) -> None:
        self._folder = made(folder)

    def __call__(self, report: Report) -> None:
        if report.pixels is not None:
            _save(report.draw(), self._folder / f"{name_of(report.source)}.jpg", quality=JPEG_QUALITY)


class CropFolder:
    """Aligned faces as PNG (178x218), so that feeding them back with `--faces aligned` gives the same answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = made(folder)

    def __call__(self, report: Report) -> None:
        if report.pixels is None or not report.faces:
            return
        for index, crop in enumerate(report.crops()):
            _save(
                Image.fromarray(crop.transpose(1, 2, 0).copy()), self._folder / f"{name_of(report.source)}-{index}.png"
            )


def remove_pictures(folder: Path, sources: Iterable[str]) -> None:
    """Remove the annotated photos and crops that a run left of some sources."""
    for source in sources:
        name = name_of(source)
        for path in (folder / f"{name}.jpg", *folder.glob(f"{name}-*.png")):
            path.unlink(missing_ok=True)


def made(folder: Path) -> Path:
    """Return the folder, made if need be. Raises: UsageError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot make the folder {folder}: {error.strerror}. Name one where you may write.") from error
    return folder


def name_of(source: str) -> str:
    """Return a file name for a source that any file system takes and no other source gets.

    >>> name_of("a/b c.jpg")
    'b_c-d722776ad06a99da'
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(source).stem)[:60].strip(".") or "photo"
    return f"{stem}-{source_hash(source).hex()[:16]}"


def _save(picture: Image.Image, path: Path, **options: int) -> None:
    with replacing(path, unique=True) as partial:
        picture.save(partial, format="PNG" if path.suffix == ".png" else "JPEG", **options)
