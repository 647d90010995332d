"""The lines of progress that `prepare` and `train` print."""

from __future__ import annotations

import pytest

from lineament.cli import prepare


def test_work_that_counts_two_things_in_turn_never_says_a_negative_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(float(second) for second in range(0, 1000, 10))
    monkeypatch.setattr(prepare.time, "monotonic", lambda: next(clock))
    tell = prepare.teller(quiet=False).of("region network")
    for done in (100, 20_000):
        tell(done, 20_000)  # images annotated
    for done in (1, 11, 21):
        tell(done, 1600)  # steps of training
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "region network: 21 of 1,600, 1/s, 26.3 min left"
    assert not any("-" in line for line in lines)
