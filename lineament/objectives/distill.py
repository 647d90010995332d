"""Distillation: a teacher's probabilities mixed into the targets, label by label.

    targets (N,A) {0,1}, known (N,A), teacher (N,A) in 0..1 -> (1 - d) * label + d * teacher (N,A), known (N,A)

Convention: NaN in `teacher` means it says nothing there, and the label stands alone. What is unknown stays unknown
unless the caller lets the teacher fill it; then the target is the teacher's probability alone.
Source: Hinton et al., 2015 (arXiv 1503.02531) at temperature 1; for two classes, mixing targets and mixing
cross-entropies are the same loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import ConfigError


def taught(
    targets: Tensor, known: Tensor, teacher: Tensor | None, share: float, fill_unknown: bool = False
) -> tuple[Tensor, Tensor]:
    """Return targets (N,A) in 0..1 and known (N,A) after the teacher had its `share`.

    Args: teacher: None where nobody teaches.
    Raises: ConfigError for a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"loss.distill must lie in 0..1, not {share}.")
    if teacher is None:
        return targets, known
    speaks = torch.isfinite(teacher)
    said = torch.where(speaks, teacher, torch.zeros_like(teacher))
    mixed = torch.where(known & speaks, (1 - share) * targets + share * said, targets)
    filled = ~known & speaks if fill_unknown else torch.zeros_like(known)
    return torch.where(filled, said, mixed), known | filled
