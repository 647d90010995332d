"""The landmark loss of DMM-CNN, masked by known faces: squared error in the crop's coordinates, or the distance as a
share of the eye distance.

predicted, targets (N,L,2) in 0..1 of the frame -> terms (N,) -> mean over faces whose landmarks are known ()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lineament.errors import ConfigError

FORMS = ("squared", "nme")
EYES: Mapping[int, tuple[Sequence[int], Sequence[int]]] = {
    5: ((0,), (1,)),
    68: (range(36, 42), range(42, 48)),
    98: (range(60, 68), range(68, 76)),
    468: ((33, 133, 159, 145), (263, 362, 386, 374)),
}
"""Points whose mean is the middle of the subject's right and left eye, by the number of landmarks."""
_SOFT = 1e-6


def landmark_terms(predicted: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean squared error of each face (N,), exactly zero where its landmarks are unknown.

    Args: predicted, targets (N,L,2) in 0..1 of the frame; known (N,) bool, default: faces whose targets hold no NaN.
    Source: DMM-CNN, arXiv 2002.03683; MSE is reconstructed. In 0..1 it is small: a head that misses by 2 % of the crop
    has a loss of 1.5e-4 beside an attribute's 0.2, so a weight (`loss.landmark`) of 0.5 leaves the trunk to the
    attributes. Near 50 the two weigh alike, which costs accuracy (docs/benchmarks/systems.md,
    `dmm-cnn-landmarks-strong`). `nme_terms` has a scale of its own.
    """
    given, safe, _ = _known(predicted, targets, known)
    return ((given - safe) ** 2).mean((1, 2))


def nme_terms(predicted: Tensor, targets: Tensor, size: tuple[int, int], known: Tensor | None = None) -> Tensor:
    """Return the mean distance of each face's points over the distance of its eyes (N,), zero where its landmarks are
    unknown.

    The figure that landmark papers report (normalised mean error): 0.05 is a twentieth of the eye distance. Its
    gradient does not fade as the error shrinks, so a weight near 1 keeps it learning beside an attribute's 0.2.

    Args: predicted, targets (N,L,2) in 0..1 of the frame; size (h, w) of the frame in pixels, since 0..1 stretches its
    axes differently; known as in `landmark_terms`.
    Raises: ConfigError for a number of points whose eyes are not known (5, 68, 98 and 468 are).
    Source: reconstructed; the measure is that of iBUG's 300-W.
    """
    if targets.shape[1] not in EYES:
        raise ConfigError(
            f"loss.landmark_form: nme knows the eyes of {', '.join(map(str, EYES))} landmarks, not of "
            f"{targets.shape[1]}. Use squared."
        )
    given, safe, seen = _known(predicted, targets, known)
    scale = torch.tensor([size[1], size[0]], dtype=safe.dtype, device=safe.device)
    right, left = (safe[:, list(points)].mean(1) * scale for points in EYES[targets.shape[1]])
    apart = torch.where(seen, (right - left).norm(dim=1), torch.ones_like(safe[:, 0, 0])).clamp(min=1.0)
    distance = ((((given - safe) * scale) ** 2).sum(2) + _SOFT).sqrt()
    return torch.where(seen, distance.mean(1) / apart, torch.zeros_like(apart))


def _known(predicted: Tensor, targets: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions and targets with zeros for unknown faces, and which faces are known (N,): not even 0 * NaN can
    leak."""
    seen = ~torch.isnan(targets).flatten(1).any(1) if known is None else known
    safe = torch.where(seen.view(-1, 1, 1), targets, torch.zeros_like(targets))
    return torch.where(seen.view(-1, 1, 1), predicted, torch.zeros_like(predicted)), safe, seen


def landmark_loss(
    predicted: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    form: str = "squared",
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Return the mean over faces with known landmarks, (); 0 without one.

    Args: form: `squared` or `nme`, which needs the frame's size (h, w).
    """
    seen = ~torch.isnan(targets).flatten(1).any(1) if known is None else known
    if form == "nme":
        if size is None:
            raise ConfigError("The landmark loss nme needs the size (h, w) of the frame.")
        terms = nme_terms(predicted, targets, size, seen)
    else:
        terms = landmark_terms(predicted, targets, seen)
    return terms.sum() / seen.sum().clamp(min=1)
