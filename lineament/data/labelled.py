"""Labelled faces, whatever they are stored in: names, targets, which labels are known, people, splits, and bytes on
demand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lineament.errors import DataError, ImageError, UnreadableError


@dataclass(frozen=True)
class LabelledFiles:
    """Rows of a data set. targets (N,A) int8 in {0,1}; known (N,A) bool; identity (N,) int64 or None; split (N,) str or
    None.

    `missing` counts rows that are listed without a file, or files without a row: counted, never guessed.
    """

    files: tuple[str, ...]
    attributes: tuple[str, ...]
    targets: npt.NDArray[np.int8]
    known: npt.NDArray[np.bool_]
    identity: npt.NDArray[np.int64] | None = None
    split: npt.NDArray[np.str_] | None = None
    missing: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.files), len(self.attributes))
        if self.targets.shape != shape or self.known.shape != shape:
            raise DataError(f"targets {self.targets.shape} and known {self.known.shape} must be {shape}.")
        if len(set(self.files)) != len(self.files):
            raise DataError("A file name is listed twice. Each image needs one row.")

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: npt.NDArray[np.intp]) -> LabelledFiles:
        """Return the rows at `index`, in that order."""
        return LabelledFiles(
            tuple(self.files[i] for i in index),
            self.attributes,
            self.targets[index],
            self.known[index],
            None if self.identity is None else self.identity[index],
            None if self.split is None else self.split[index],
            self.missing,
        )

    def choose(self, attributes: Sequence[str]) -> LabelledFiles:
        """Return the same rows with these attributes, in this order. Raises: DataError for one that is not there."""
        absent = [name for name in attributes if name not in self.attributes]
        if absent:
            raise DataError(f"The data have no attribute {', '.join(absent)}. They have: {', '.join(self.attributes)}.")
        columns = [self.attributes.index(name) for name in attributes]
        return replace(
            self, attributes=tuple(attributes), targets=self.targets[:, columns], known=self.known[:, columns]
        )

    def fingerprint(self) -> str:
        """Return 16 hex digits over names and labels: two runs on the same data show the same."""
        digest = hashlib.sha256("\n".join([*self.attributes, *self.files]).encode("utf-8", "surrogateescape"))
        digest.update(np.where(self.known, self.targets, -1).astype(np.int8).tobytes())
        return digest.hexdigest()[:16]


def yes_no(
    values: npt.NDArray[np.float64], given: npt.NDArray[np.bool_], name: str, origin: str
) -> npt.NDArray[np.int8]:
    """Return targets (N,) in {0,1}, 0 where not given. -1 is "no" where a column holds only 1 and -1; beside 0 its
    meaning would be a guess.

    Raises: DataError naming the column and where it stands.
    """
    found = set(np.unique(values[given]).tolist())
    if not (found <= {0.0, 1.0} or found <= {-1.0, 1.0}):
        raise DataError(
            f"{origin}: column {name} holds {sorted(found)[:4]}. Write 1 and 0 (or 1 and -1), and leave unknown cells "
            "empty."
        )
    return np.asarray((values == 1) & given, np.int8)


SPLITS = ("train", "val", "test")
_OTHER_WORDS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "testing": "test",
}


def split_named(word: str) -> str:
    """Return the split that a word means, in this package's word for it: train, val, test; any other word as it is.

    >>> split_named("Validation"), split_named("fold3")
    ('val', 'fold3')
    """
    lower = word.strip().lower()
    return lower if lower in SPLITS else _OTHER_WORDS.get(lower, word)


def unknown_split(word: str, known: Sequence[str]) -> DataError:
    """Return the error of a split that does not exist, naming the one that was meant, or those there are."""
    meant = split_named(word)
    help_ = f"Here it is called {meant}: use --split {meant}." if meant in known else f"Use one of: {', '.join(known)}."
    return DataError(f"Unknown split {word!r}. {help_}")


class Source(Protocol):
    """A data set: its table, and the encoded image of row i."""

    @property
    def table(self) -> LabelledFiles: ...

    def read_bytes(self, row: int) -> bytes: ...


def read_or_error(source: Source, row: int) -> bytes | ImageError:
    """Return the encoded image of a row, or why it cannot be read: a run never ends for one photo."""
    try:
        return source.read_bytes(row)
    except ImageError as error:
        return error
    except (OSError, ValueError) as error:  # a file that is gone or may not be read, a name that no file can have
        return UnreadableError(
            f"{source.table.files[row]} cannot be read: {getattr(error, 'strerror', None) or error}."
        )


class Subset:
    """A source restricted to some rows. `blocks` as the source has them, see `blocks_of`."""

    def __init__(self, source: Source, rows: Sequence[int] | npt.NDArray[np.intp]) -> None:
        self._source, self._rows = source, np.asarray(rows, np.intp)
        self.table = source.table.take(self._rows)
        blocks = blocks_of(source)
        self.blocks = None if blocks is None else blocks[self._rows]

    def read_bytes(self, row: int) -> bytes:
        return self._source.read_bytes(int(self._rows[row]))


class Chosen:
    """A source with some of its attributes. `blocks` as the source has them."""

    def __init__(self, source: Source, attributes: Sequence[str]) -> None:
        self._source, self.table, self.blocks = source, source.table.choose(attributes), blocks_of(source)

    def read_bytes(self, row: int) -> bytes:
        return self._source.read_bytes(row)


def blocks_of(source: Source) -> npt.NDArray[np.intp] | None:
    """Return the block (N,) each row is stored in, where rows of one block are cheap to read together; None where any
    order is as cheap."""
    blocks: npt.NDArray[np.intp] | None = getattr(source, "blocks", None)
    return blocks
