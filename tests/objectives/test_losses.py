"""Losses against NumPy written from their formulas; what unknown labels, extremes and duplication must not do."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lineament.decision.layer import sigmoid  # noqa: E402
from lineament.errors import ConfigError  # noqa: E402
from lineament.objectives import losses  # noqa: E402
from lineament.objectives.landmarks import EYES, landmark_loss, landmark_terms, nme_terms  # noqa: E402

RATES = torch.tensor([0.02, 0.5, 0.9])
ALL = {
    "bce": losses.create_loss("bce"),
    "weighted_bce": losses.create_loss("weighted_bce", RATES, power=0.7),
    "focal": losses.create_loss("focal", gamma=1.5),
    "logit_adjusted": losses.create_loss("logit_adjusted", RATES, tau=0.5),
    "squared_error": losses.create_loss("squared_error"),
}


def example(n: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits, targets, known = rng.normal(0, 3, (n, 3)), rng.integers(0, 2, (n, 3)), rng.random((n, 3)) < 0.7
    return torch.tensor(logits), torch.tensor(targets).double(), torch.tensor(known)


def oracle(name: str, z: np.ndarray, t: np.ndarray) -> np.ndarray:
    r = RATES.double().numpy()
    cross = lambda logit: -(t * np.log(sigmoid(logit)) + (1 - t) * np.log(sigmoid(-logit)))  # noqa: E731
    if name == "weighted_bce":
        return cross(z) * np.where(t == 1, (2 * (1 - r)) ** 0.7, (2 * r) ** 0.7)
    if name == "focal":
        return (1 - np.where(t == 1, sigmoid(z), sigmoid(-z))) ** 1.5 * cross(z)
    if name == "logit_adjusted":
        return cross(z + 0.5 * np.log(r / (1 - r)))
    if name == "squared_error":
        return (2 * sigmoid(z) - 1 - (2 * t - 1)) ** 2
    return cross(z)


@pytest.mark.parametrize("name", ALL)
def test_terms_match_numpy(name: str) -> None:
    logits, targets, _ = example()
    np.testing.assert_allclose(
        ALL[name](logits, targets).numpy(), oracle(name, logits.numpy(), targets.numpy()), rtol=1e-6
    )


@pytest.mark.parametrize("name", ALL)
def test_unknown_labels_give_exactly_zero(name: str) -> None:
    logits, targets, known = example()
    targets[~known] = float("nan")
    logits = torch.where(known, logits, torch.full_like(logits, float("inf"))).requires_grad_()
    terms = losses.masked_terms(ALL[name], logits, targets, known)
    losses.reduce(terms, known, torch.ones(3)).backward()
    assert (terms[~known] == 0).all()
    assert (logits.grad[~known] == 0).all()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[known] != 0).any()


@pytest.mark.parametrize("name", ALL)
def test_duplicating_a_batch_changes_nothing(name: str) -> None:
    logits, targets, known = example()
    weights = torch.tensor([0.5, 2.0, 0.5])
    once = losses.reduce(ALL[name](logits, targets), known, weights)
    twice = losses.reduce(ALL[name](logits.repeat(2, 1), targets.repeat(2, 1)), known.repeat(2, 1), weights)
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("name", ALL)
@given(st.floats(-1e4, 1e4), st.sampled_from([0.0, 1.0, 0.3]))
def test_extremes_stay_finite(name: str, logit: float, target: float) -> None:
    logits = torch.full((1, 3), logit, requires_grad=True)
    ALL[name](logits, torch.full((1, 3), target)).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ALL)
def test_gradient_points_to_the_target(name: str) -> None:
    for target, sign in ((1.0, -1), (0.0, 1)):
        logits = torch.zeros(1, 3, requires_grad=True)
        ALL[name](logits, torch.full((1, 3), target)).sum().backward()
        assert (torch.sign(logits.grad) == sign).all()


def test_limits_are_plain_bce() -> None:
    logits, targets, _ = example()
    plain = losses.bce(logits, targets)
    plain_by_option = {"focal": {"gamma": 0.0}, "weighted_bce": {"power": 0.0}, "logit_adjusted": {"tau": 0.0}}
    for name, options in plain_by_option.items():
        same = losses.create_loss(name, RATES if name in losses.NEEDS_RATES else None, **options)
        torch.testing.assert_close(same(logits, targets), plain)


def test_reduce_is_mean_of_attribute_means() -> None:
    terms, known = torch.tensor([[1.0, 5.0], [3.0, 7.0]]), torch.tensor([[True, False], [True, True]])
    assert losses.per_attribute(terms, known).tolist() == [2.0, 7.0]
    assert losses.reduce(terms, known, torch.tensor([1.0, 2.0])).item() == 8.0
    assert losses.reduce(terms, torch.zeros(2, 2, dtype=torch.bool), torch.ones(2)).item() == 0.0


def test_positive_rates_count_known_labels_only() -> None:
    targets, known = (
        torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),
        torch.tensor([[True, True, False], [True, False, False]]),
    )
    assert losses.positive_rates(targets, known).tolist() == [0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "options"), [("nope", {}), ("bce", {"gamma": 1}), ("weighted_bce", {}), ("focal", {"power": 1})]
)
def test_wrong_names_are_errors(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        losses.create_loss(name, **options)


def test_landmark_terms() -> None:
    predicted = torch.zeros(2, 5, 2, requires_grad=True)
    targets = torch.full((2, 5, 2), 0.5)
    targets[1, 3, 0] = float("nan")
    assert landmark_terms(predicted, targets).tolist() == [0.25, 0.0]
    landmark_loss(predicted, targets).backward()
    assert (predicted.grad[1] == 0).all()
    assert (predicted.grad[0] == -0.1).all()  # d/dp of the mean of ten squares
    assert landmark_loss(predicted, torch.full((2, 5, 2), float("nan"))).item() == 0.0


@pytest.mark.parametrize("count", EYES)
def test_nme_is_the_mean_distance_over_the_eye_distance(count: int) -> None:
    rng, size = np.random.default_rng(count), (216, 176)
    targets, predicted = rng.random((3, count, 2)), rng.random((3, count, 2))
    targets[1] = np.nan
    expected = []
    for face, said in zip(targets, predicted, strict=True):
        pixels, guess = face * [176, 216], said * [176, 216]
        right, left = (np.mean([pixels[i] for i in points], axis=0) for points in EYES[count])
        expected.append(
            np.mean([np.hypot(*(a - b)) for a, b in zip(pixels, guess, strict=True)])
            / max(np.hypot(*(right - left)), 1.0)
        )
    got = nme_terms(torch.tensor(predicted), torch.tensor(targets), size)
    np.testing.assert_allclose(got.numpy(), np.nan_to_num(expected), atol=1e-4)
    asked = torch.tensor(predicted, requires_grad=True)
    loss = landmark_loss(asked, torch.tensor(targets), form="nme", size=size)
    loss.backward()
    assert loss.item() == pytest.approx(np.nansum(expected) / 2, rel=1e-4)
    assert torch.isfinite(asked.grad).all()
    assert (asked.grad[1] == 0).all()


def test_nme_keeps_its_pull_where_squared_error_has_lost_it() -> None:
    """Points 1 % of the crop away: the squared error's gradient has shrunk with them, the distance's has not. Without
    known eyes it is refused."""
    targets = torch.full((1, 68, 2), 0.5) + torch.linspace(-0.2, 0.2, 68)[None, :, None]
    pulls = {}
    for form in ("squared", "nme"):
        for away in (0.1, 0.01):
            asked = (targets + away).requires_grad_()
            landmark_loss(asked, targets, form=form, size=(216, 176)).backward()
            pulls[form, away] = asked.grad.abs().sum().item()
    assert pulls["squared", 0.01] == pytest.approx(pulls["squared", 0.1] / 10, rel=1e-3)
    assert pulls["nme", 0.01] == pytest.approx(pulls["nme", 0.1], rel=1e-2)
    with pytest.raises(ConfigError, match="not of 72"):
        nme_terms(torch.zeros(1, 72, 2), torch.zeros(1, 72, 2), (216, 176))
    with pytest.raises(ConfigError, match="size"):
        landmark_loss(targets, targets, form="nme")


def test_eyes_lie_where_the_mean_face_has_them() -> None:
    from lineament.data.mean_face import MEAN_FACE_68
    from lineament.data.mirror import MIRROR
    from lineament.geometry import TEMPLATE

    for count, (right, left) in EYES.items():
        assert {MIRROR[count][i] for i in right} == set(left), "a mirror puts one eye in the other's place"
    right, left = (MEAN_FACE_68[list(points)].mean(0) for points in EYES[68])
    np.testing.assert_allclose([right, left], TEMPLATE[:2], atol=3)
