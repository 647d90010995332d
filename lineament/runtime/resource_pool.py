"""A pool of resources that one thread at a time may use: made when first needed, at most so many.

with lent.one() as thing: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore, local
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class ResourcePool(Generic[Thing]):
    """At most `count` things, each made by `make` when all others are out. A thread gets the one it had last, if that
    is free: it is warm."""

    def __init__(self, make: Callable[[], Thing], count: int) -> None:
        self._make, self._room, self._lock, self._mine = make, Semaphore(count), Lock(), local()
        self._free: list[Thing] = []

    @contextmanager
    def one(self) -> Iterator[Thing]:
        """Lend one thing, waiting for it where all are out."""
        with self._room:
            thing = self._taken()
            thing = self._make() if thing is None else thing
            self._mine.last = thing
            try:
                yield thing
            finally:
                with self._lock:
                    self._free.append(thing)

    def _taken(self) -> Thing | None:
        with self._lock:
            if not self._free:
                return None
            mine = getattr(self._mine, "last", None)
            place = next((place for place, thing in enumerate(self._free) if thing is mine), -1)
            return self._free.pop(place)
