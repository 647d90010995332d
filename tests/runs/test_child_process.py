"""Child processes: every wait for one ends, whatever it does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoder_kit import echoes, never_starts

from lineament.runs.child_process import ChildLostError, ChildProcess


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    made = ChildProcess(echoes, ("a", "b"), name="echo")
    assert made.receive(60) == ("a", "b")
    yield made
    made.close()


def test_a_wait_ends_and_the_late_answer_is_the_next(child: ChildProcess) -> None:
    child.send("wait")
    with pytest.raises(TimeoutError):
        child.receive(0.05)
    assert child.receive(60) == "wait"
    child.send({"any": [1, None]})
    assert child.receive(60) == {"any": [1, None]}


def test_killing_it_ends_a_wait_in_another_thread(child: ChildProcess) -> None:
    found: list[BaseException] = []

    def waits() -> None:
        try:
            child.receive(600)
        except ChildLostError as error:
            found.append(error)

    waiting = threading.Thread(target=waits)
    waiting.start()
    child.kill()
    waiting.join(60)
    assert len(found) == 1
    child.close()
    assert not child.alive()
    with pytest.raises(ChildLostError):
        child.send("more")


def test_one_that_ends_at_once_is_lost() -> None:
    child = ChildProcess(never_starts, name="none")
    with pytest.raises(ChildLostError):
        child.receive(60)
    child.close()


@pytest.mark.skipif(not hasattr(os, "setsid"), reason="sessions are POSIX")
def test_it_is_in_a_session_of_its_own(child: ChildProcess) -> None:
    assert child.pid is not None
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_a_program_that_forgets_its_child_ends() -> None:
    program = (
        "from decoder_kit import echoes\nfrom lineament.runs.child_process import ChildProcess\n"
        "if __name__ == '__main__':\n    child = ChildProcess(echoes, name='echo')\n    child.receive(60)\n"
    )
    where = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path])}
    assert subprocess.run([sys.executable, "-c", program], env=where, timeout=120, check=False).returncode == 0
