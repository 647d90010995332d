"""People and trainings drawn together: against a slow oracle that shares no code, and against the spread that is really
there."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lineament.errors import UsageError
from lineament.metrics import bootstrap


def trainings(rng, count, people=40, photos=3, quality=0.8, seed_spread=0.0):
    """Return labels of `count` trainings (N,2), truth (N,2) and identity (N,); a training's share of right answers
    varies by `seed_spread`."""
    truth = rng.random((people * photos, 2)) < 0.4
    made = []
    for _ in range(count):
        right = rng.random(truth.shape) < quality + seed_spread * rng.standard_normal()
        made.append(np.where(right, truth, ~truth))
    return made, truth, np.repeat(np.arange(people), photos)


def slowly(systems, truth, known, identity, people_drawn, seeds_drawn):
    """The same draw by hand: every photo of every drawn person, one by one, for every drawn training, then the
    widening."""

    def accuracy(labels, column):
        right = total = 0
        for person, times in people_drawn.items():
            for row in np.flatnonzero(identity == person):
                if known[row, column]:
                    right += times * int(labels[row, column] == truth[row, column])
                    total += times
        return right / total

    out = []
    for labels, drawn in zip(systems, seeds_drawn, strict=True):
        each = np.array([[accuracy(one, column) for column in range(truth.shape[1])] for one in labels])
        plain = each.mean(0)
        again = np.mean([each[s] for s in drawn], axis=0)
        count = len(labels)
        out.append(plain if count == 1 else plain + np.sqrt(count / (count - 1)) * (again - plain))
    return out


def test_each_draw_is_what_a_slow_hand_makes_of_it():
    rng = np.random.default_rng(0)
    a, truth, identity = trainings(rng, 3, people=6)
    b = [np.where(rng.random(truth.shape) < 0.7, truth, ~truth) for _ in range(2)]
    alone = [~truth]
    known = rng.random(truth.shape) < 0.9
    found = bootstrap.two_level([a, b, alone], truth, known, identity, draws=4, seed=3)
    people = np.concatenate(list(bootstrap.weights(6, 4, 3)))
    chooser = np.random.default_rng([3, 1])
    seeds = [chooser.integers(0, 3, (4, 3)), chooser.integers(0, 2, (4, 2)), np.zeros((4, 1), int)]
    for draw in range(4):
        drawn = {person: int(times) for person, times in enumerate(people[draw])}
        expected = slowly([a, b, alone], truth, known, identity, drawn, [chosen[draw] for chosen in seeds])
        for got, right in zip(found, expected, strict=True):
            assert_allclose(got.draws[draw], right, atol=1e-12)
    whole = dict.fromkeys(range(6), 1)
    for got, right in zip(
        found, slowly([a, b, alone], truth, known, identity, whole, [[0, 1, 2], [0, 1], [0]]), strict=True
    ):
        assert_allclose(got.estimate, right)
    assert [got.seeds for got in found] == [3, 2, 1]
    assert np.isnan(found[2].spread)
    assert_allclose(found[0].spread, np.std([(one == truth)[known].mean() for one in a], ddof=1), atol=0.01)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_seed_part_is_as_wide_as_means_of_trainings_really_are(count):
    """Nothing varies but the trainings: over many worlds the mean squared spread of draws is that of a mean of so many,
    sigma^2 / S."""
    rng = np.random.default_rng(count)
    squared = []
    for _ in range(1500):
        people = np.repeat(rng.normal(0.8, 0.02, (count, 1, 1)), 100, axis=1)
        squared.append(bootstrap._with_seeds(people, rng).var())
    assert np.mean(squared) == pytest.approx(0.02**2 / count, rel=0.1)


def test_trainings_that_vary_widen_the_interval_and_equal_ones_do_not():
    rng = np.random.default_rng(5)
    same, truth, identity = trainings(rng, 1)
    known = np.ones(truth.shape, bool)
    base = [np.where(rng.random(truth.shape) < 0.8, truth, ~truth)]
    once, thrice, other = bootstrap.two_level([same, same * 3, base], truth, known, identity, draws=300)
    assert_allclose(once.draws, thrice.draws)
    varied, _, _ = trainings(np.random.default_rng(6), 3, seed_spread=0.1)
    (wide, against) = bootstrap.two_level([varied, base], truth, known, identity, draws=300)
    mean_of_equal, _ = bootstrap.two_level_difference(thrice, other)
    mean_of_varied, each = bootstrap.two_level_difference(wide, against)
    assert mean_of_varied.high - mean_of_varied.low > mean_of_equal.high - mean_of_equal.low
    assert each.estimate.shape == (2,)
    assert (each.low < each.estimate).all()
    assert (each.estimate < each.high).all()


def test_a_system_against_itself_is_no_difference_and_a_better_one_is():
    rng = np.random.default_rng(7)
    good, truth, identity = trainings(rng, 3, people=80, quality=0.9)
    bad = [np.where(rng.random(truth.shape) < 0.7, truth, ~truth) for _ in range(3)]
    known = np.ones(truth.shape, bool)
    ours, theirs = bootstrap.two_level([good, bad], truth, known, identity, draws=400)
    mean, each = bootstrap.two_level_difference(ours, theirs)
    assert bool(mean.excludes_zero)
    assert each.excludes_zero.all()
    assert float(mean.estimate) == pytest.approx(
        np.mean([(g == truth).mean() - (b == truth).mean() for g, b in zip(good, bad, strict=True)])
    )
    nothing, _ = bootstrap.two_level_difference(ours, ours)
    assert (nothing.low, nothing.high) == (0, 0)


def test_refusals():
    truth, known = np.zeros((3, 2), bool), np.ones((3, 2), bool)
    with pytest.raises(UsageError, match="at least one training"):
        bootstrap.two_level([[truth], []], truth, known)
    with pytest.raises(UsageError, match="No metric"):
        bootstrap.two_level([[truth]], truth, known, metric="ap")
    one = bootstrap.two_level([[truth]], truth, known, draws=3)[0]
    other = bootstrap.two_level([[truth]], truth, known, draws=4)[0]
    with pytest.raises(UsageError, match="one call"):
        bootstrap.two_level_difference(one, other)
