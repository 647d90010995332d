"""Why a folder gave no photo, though there is something in it: camera raw files, videos, archives, each with what to do
about them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from lineament.inputs.item import CONTAINER_SUFFIXES, VIDEO_SUFFIXES, passed_over

RAW_SUFFIXES = frozenset(
    {
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
        ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    }
)  # fmt: skip
MOST = 10_000
"""Names looked at: enough to tell what a folder is full of."""


def other_files(inputs: Iterable[str]) -> list[str]:
    """Return sentences about what the folders among the inputs hold in place of photos; none where there is nothing to
    say."""
    kinds: Counter[str] = Counter()
    for number, name in enumerate(_names(inputs)):
        if number >= MOST:
            break
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        kinds["raw"] += suffix in RAW_SUFFIXES
        kinds["video"] += suffix in VIDEO_SUFFIXES
        kinds["closed"] += name.lower().endswith(CONTAINER_SUFFIXES) and suffix not in VIDEO_SUFFIXES
    told = {
        "raw": "camera raw, which is not decoded: convert it to JPEG or TIFF first.",
        "video": "videos: name them one by one (or FOLDER/*.mp4), and frames are taken of them.",
        "closed": "archives or tables: name them one by one, and the photos inside are answered.",
    }
    return [
        f"{kinds[kind]} of the files there {'is' if kinds[kind] == 1 else 'are'} {text}"
        for kind, text in told.items()
        if kinds[kind]
    ]


def _names(inputs: Iterable[str]) -> Iterator[str]:
    for folder in inputs:
        if Path(folder).is_dir():
            for _, folders, names in os.walk(folder):
                folders[:] = [name for name in folders if not passed_over(name)]
                yield from (name for name in names if not passed_over(name))
