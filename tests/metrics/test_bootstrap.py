"""The bootstrap: exact sums, identities kept together, and intervals that cover what they say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lineament.errors import DataError, UsageError
from lineament.metrics import bootstrap, cohorts
from lineament.metrics.counts import count


def sample(rng, people=150, photos=4, quality=(0.8, 0.85)):
    """Return the answers of two systems on photos of people; whether a system is right is correlated within a
    person."""
    truth = rng.random((people * photos, 2)) < 0.4
    ease = np.repeat(rng.normal(0, 1, (people, 1)), photos, 0)
    right = [rng.normal(0, 1, truth.shape) + ease < np.sqrt(2) * _normal(q) for q in quality]
    return [np.where(r, truth, ~truth) for r in right], truth, np.repeat(np.arange(people), photos)


def _normal(q):
    from statistics import NormalDist

    return NormalDist().inv_cdf(q)


def test_draws_are_sums_of_whole_people_computed_slowly():
    rng = np.random.default_rng(0)
    (a, b), truth, identity = sample(rng, people=7)
    known = rng.random(truth.shape) < 0.9
    (whole, _), (drawn, _) = bootstrap.draw_counts([a, b], truth, known, identity, draws=5, seed=3)
    assert_allclose(whole.tp, count(a, truth, known).tp)
    weights = np.concatenate(list(bootstrap.weights(7, 5, 3)))
    assert (weights.sum(1) == 7).all()
    for draw in range(5):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(identity == person), int(w)) for person, w in enumerate(weights[draw])]
        )
        slow = count(a[rows], truth[rows], known[rows])
        for part in ("tp", "fp", "tn", "fn"):
            assert np.array_equal(getattr(drawn, part)[draw], getattr(slow, part))


def test_images_without_identity_stand_alone():
    place, size = bootstrap.clusters([5, -1, 5, -1], 4)
    assert size == 3
    assert place[0] == place[2]
    assert len({place[0], place[1], place[3]}) == 3
    assert bootstrap.clusters(None, 3)[1] == 3


def test_the_same_seed_gives_the_same_draws_whatever_the_chunk(monkeypatch):
    before = np.concatenate(list(bootstrap.weights(20, 9, 1)))
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 4 * 20 * 2)
    parts = list(bootstrap.weights(20, 9, 1))
    assert len(parts) == 5
    assert np.array_equal(np.concatenate(parts), before)


def test_refusals():
    with pytest.raises(UsageError, match="one shape"):
        bootstrap.draw_counts([np.zeros((3, 1))], np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(DataError, match="no image has a label"):
        bootstrap.draw_counts([np.zeros((0, 2))], np.zeros((0, 2)), np.ones((0, 2)))


def test_simultaneous_intervals_are_wider_than_single_ones():
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, (4000, 40))
    single = bootstrap.percentile_interval(np.zeros(40), draws)
    all_at_once = bootstrap.simultaneous_interval(np.zeros(40), draws)
    assert (all_at_once.high > single.high).all()
    assert all_at_once.high.mean() == pytest.approx(3.23, abs=0.15)  # the Sidak quantile of 40 independent normals


def test_attributes_without_data_have_no_interval():
    draws = np.full((10, 2), np.nan)
    draws[:, 0] = np.arange(10)
    found = bootstrap.percentile_interval(np.array([4.5, np.nan]), draws)
    assert not np.isnan(found.low[0])
    assert np.isnan(found.low[1])
    assert not found.excludes_zero[1]


@pytest.mark.parametrize("draws", [1, 5, 9])
@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_there_are_as_many_draws_as_asked_for(monkeypatch, draws, chunk_rows):
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 4 * 6 * chunk_rows)
    blocks = list(bootstrap.weights(6, draws))
    assert sum(len(block) for block in blocks) == draws
    assert all(len(block) <= chunk_rows and (block.sum(1) == 6).all() for block in blocks)


def test_without_a_seed_the_draws_are_those_of_seed_0():
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert np.array_equal(bootstrap.resample(table, 4), bootstrap.resample(table, 4, 0))
    assert not np.array_equal(bootstrap.resample(table, 4), bootstrap.resample(table, 4, 1))


def test_a_percentile_interval_from_its_definition():
    draws = np.random.default_rng(0).permutation(101).astype(float)[:, None] * [1.0, -2.0]
    found = bootstrap.percentile_interval([50.0, -100.0], draws, level=0.9)
    assert_allclose(found.low, [5, -190])
    assert_allclose(found.high, [95, -10])


def coverage(interval_of, truth, runs):
    inside = 0
    for run in range(runs):
        low, high = interval_of(np.random.default_rng(run), run)
        inside += low <= truth <= high
    return inside / runs


@pytest.mark.slow
def test_a_nominal_95_percent_interval_covers_93_to_97_percent():
    """1,000 simulated test sets, 1,000 draws each: paired difference of two systems, people with four photos."""
    quality = (0.80, 0.85)

    def interval(rng, run):
        systems, truth, identity = sample(rng, quality=quality)
        whole, drawn = bootstrap.draw_counts(systems, truth, np.ones(truth.shape), identity, draws=1000, seed=run)
        difference = whole[1].accuracy.mean() - whole[0].accuracy.mean()
        found = bootstrap.percentile_interval(difference, drawn[1].accuracy.mean(1) - drawn[0].accuracy.mean(1))
        return found.low, found.high

    assert 0.93 <= coverage(interval, quality[1] - quality[0], 1000) <= 0.97


@pytest.mark.slow
def test_drawing_photos_instead_of_people_would_cover_too_little():
    """The guard above can fail: ignoring identities, the interval of a single accuracy is far too narrow."""

    def interval(rng, run):
        systems, truth, _ = sample(rng, photos=12)
        (whole, _), (drawn, _) = bootstrap.draw_counts(systems, truth, np.ones(truth.shape), None, draws=400, seed=run)
        found = bootstrap.mean_interval(whole, drawn)
        return found.low, found.high

    assert coverage(interval, 0.80, 200) < 0.90


@pytest.mark.slow
def test_corrected_cohort_intervals_cover_together():
    rate, groups = 0.8, 6

    def all_inside(run):
        rng = np.random.default_rng(run)
        level = cohorts.corrected_level(0.95, groups)
        for _ in range(groups):
            hits = (rng.random((120, 1)) < rate).astype(int)
            found, _ = cohorts.rate_interval(hits, np.ones((120, 1)), None, level=level, draws=400, seed=run)
            if not found.low[0] <= rate <= found.high[0]:
                return False
        return True

    assert np.mean([all_inside(run) for run in range(400)]) >= 0.92
