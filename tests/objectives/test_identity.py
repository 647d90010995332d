"""Identity centres against slow NumPy: near one's own, away from the others in the batch; nothing from people who are
unknown or new."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.objectives.identity import IdentityCentres  # noqa: E402


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_terms_and_centres_are_the_formula() -> None:
    rng = np.random.default_rng(0)
    kept = IdentityCentres(6, 2, 3, momentum=0.7, temperature=0.2)
    first, person = rng.normal(size=(5, 2, 3)), np.array([4, 1, 4, -1, 2])
    assert kept.terms(torch.tensor(first), torch.tensor(person)).sum() == 0
    kept.update(torch.tensor(first), torch.tensor(person))
    centres = {4: (unit(first[0]) + unit(first[2])) / 2, 1: unit(first[1]), 2: unit(first[4])}
    for who, centre in centres.items():
        np.testing.assert_allclose(kept.centres[who].numpy(), centre, atol=1e-6)
    assert kept.seen.tolist() == [False, True, True, False, True, False]
    now, shown = rng.normal(size=(4, 2, 3)), [4, 0, 1, -1]  # 0 is new, -1 unknown
    expected = np.zeros(4)
    for row in (0, 2):
        for e in range(2):
            scores = {who: unit(now[row, e]) @ unit(centres[who][e]) / 0.2 for who in (1, 4)}
            expected[row] += (np.log(sum(np.exp(list(scores.values())))) - scores[shown[row]]) / 2
    asked = torch.tensor(now, requires_grad=True)
    terms = kept.terms(asked, torch.tensor(shown))
    np.testing.assert_allclose(terms.detach().numpy(), expected, atol=1e-5)
    terms.sum().backward()
    assert (asked.grad[[1, 3]] == 0).all()
    kept.update(torch.tensor(now), torch.tensor(shown))
    np.testing.assert_allclose(kept.centres[4].numpy(), 0.7 * centres[4] + 0.3 * unit(now[0]), atol=1e-6)
    np.testing.assert_allclose(kept.centres[0].numpy(), unit(now[1]), atol=1e-6)


def test_following_the_gradient_brings_people_together() -> None:
    torch.manual_seed(0)
    kept, person = IdentityCentres(4, 1, 8), torch.arange(12) % 4
    features = torch.randn(12, 1, 8, requires_grad=True)
    optimiser = torch.optim.SGD([features], lr=1.0)

    def together() -> float:
        said = torch.nn.functional.normalize(features.detach()[:, 0], dim=1)
        same = person[:, None] == person
        return float((said @ said.T)[same].mean() - (said @ said.T)[~same].mean())

    before = together()
    for _ in range(60):
        terms = kept.terms(features, person).mean()
        optimiser.zero_grad()
        terms.backward()
        optimiser.step()
        kept.update(features.detach(), person)
    assert together() > before + 0.3
