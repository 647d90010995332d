"""Mixing a teacher into targets: against the formula entry by entry, and what silence and unknown labels mean."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.errors import ConfigError  # noqa: E402
from lineament.objectives.distill import taught  # noqa: E402
from lineament.objectives.losses import bce, masked_terms  # noqa: E402


def case(seed: int = 0):
    rng = np.random.default_rng(seed)
    targets, known, teacher = (
        rng.integers(0, 2, (6, 5)).astype(np.float32),
        rng.random((6, 5)) < 0.7,
        rng.random((6, 5)).astype(np.float32),
    )
    teacher[rng.random((6, 5)) < 0.3] = np.nan
    return targets, known, teacher


@pytest.mark.parametrize("fill", [False, True])
def test_every_entry_is_the_formula(fill: bool) -> None:
    targets, known, teacher = case()
    mixed, now_known = taught(torch.tensor(targets), torch.tensor(known), torch.tensor(teacher), 0.3, fill)
    for i in range(6):
        for j in range(5):
            speaks = not np.isnan(teacher[i, j])
            assert bool(now_known[i, j]) == (known[i, j] or (fill and speaks))
            if known[i, j]:
                expected = 0.7 * targets[i, j] + 0.3 * teacher[i, j] if speaks else targets[i, j]
                assert float(mixed[i, j]) == pytest.approx(expected, abs=1e-6)
            elif now_known[i, j]:
                assert float(mixed[i, j]) == pytest.approx(teacher[i, j])


def test_mixing_targets_is_mixing_cross_entropies() -> None:
    targets, known, teacher = (torch.tensor(part) for part in case(1))
    teacher = teacher.nan_to_num(0.5)
    logits = torch.randn(6, 5)
    mixed, now_known = taught(targets, known, teacher, 0.4)
    whole = masked_terms(bce, logits, mixed, now_known)
    parts = 0.6 * masked_terms(bce, logits, targets, known) + 0.4 * masked_terms(bce, logits, teacher, known)
    torch.testing.assert_close(whole, parts)


def test_no_teacher_and_no_share_change_nothing_and_nonsense_is_refused() -> None:
    targets, known, teacher = (torch.tensor(part) for part in case(2))
    for silent in (None, torch.full_like(teacher, float("nan"))):
        same, same_known = taught(targets, known, silent, 0.0)
        assert torch.equal(same, targets)
        assert torch.equal(same_known, known)
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        taught(targets, known, teacher, 1.5)
