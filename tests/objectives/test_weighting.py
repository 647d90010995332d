"""Weighting strategies: each rule against NumPy, the shared promises, and resuming."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.errors import ConfigError  # noqa: E402
from lineament.objectives.weighting import LEAST, MOST, STRATEGIES, clamp_mean_one, create_weighting  # noqa: E402

NAMES = ("a", "b", "c", "d")
GROUPS = {"one": ("a", "c"), "two": ("b",), "three": ("d",)}
EPOCHS = np.array([[0.6, 0.4, 0.5, 0.2], [0.5, 0.38, 0.45, 0.1], [0.45, 0.37, 0.44, 0.05]])


def run(name: str, epochs: int = 3, **options: float) -> torch.nn.Module:
    weighting = create_weighting(name, NAMES, GROUPS, **options)
    for losses in torch.tensor(EPOCHS[:epochs]):
        weighting.update(losses)
        weighting.end_window(losses, losses * 1.1)
    return weighting


def bounded(weights: np.ndarray) -> np.ndarray:
    return np.clip(weights / weights.mean(), LEAST, MOST)


def trend(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    moved = np.abs(now - before) / now
    return bounded(moved / moved.mean() * now / now.mean())


def test_uniform_is_ones() -> None:
    assert run("uniform").weights().tolist() == [1, 1, 1, 1]


def test_dws_is_the_stated_rule() -> None:
    groups = np.stack([EPOCHS[:, [0, 2]].mean(1), EPOCHS[:, 1], EPOCHS[:, 3]], 1)
    r = groups[2] / groups[1]
    w = 3 * np.exp(r / 2) / np.exp(r / 2).sum() * groups[2].mean() / groups[2]
    np.testing.assert_allclose(run("dws").weights().numpy(), bounded(w[[0, 1, 0, 2]]), rtol=1e-5)
    unscaled = 3 * np.exp(r / 2) / np.exp(r / 2).sum()
    np.testing.assert_allclose(run("dws", scale=False).weights().numpy(), bounded(unscaled[[0, 1, 0, 2]]), rtol=1e-5)


def test_dws_favours_the_slow_group() -> None:
    weights = run("dws", scale=False).weights()
    assert weights[1] > weights[3]  # b hardly falls, d halves


def test_validation_trend_is_the_read_rule() -> None:
    np.testing.assert_allclose(
        run("validation_trend").weights().numpy(), trend(EPOCHS[1] * 1.1, EPOCHS[2] * 1.1), rtol=1e-5
    )


def test_dmm_smooths_the_trend() -> None:
    first = 0.5 + 0.5 * trend(EPOCHS[0], EPOCHS[1])
    expected = bounded(0.5 * bounded(first) + 0.5 * trend(EPOCHS[1], EPOCHS[2]))
    np.testing.assert_allclose(run("dmm").weights().numpy(), expected, rtol=1e-5)


def test_uncertainty_learns_by_gradient() -> None:
    weighting = create_weighting("uncertainty", NAMES, GROUPS)
    losses = torch.tensor([0.9, 0.5, 0.2, 0.01])
    optimiser = torch.optim.SGD(weighting.parameters(), lr=1.0)
    for _ in range(400):
        optimiser.zero_grad()
        ((weighting.weights() * losses).mean() + weighting.penalty()).backward()
        optimiser.step()
    weights = weighting.weights().detach()
    np.testing.assert_allclose((weights * losses)[:3].numpy(), 0.5, atol=0.02)  # the optimum of w L - log(w)/2
    assert MOST - 0.5 < weights[3] <= MOST


@pytest.mark.parametrize("name", STRATEGIES)
def test_promises(name: str) -> None:
    weighting = create_weighting(name, NAMES, GROUPS)
    assert weighting.weights().tolist() == [1, 1, 1, 1], "a strategy that has seen nothing answers ones"
    for losses in (
        torch.full((4,), 1e-12),
        torch.full((4,), float("nan")),
        torch.tensor([1e3, 1e-9, 0.0, 1.0]),
        torch.ones(4),
    ):
        weighting.end_window(losses, losses)
        weights = weighting.weights()
        assert torch.isfinite(weights).all()
        assert (weights >= LEAST).all()
        assert (weights <= MOST).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_resumed_equals_uninterrupted(name: str) -> None:
    whole, resumed = run(name, 3), create_weighting(name, NAMES, GROUPS)
    resumed.load_state_dict(run(name, 2).state_dict())
    last = torch.tensor(EPOCHS[2])
    resumed.end_window(last, last * 1.1)
    assert torch.equal(whole.weights(), resumed.weights())


def test_clamp() -> None:
    assert clamp_mean_one(torch.tensor([2.0, 2.0])).tolist() == [1, 1]
    assert clamp_mean_one(torch.tensor([0.0, 0.0])).tolist() == [1, 1]
    assert clamp_mean_one(torch.tensor([0.0, 1.0, float("inf")])).tolist() == [1, 1, 1]


def test_errors_name_the_fix() -> None:
    with pytest.raises(ConfigError, match="Unknown weighting"):
        create_weighting("nope", NAMES, GROUPS)
    with pytest.raises(ConfigError, match="weighting dws"):
        create_weighting("dws", NAMES, GROUPS, speed=3)
    with pytest.raises(ConfigError, match=r"data\.holdout"):
        create_weighting("dmm", NAMES, GROUPS).end_window(torch.ones(4), None)


def test_dws_by_group_is_the_sum_of_the_notes() -> None:
    """sum_g w_g s_g L_g / K, every group's mean loss once, as a mean over attributes with weights."""
    groups = np.stack([EPOCHS[:, [0, 2]].mean(1), EPOCHS[:, 1], EPOCHS[:, 3]], 1)
    uniform = create_weighting("dws", NAMES, GROUPS, by_group=True).weights().numpy()
    np.testing.assert_allclose((uniform * EPOCHS[0]).mean(), groups[0].mean(), rtol=1e-6)
    r = groups[2] / groups[1]
    w = 3 * np.exp(r / 2) / np.exp(r / 2).sum() * groups[2].mean() / groups[2]
    expected = bounded(np.array([w[0] / 2, w[1], w[0] / 2, w[2]]))
    np.testing.assert_allclose(run("dws", by_group=True).weights().numpy(), expected, rtol=1e-5)


def test_an_attribute_without_a_label_in_the_window_says_nothing() -> None:
    dws = run("dws", epochs=2)
    before = dws.weights().clone()
    dws.end_window(torch.tensor([np.nan, 0.3, np.nan, 0.1]))  # nothing of group one
    assert torch.equal(dws.weights(), before)
    partly, whole = run("dws", epochs=2), run("dws", epochs=2)
    partly.end_window(torch.tensor([0.4, 0.3, np.nan, 0.1]))  # its other attribute speaks for the group
    whole.end_window(torch.tensor([0.4, 0.3, 0.4, 0.1]))
    torch.testing.assert_close(partly.weights(), whole.weights())
    for name in ("validation_trend", "dmm"):
        weighting = run(name)
        before = weighting.weights().clone()
        weighting.end_window(torch.zeros(4), torch.tensor([0.4, np.nan, 0.3, 0.1]))
        assert torch.isfinite(weighting.weights()).all()
        assert weighting.weights()[1] == before[1]
        assert not torch.equal(weighting.weights(), before)
