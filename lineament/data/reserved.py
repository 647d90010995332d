"""People of CelebA's train split that no training sees: choices are made on them, so that validation is left for saying
how good they were.

    identity (N,) -> reserved (N,) bool

Chosen once, by a hash of the person's number: the same people in any copy or part of CelebA, and no list to keep beside
the data. A person is reserved whole. Of the 56,330 train images that the results of this repository were made from,
4,007 (551 people) are.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

SEED, SHARE = "lineament-16", 0.073
"""Never change these: weights trained by other rules have seen other people."""


def is_reserved(person: int) -> bool:
    """Whether a person (CelebA's `celeb_id`) is reserved; a person who is not known (negative) never is.

    >>> [person for person in range(1, 40) if is_reserved(person)]
    [5, 7, 9, 15]
    """
    if person < 0:
        return False
    digest = hashlib.sha256(f"{SEED}:{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < SHARE


def reserved(identity: npt.NDArray[np.int64] | None, rows: int) -> npt.NDArray[np.bool_]:
    """Return which of `rows` rows show a reserved person (N,); none where identities are not known."""
    if identity is None:
        return np.zeros(rows, np.bool_)
    people, place = np.unique(identity, return_inverse=True)
    return np.array([is_reserved(int(person)) for person in people], np.bool_)[place]
