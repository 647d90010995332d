"""Drawn faces on disk, in each layout the readers know: the official release, a hub's Parquet, your own table, and
training arrays.

Convention: unknown labels stay unknown. The official layout cannot say "unknown", so the names of `NOT_DRAWN` are left
out of its list.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lineament.data import columns
from lineament.data.synthetic import NOT_DRAWN, SyntheticFaces, encode, synthetic_table
from lineament.errors import MissingExtraError
from lineament.schema import CELEBA_40

DRAWN: tuple[str, ...] = tuple(name for name in CELEBA_40 if name not in NOT_DRAWN)
_SPLITS = ("train", "val", "test")


def _split(faces: SyntheticFaces) -> list[str]:
    split = synthetic_table(len(faces)).split
    assert split is not None
    return [str(part) for part in split]


def _image(faces: SyntheticFaces, row: int, kind: str) -> bytes:
    return encode(np.ascontiguousarray(faces.crops[row].transpose(1, 2, 0)), kind)


def _name(faces: SyntheticFaces, row: int, suffix: str) -> str:
    return Path(faces.files[row]).with_suffix(suffix).name


def write_official(folder: str | os.PathLike[str], faces: SyntheticFaces) -> Path:
    """Write the official release's layout: the three lists and img_align_celeba/*.jpg; return the folder."""
    root = Path(folder)
    (root / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    names = [_name(faces, row, ".jpg") for row in range(len(faces))]
    kept = [CELEBA_40.index(name) for name in DRAWN]
    lines = [
        f"{file} " + " ".join("1" if value else "-1" for value in faces.targets[row, kept])
        for row, file in enumerate(names)
    ]
    for row, file in enumerate(names):
        (root / "img_align_celeba" / file).write_bytes(_image(faces, row, "JPEG"))
    parts = [f"{file} {_SPLITS.index(part)}" for file, part in zip(names, _split(faces), strict=True)]
    people = [f"{file} {person}" for file, person in zip(names, faces.identity, strict=True)]
    for name, rows in (
        ("list_attr_celeba.txt", [str(len(faces)), " ".join(DRAWN), *lines]),
        ("list_eval_partition.txt", parts),
        ("identity_CelebA.txt", people),
    ):
        (root / name).write_text("\n".join(rows) + "\n", "utf-8")
    return root


def write_parquet(folder: str | os.PathLike[str], faces: SyntheticFaces, shards: int = 2) -> Path:
    """Write Parquet shards as dataset hubs store CelebA: image {bytes, path}, file, celeb_id, a boolean per attribute
    (null: unknown).

    Raises: MissingExtraError without PyArrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("PyArrow", "parquet") from error
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(np.array_split(np.arange(len(faces)), shards)):
        names = [_name(faces, row, ".jpg") for row in rows]
        record: dict[str, object] = {
            "image": [
                {"bytes": _image(faces, row, "JPEG"), "path": name} for row, name in zip(rows, names, strict=True)
            ],
            "file": names,
            "celeb_id": pa.array(faces.identity[rows]),
        }
        for column, attribute in enumerate(CELEBA_40):
            record[attribute] = pa.array(
                [bool(faces.targets[r, column]) if faces.known[r, column] else None for r in rows], pa.bool_()
            )
        pq.write_table(pa.table(record), root / f"train-{number:05d}-of-{shards:05d}.parquet")
    return root


def write_table(path: str | os.PathLike[str], faces: SyntheticFaces) -> Path:
    """Write a CSV (or .parquet) table with file, identity, split and attributes (empty: unknown), and the PNG images
    beside it."""
    where = Path(path)
    (where.parent / "images").mkdir(parents=True, exist_ok=True)
    for row, file in enumerate(faces.files):
        (where.parent / "images" / file).write_bytes(_image(faces, row, "PNG"))
    record: dict[str, list[object]] = {
        "file": [f"images/{file}" for file in faces.files],
        "identity": [int(person) for person in faces.identity],
        "split": list(_split(faces)),
    }
    for column, attribute in enumerate(CELEBA_40):
        record[attribute] = [
            int(value) if known else None
            for value, known in zip(faces.targets[:, column], faces.known[:, column], strict=True)
        ]
    columns.write(where, record)
    return where


def write_arrays(folder: str | os.PathLike[str], faces: SyntheticFaces) -> tuple[Path, Path]:
    """Write what `data.regions` and `data.landmarks` of a config read: regions.npy (N,8,109,89) uint8, landmarks.npy
    (N,5,2) float32 in 0..1."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    halves = faces.regions.reshape(len(faces), 8, 109, 2, 89, 2).mean((3, 5))
    np.save(root / "regions.npy", np.round(255 * halves).astype(np.uint8))
    np.save(root / "landmarks.npy", (faces.keypoints / np.array([178, 218])).astype(np.float32))
    return root / "regions.npy", root / "landmarks.npy"
