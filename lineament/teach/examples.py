"""From photos that somebody sorted to examples: the largest face of each, what the network pools of it, and what might
give it away.

    folders | table -> listed photos -> (drawn, where there are very many) -> face -> crop -> views -> features, traits

Convention: one photo is in memory per thread, so any number of photos takes the same. Features stay in this process and
are written nowhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePath

import numpy as np

from lineament.data.table import LabelTable
from lineament.errors import ImageError, UsageError
from lineament.images import load_image, read_photo
from lineament.inputs.expand import items
from lineament.inputs.item import Item
from lineament.pipeline.analyze import cut, whole_picture
from lineament.pipeline.quality import eye_distances, sharpness
from lineament.runtime.network import Network
from lineament.types import Crops, Faces, Float32, UInt8

MOST = 500
"""Photos of a side that are read; of more, these many are drawn by a hash of their names. A linear head has learned
what it can before."""
VIEWED = 150
"""Sides up to this size are looked at in mirrored and shifted views too; larger ones have variety enough."""
KEPT_CROPS = 64
YES, NO, UNSURE = 1, 0, -1
SIDES = {YES: "yes", NO: "no", UNSURE: "unsure"}

Find = Callable[[UInt8], Faces]


@dataclass(frozen=True)
class Listed:
    """A photo that somebody sorted: label YES, NO or UNSURE; person of a table's `identity` column, None where it says
    none."""

    item: Item
    label: int
    person: int | None = None
    folder: str = ""


@dataclass(frozen=True)
class Traits:
    """What has nothing to do with a face's look, and might tell yes from no all the same."""

    size: tuple[float, ...]
    blur: tuple[float, ...]
    brightness: tuple[float, ...]
    colour_cast: tuple[float, ...]
    compression: tuple[float, ...]


@dataclass(frozen=True)
class Example:
    """One usable photo. features (V,D): the original view first; fingerprint (256,) bool of the crop; crop kept for the
    first few only."""

    listed: Listed
    features: Float32
    traits: Traits
    fingerprint: np.ndarray
    sha256: str
    crop: UInt8 | None = None
    faces: int = 1


@dataclass
class Collected:
    """Usable examples and what was left out: listed counts by side, photos without a face, photos that gave no pixels
    (source, why)."""

    examples: list[Example] = field(default_factory=list)
    listed: dict[str, int] = field(default_factory=dict)
    without_face: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def of_folders(yes: Path, no: Path, unsure: Path | None = None) -> list[Listed]:
    """List the photos of two folders (any depth; an archive will do), and of a third whose photos are neither.

    Raises: UsageError for a folder that is not there or holds no photo.
    """
    found: list[Listed] = []
    for label, folder in ((YES, yes), (NO, no), (UNSURE, unsure)):
        if folder is None:
            continue
        if not folder.exists():
            raise UsageError(f"There is no folder {folder}. Give a folder of photos to --{SIDES[label]}.")
        listed = [Listed(item, label, None, _below(item.source, folder)) for item in items((str(folder),))]
        if not listed:
            raise UsageError(
                f"{folder} holds no photo. Put at least five photos of different people into each of --yes and --no."
            )
        found += listed
    return found


def of_table(path: Path, name: str) -> list[Listed]:
    """List the photos of a table: columns `file` and NAME (1 or 0; empty cells are left out), and `identity` where it
    has one."""
    source = LabelTable(path, attributes=(name,))
    table, root, found = source.table, path.parent, []
    for row, file in enumerate(table.files):
        if table.known[row, 0]:
            person = None if table.identity is None or table.identity[row] < 0 else int(table.identity[row])
            where = root / file
            found.append(
                Listed(Item(str(where), where), int(table.targets[row, 0]), person, str(PurePath(file).parent))
            )
    if not found:
        raise UsageError(f"{path} has no row with a file that is there and a 1 or 0 under {name}.")
    return found


def _below(source: str, folder: Path) -> str:
    """Return the folder of a photo within its side: what can differ between the sides beside the side itself."""
    try:
        return str(Path(source).parent.relative_to(folder))
    except ValueError:
        return ""


def drawn(listed: Iterable[Listed], most: int = MOST) -> list[Listed]:
    """Return at most `most` photos of each side, drawn by a hash of their names: the same on every machine and in every
    run."""
    sides: dict[int, list[Listed]] = {}
    for one in listed:
        sides.setdefault(one.label, []).append(one)
    kept: list[Listed] = []
    for label in (YES, NO, UNSURE):
        side = sides.get(label, [])
        if len(side) > most:
            side = sorted(side, key=lambda one: zlib.crc32(one.item.source.encode("utf-8", "surrogateescape")))[:most]
        kept += side
    return kept


def collect(
    listed: Sequence[Listed],
    network: Network,
    find: Find | None,
    *,
    threads: int = 1,
    seen: Callable[[], None] = lambda: None,
) -> Collected:
    """Read every listed photo and return the examples.

    Args: find: a detector, whose largest face is taken; None where the photos are crops in CelebA's layout. seen: told
        of each photo.
    Raises: UsageError where the same photo is on both sides.
    """
    counts = {side: sum(one.label == label for one in listed) for label, side in SIDES.items()}
    views = max(counts["yes"], counts["no"]) <= VIEWED
    found, kept = Collected(listed=counts), dict.fromkeys(SIDES, 0)
    for one, answer in _in_order(listed, lambda one: _example(one, network, find, views), threads):
        seen()
        if isinstance(answer, Example):
            small = kept[one.label] >= KEPT_CROPS
            kept[one.label] += 1
            found.examples.append(Example(**{**answer.__dict__, "crop": None}) if small else answer)
        elif answer is None:
            found.without_face.append(one.item.source)
        else:
            found.unreadable.append((one.item.source, str(answer)))
    _refuse_both_sides(found.examples)
    return found


def _in_order(
    listed: Sequence[Listed], work: Callable[[Listed], Example | ImageError | None], threads: int
) -> Iterator[tuple[Listed, Example | ImageError | None]]:
    with ThreadPoolExecutor(threads, "teach") as pool:
        for first in range(0, len(listed), 32):
            part = listed[first : first + 32]
            yield from zip(part, pool.map(work, part), strict=True)


def _example(one: Listed, network: Network, find: Find | None, views: bool) -> Example | ImageError | None:
    """Return the example of one photo, None where it shows no face, or the error of one that gives no pixels."""
    if one.item.error is not None:
        return one.item.error
    try:
        data = read_photo(one.item.data if one.item.data is not None else one.item.path)
        image = load_image(data)
        faces = whole_picture(image.pixels, "") if find is None else find(image.pixels)
    except ImageError as error:
        return error
    if not len(faces):
        return None
    count, faces = len(faces), faces.largest_first().take(np.arange(1))
    crops, _ = cut(image, faces, "aligned" if find is None else "detect")
    encoded = data[0] if isinstance(data, tuple) else data
    encoded = bytes(encoded) if isinstance(encoded, (bytes, bytearray)) else image.pixels.tobytes()
    crop = crops.pixels[0]
    return Example(
        one, features_of(network, crop, views),
        traits_of(crop, image.pixels, float(eye_distances(faces.keypoints)[0]), encoded), fingerprint(crop),
        sha256(encoded).hexdigest(), crop, count,
    )  # fmt: skip


def features_of(network: Network, crop: UInt8, views: bool) -> Float32:
    """Return the features (V,D) of a crop (3,218,178): as it is, and with `views` mirrored, shifted and both: examples
    that cost nothing."""
    shown = [crop]
    if views:
        shown += [crop[:, :, ::-1], shifted(crop, 3, 2), shifted(crop[:, :, ::-1], -3, -2)]
    pixels = np.ascontiguousarray(np.stack(shown))
    features = network.with_features(Crops(pixels, np.zeros((len(pixels), 2, 3), np.float32))).features
    assert features is not None
    return features


def shifted(crop: UInt8, right: int, down: int) -> UInt8:
    """Return a crop (3,H,W) moved by whole pixels, its border repeated: what an alignment that errs a little shows."""
    rows = np.clip(np.arange(crop.shape[1]) - down, 0, crop.shape[1] - 1)
    columns = np.clip(np.arange(crop.shape[2]) - right, 0, crop.shape[2] - 1)
    return np.ascontiguousarray(crop[:, rows][:, :, columns])


def fingerprint(crop: UInt8) -> np.ndarray:
    """Return 256 bits of a crop: grey, averaged over 17x16 cells, a bit where a cell is brighter than its left
    neighbour (as dHash)."""
    grey = crop[:, :208, 1:].mean(0).reshape(16, 13, 177)[:, :, :170].reshape(16, 13, 17, 10).mean((1, 3))
    return np.asarray(grey[:, 1:] > grey[:, :-1]).ravel()


def traits_of(crop: UInt8, pixels: UInt8, eye_distance: float, encoded: bytes) -> Traits:
    """Return what may differ between the sides although it has nothing to do with the attribute."""
    red, green, blue = (crop[channel].astype(np.float64).mean() for channel in range(3))
    area = pixels.shape[0] * pixels.shape[1]
    return Traits(
        size=(float(np.log(max(eye_distance, 1.0))), float(np.log(area))),
        blur=(sharpness(crop),),
        brightness=(float(crop.mean()), float(crop.std())),
        colour_cast=(float(red - green), float(blue - green)),
        compression=(float(np.log(len(encoded) / area + 1e-6)), coarseness(encoded), float(encoded[:2] == b"\xff\xd8")),
    )


def coarseness(encoded: bytes) -> float:
    """Return the mean step of a JPEG's first quantisation table (1 the finest), 0 for other files."""
    if encoded[:2] != b"\xff\xd8":
        return 0.0
    at = 2
    while at + 4 <= len(encoded) and encoded[at] == 0xFF:
        length = int.from_bytes(encoded[at + 2 : at + 4], "big")
        if encoded[at + 1] == 0xDB:
            table = encoded[at + 5 : at + 69]
            return float(np.mean(np.frombuffer(table, np.uint8))) if table else 0.0
        at += 2 + length
    return 0.0


def _refuse_both_sides(examples: Sequence[Example]) -> None:
    first: dict[str, Example] = {}
    for example in examples:
        if example.listed.label == UNSURE:
            continue
        other = first.setdefault(example.sha256, example)
        if other.listed.label != example.listed.label:
            raise UsageError(
                f"The same photo is on both sides: {other.listed.item.source} and {example.listed.item.source}. Take "
                "it out of one of them."
            )


NEAR_BITS = 20
"""Crops whose fingerprints differ in at most this many of 256 bits count as one moment."""


def groups_of(examples: Sequence[Example]) -> np.ndarray:
    """Return the group (N,) of each example: near-duplicates, equal files and photos of one known person belong
    together."""
    count = len(examples)
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    bits = np.stack([example.fingerprint for example in examples]).astype(np.float32) * 2 - 1
    near = bits @ bits.T >= bits.shape[1] - 2 * NEAR_BITS
    for row, other in np.argwhere(np.triu(near, 1)):
        parent[root(int(other))] = root(int(row))
    people: dict[int, int] = {}
    for row, example in enumerate(examples):
        if example.listed.person is not None:
            parent[root(row)] = root(people.setdefault(example.listed.person, row))
    return np.array([root(row) for row in range(count)], np.int64)
