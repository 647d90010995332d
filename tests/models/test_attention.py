"""Attention against slow NumPy, and what makes tokens, locations and nodes differ."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lineament.errors import ConfigError  # noqa: E402
from lineament.models.attention import Attention, Layer, places  # noqa: E402
from lineament.models.backbone import create_backbone, create_preprocess  # noqa: E402
from lineament.models.build import network_class  # noqa: E402
from lineament.schema import CELEBA_40, MGMTN_GROUPS  # noqa: E402


def test_attention_is_the_formula_head_by_head() -> None:
    torch.manual_seed(0)
    asks, query, memory, bias = Attention(8, 2), torch.randn(1, 3, 8), torch.randn(1, 5, 8), torch.randn(3, 5)
    got, weights = asks(query, memory, bias)

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        part = getattr(asks, name)
        return x @ part.weight.detach().double().numpy().T + part.bias.detach().double().numpy()

    q, k, v = (
        layer("query", query[0].double().numpy()),
        layer("key", memory[0].double().numpy()),
        layer("value", memory[0].double().numpy()),
    )
    answers, shares = np.zeros((3, 8)), np.zeros((3, 5))
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        for i in range(3):
            scores = np.array([q[i, part] @ k[j, part] / 2 + bias[i, j].item() for j in range(5)])
            share = np.exp(scores - scores.max())
            share /= share.sum()
            shares[i] += share / 2
            answers[i, part] = sum(share[j] * v[j, part] for j in range(5))
    np.testing.assert_allclose(got[0].detach().numpy(), layer("out", answers), atol=1e-5)
    np.testing.assert_allclose(weights[0].detach().numpy(), shares, atol=1e-5)
    with pytest.raises(ConfigError, match="multiple"):
        Attention(9, 2)


def test_a_layer_that_asks_itself_needs_no_memory() -> None:
    torch.manual_seed(0)
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    assert Layer(8, 2)(x)[1].shape == (2, 3, 3)
    assert Layer(8, 2, asks=True)(x, memory)[1].shape == (2, 3, 5)


def test_places_tell_the_cells_of_a_grid_apart() -> None:
    told = places(8, 6)
    assert told.shape == (48, 16)
    apart = torch.cdist(told, told) + 9 * torch.eye(48)
    assert apart.min() > 0.1


def test_transfa_s_locations_look_and_answer_apart() -> None:
    """A location's query moves its own attributes' answers and no other's; its map is where it looks."""
    torch.manual_seed(0)
    network = network_class("transfa")(
        create_backbone("toy"),
        create_preprocess("toy", (110, 90)),
        CELEBA_40,
        MGMTN_GROUPS,
        size=16,
        heads=2,
        widths=(16,),
        identity=4,
    ).eval()
    x = torch.randn(1, 3, 110, 90)
    with torch.no_grad():
        before = network(x)
        network.looks.query[3] += torch.randn(16)
        changed = (network(x).logits != before.logits)[0].numpy()
    assert {name for name, differs in zip(CELEBA_40, changed, strict=True) if differs} == set(network.locations["nose"])
    assert before.region.shape[:2] == (1, 7)
    assert before.embedding is None
    assert network.train()(torch.randn(2, 3, 110, 90)).embedding.shape == (2, 8, 4)


def test_mgrr_s_graph_lets_one_attribute_tell_another() -> None:
    torch.manual_seed(0)
    build = network_class("mgrr")
    given = (create_preprocess("toy", (110, 90)), CELEBA_40, MGMTN_GROUPS)
    network = build(create_backbone("toy"), *given, size=16, heads=2).eval()
    x = torch.randn(1, 3, 110, 90)
    with torch.no_grad():
        before = network(x).logits
        network.graph[0, 1:] = -30.0  # the first attribute listens to itself alone
        changed = (network(x).logits != before)[0]
        assert changed[0]
        assert not changed[1:].any()
        near = network.near.detach().numpy()
    smiling, mouth = CELEBA_40.index("Smiling"), list(MGMTN_GROUPS).index("Mouth")
    assert near[smiling, mouth] == near[smiling, -1] == 1
    assert near[smiling].sum() == 2
    without = build(create_backbone("toy"), *given, size=16, heads=2, use_graph=False)
    assert without.graph is None
