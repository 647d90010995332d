"""Lending: never more than so many out at once, none made that is not needed, a thread's own first."""

from __future__ import annotations

import threading
import time
from itertools import count

import pytest

from lineament.runtime.resource_pool import ResourcePool


def test_one_after_the_other_is_one_thing() -> None:
    made = count()
    lent = ResourcePool(lambda: next(made), 3)
    for _ in range(5):
        with lent.one() as thing:
            assert thing == 0
    assert next(made) == 1


def test_never_more_than_so_many_are_out_and_never_one_twice() -> None:
    made, out, most, lock = count(), set[int](), [0], threading.Lock()
    lent = ResourcePool(lambda: next(made), 2)

    def use() -> None:
        for _ in range(20):
            with lent.one() as thing:
                with lock:
                    assert thing not in out
                    out.add(thing)
                    most[0] = max(most[0], len(out))
                time.sleep(0.0005)
                with lock:
                    out.remove(thing)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], next(made), out) == (2, 2, set())


def test_a_thread_gets_what_it_had_last() -> None:
    lent = ResourcePool(object, 2)
    with lent.one() as mine:
        seen: list[object] = []

        def other() -> None:
            with lent.one() as thing:
                seen.append(thing)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen[0] is not mine
    for _ in range(3):
        with lent.one() as thing:
            assert thing is mine


def test_what_fails_inside_gives_its_thing_back() -> None:
    lent = ResourcePool(object, 1)
    with pytest.raises(ValueError, match="inside"), lent.one() as first:
        raise ValueError("inside")
    with lent.one() as again:
        assert again is first


def test_what_cannot_be_made_leaves_room_for_the_next() -> None:
    tries = iter([OSError("no file"), "thing"])

    def make() -> str:
        made = next(tries)
        if isinstance(made, Exception):
            raise made
        return made

    lent = ResourcePool(make, 1)
    with pytest.raises(OSError, match="no file"), lent.one():
        pass
    with lent.one() as thing:
        assert thing == "thing"
