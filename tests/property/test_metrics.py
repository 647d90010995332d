"""Properties bought with bugs seen elsewhere: merging, duplicates, empty cohorts, thresholds."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from lineament.decision.consistency import RULES, decode_consistent, violation_rates
from lineament.decision.layer import Decision
from lineament.evaluation.thresholds import Goal, fit_1d
from lineament.metrics import calibration
from lineament.metrics.counts import Counts, count, count_by_cohort, mean_of_known, merge
from lineament.metrics.ranking import average_precision, roc_auc
from lineament.metrics.selective import band_1d, coverage_risk_1d
from lineament.schema import CELEBA_40

seeds = st.integers(0, 2**32 - 1)


def case(seed, n, a=3):
    rng = np.random.default_rng(seed)
    return rng.random((n, a)).round(2), (rng.random((n, a)) < 0.4).astype(np.int8), rng.random((n, a)) < 0.8, rng


@given(seeds, st.integers(0, 40), st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_merging_any_split_with_any_cohort_pattern_equals_the_whole(seed, n, parts, cohorts):
    probs, targets, known, rng = case(seed, n)
    labels, part = probs >= 0.5, rng.integers(0, parts, n)
    cohort = rng.integers(0, cohorts, n).astype(str)
    whole = count_by_cohort(labels, targets, known, cohort)
    merged = merge(
        count_by_cohort(labels[part == k], targets[part == k], known[part == k], cohort[part == k])
        for k in range(parts)
    )
    assert set(merged) == set(whole)
    for name, counted in whole.items():
        for ratio in ("tp", "fp", "tn", "fn", "accuracy", "balanced_accuracy", "f1", "precision"):
            np.testing.assert_array_equal(getattr(merged[name], ratio), getattr(counted, ratio))
    total = sum(merged.values(), Counts.zeros(3))
    np.testing.assert_array_equal(total.tp, count(labels, targets, known).tp)


@given(seeds, st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_a_cohort_without_images_is_no_data(seed, n):
    probs, targets, known, _ = case(seed, n)
    nobody = np.zeros(n, bool)
    empty = count((probs >= 0.5)[nobody], targets[nobody], known[nobody])
    assert np.isnan(empty.accuracy).all()
    assert np.isnan(float(mean_of_known(empty.accuracy)))


@given(seeds, st.integers(1, 60), st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_duplicating_a_batch_leaves_every_mean_unchanged(seed, n, times):
    probs, targets, known, _ = case(seed, n)
    many = [np.concatenate([part] * times) for part in (probs, targets, known)]
    once, twice = count(probs >= 0.5, targets, known), count(many[0] >= 0.5, *many[1:])
    assert_allclose(twice.accuracy, once.accuracy)
    assert_allclose(average_precision(*many), average_precision(probs, targets, known))
    assert_allclose(roc_auc(*many), roc_auc(probs, targets, known))
    for metric in (calibration.ece_1d, calibration.brier_1d):
        assert_allclose(
            calibration.per_attribute(metric, *many),
            calibration.per_attribute(metric, probs, targets, known),
            atol=1e-12,
        )
    assert_allclose(
        coverage_risk_1d(many[0][:, 0], many[1][:, 0]), coverage_risk_1d(probs[:, 0], targets[:, 0]), atol=1e-12
    )


@given(seeds, st.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_the_order_of_images_changes_nothing(seed, n):
    probs, targets, _, rng = case(seed, n, a=1)
    order = rng.permutation(n)
    p, y = probs[:, 0], targets[:, 0]
    for metric in (calibration.ece_1d, calibration.brier_1d, coverage_risk_1d):
        assert_allclose(metric(p[order], y[order]), metric(p, y), atol=1e-12)
    assert fit_1d(p[order], y[order], Goal("f1")) == fit_1d(p, y, Goal("f1"))


@given(seeds, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_raising_a_threshold_never_adds_a_yes(seed, one, other):
    probs, _, _, _ = case(seed, 30, a=1)
    low, high = sorted((one, other))
    few = Decision(thresholds={"x": high}).labels(probs, ("x",)) == "yes"
    many = Decision(thresholds={"x": low}).labels(probs, ("x",)) == "yes"
    assert not (few & ~many).any()


@given(seeds, st.floats(0.05, 0.95), st.sampled_from([0.5, 0.8, 0.9, 0.99, 1.0]))
@example(5081, 0.0625, 0.5)  # a tie that rounding puts inside, and all that stays inside lies above the threshold
@settings(max_examples=80, deadline=None)
def test_a_band_never_answers_less_than_its_coverage(seed, threshold, coverage):
    probs = case(seed, 50, a=1)[0][:, 0]
    low, high = band_1d(probs, coverage, threshold)
    assert np.mean(~((probs > low) & (probs < high))) >= coverage - 1e-9
    assert low >= high or low <= threshold <= high


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_consistent_answers_break_no_rule_and_leave_consistent_rows_alone(seed):
    rng = np.random.default_rng(seed)
    probs, thresholds = rng.random((40, 40)).round(2), rng.uniform(0.2, 0.8, 40).round(2)
    labels, changed = decode_consistent(probs, thresholds, CELEBA_40)
    independent = probs >= thresholds
    assert violation_rates(labels, CELEBA_40)["any"] == 0.0
    assert not (labels & ~independent).any()
    for row in range(40):
        flipped = {CELEBA_40[a] for a in np.flatnonzero(labels[row] != independent[row])}
        assert flipped == set(changed[row])
        alone, _ = decode_consistent(probs[row : row + 1], thresholds, CELEBA_40)
        assert np.array_equal(alone[0], labels[row])
    preferred, _ = decode_consistent(
        probs, thresholds, CELEBA_40, precedence={name: float(rng.normal(0, 3)) for name in CELEBA_40}
    )
    assert violation_rates(preferred, CELEBA_40)["any"] == 0.0
    assert np.array_equal(preferred.any(1), independent.any(1))
    again, more = decode_consistent(np.where(labels, 0.9, 0.1), np.full(40, 0.5), CELEBA_40)
    assert np.array_equal(again, labels)
    assert more == [{}] * 40


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_the_decoder_is_exact(seed):
    """Against trying every combination of the nine hair attributes."""
    names = (
        "Bald",
        "Bangs",
        "Straight_Hair",
        "Wavy_Hair",
        "Receding_Hairline",
        "Black_Hair",
        "Blond_Hair",
        "Brown_Hair",
        "Gray_Hair",
    )
    rng = np.random.default_rng(seed)
    probs, thresholds = rng.uniform(0.05, 0.95, (1, 9)), rng.uniform(0.2, 0.8, 9)
    said = probs[0] >= thresholds
    worth = np.log1p((probs[0] / (1 - probs[0])) ** 4) / 4  # log-odds, softened to stay above nothing
    place = {name: a for a, name in enumerate(names)}
    pairs = [(place[a], place[b]) for rule in RULES for a, b in rule.pairs if a in place and b in place]
    states = [np.array([bits >> k & 1 for k in range(9)], bool) for bits in range(512)]
    allowed = [
        state for state in states if not (state & ~said).any() and not any(state[a] and state[b] for a, b in pairs)
    ]
    labels, _ = decode_consistent(probs, thresholds, names)
    assert worth[labels[0]].sum() >= max(worth[state].sum() for state in allowed) - 1e-5
    assert not any(labels[0][a] and labels[0][b] for a, b in pairs)
