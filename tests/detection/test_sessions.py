"""The detector's sessions: as many threads as there are give the same numbers, here and in a forked child."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from lineament.detection.retinaface import WEIGHTS
from lineament.detection.sessions import CpuSession, InFlight, WideSession, in_threads


def test_all_threads_give_the_numbers_of_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 320, 416, 3), np.uint8)
    one, wide = CpuSession(WEIGHTS, 1), WideSession(WEIGHTS, 3)
    for a, b in zip(one.run(None, {"image": image}), wide.run(None, {"image": image}), strict=True):
        np.testing.assert_array_equal(a, b)
    again = pickle.loads(pickle.dumps(wide))
    np.testing.assert_array_equal(again.run(None, {"image": image})[1], one.run(None, {"image": image})[1])


_FORKED = """
import os, sys, numpy as np
from lineament.detection.sessions import WideSession
from lineament.detection.retinaface import WEIGHTS

wide, image = WideSession(WEIGHTS, 2), np.zeros((1, 640, 640, 3), np.uint8)
before = wide.run(None, {"image": image})[1]
child = os.fork()
if not child:
    same = USE and np.array_equal(wide.run(None, {"image": image})[1], before)
    sys.exit(7 if same or not USE else 1)  # the interpreter frees what it has, and must not wait for the parent
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), np.array_equal(wide.run(None, {"image": image})[1], before))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("use", [True, False])
def test_a_forked_child_has_threads_of_its_own(use: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKED.replace("USE", str(use))], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["7", "True"], done.stderr


def test_photos_in_flight_are_counted() -> None:
    flights = InFlight()
    with flights:
        assert flights.alone
        with flights:
            assert not flights.alone
            assert pickle.loads(pickle.dumps(flights)).alone, "another process has its own"
        with pytest.raises(ZeroDivisionError), flights:
            _ = 1 / 0
        assert flights.alone


def test_parts_keep_their_order_whatever_threads_do_them() -> None:
    def work(part: int) -> int:
        time.sleep(0.02 * (part == 0))
        return part * part

    for at_once in (1, 2, 9):
        assert in_threads(work, range(5), at_once) == [0, 1, 4, 9, 16]
    assert in_threads(work, [], 4) == []
