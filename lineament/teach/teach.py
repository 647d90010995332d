"""The sentence of this room: sorted photos to one own attribute, and what to think of it.

photos -> examples -> groups -> rows -> out-of-fold answers -> (calibration, scores, warnings) -> head -> file
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lineament.decision.layer import sigmoid
from lineament.errors import LineamentError, UsageError
from lineament.runtime.network import Network
from lineament.schema import CELEBA_40, judges
from lineament.teach import confounds, judge
from lineament.teach.examples import NO, SIDES, UNSURE, YES, Collected, Example, groups_of
from lineament.teach.feature_spread import scale_of
from lineament.teach.logistic import PENALTIES, Rows, Scale, balanced, choose_penalty, fit
from lineament.teach.own_attribute import ENOUGH_AGREEMENT, OwnAttribute, base_of, check_spelling
from lineament.types import Crops, Float64, Int64

LEAST = 5
"""Different moments (or people) a side must show: one for each fold."""
AGREEMENT_ON = ("onnx fp32", "openvino fp32", "openvino bf16", "onnx int8", "openvino int8")

NOTE = (
    "The name judges or profiles a person. What a face looks like does not show this; the answer repeats how these "
    "photos were sorted. It stays out "
    "of the default profile, and is not for decisions about people."
)

OpenOther = Callable[[str, str], Network]
"""(runtime, precision) -> the same model run that way. Raises: LineamentError where it cannot be here."""


@dataclass(frozen=True)
class Taught:
    """An own attribute, the report about it (JSON), and the photos whose labels look wrong: (source, given label,
    probability of it)."""

    own: OwnAttribute
    report: dict[str, Any]
    suspects: tuple[tuple[str, str, float], ...]

    @property
    def learnable(self) -> bool:
        """Whether held-out photos are told apart better than by chance."""
        return bool(self.report["learnable"])


def check_name(name: str, known: Sequence[str] = CELEBA_40) -> str:
    """Return a usable name. Raises: UsageError where it is taken (in any case) or cannot be an attribute's name."""
    text = check_spelling(name)
    taken = {one.lower(): one for one in (*CELEBA_40, *known)}
    if text.lower() in taken:
        raise UsageError(
            f"The name {text!r} is in use: the model answers {taken[text.lower()]} already. Choose another, for "
            f"example my_{text}."
        )
    return text


def teach(
    name: str, found: Collected, network: Network, *, rate: float = 0.5, others: OpenOther | None = None, seed: int = 0
) -> Taught:
    """Fit an own attribute on collected examples, judge it on left-out ones, and return both.

    Args: rate: the share of yes among the photos that will be asked about; the two sides weigh the same in the fit,
        whatever their sizes. others: opens the model under other runtimes and precisions, to see whether labels agree
        there; None looks at none.
    Raises: UsageError for a name in use, too few usable photos, a side that is one person, a rate out of range.
    """
    name = check_name(name, network.card.attributes)
    if not 0 < rate < 1:
        raise UsageError(f"The rate is the share of yes, between 0 and 1, both excluded; got {rate:g}.")
    sure = [one for one in found.examples if one.listed.label != UNSURE]
    unsure = [one for one in found.examples if one.listed.label == UNSURE]
    check_enough(found, sure)
    groups = groups_of(sure)
    targets = np.array([one.listed.label for one in sure], np.float64)
    check_people(sure, targets, groups)
    scale = scale_of(network, np.concatenate([one.features for one in sure]))
    rows, standing = rows_of(sure, scale, groups)
    place = choose_penalty(rows, seed)
    held = judge.hold_out(rows, seed=seed)
    own = head(name, network, rows, standing, scale, place)
    own = replace(own, calibration=judge.calibration(rows, place, seed=seed), rate=rate)
    own = replace(own, band=judge.band(moved(held.probs, rate), probs_of(own, unsure)))
    found_scores = judge.with_intervals(held, targets, groups, seed=seed)
    found_scores["auc"]["shuffled_labels_reach"] = judge.chance(rows, place, seed=seed)
    report: dict[str, Any] = {
        "name": name, "base": base_of(network.card), "counts": counts_of(found, sure, groups), "rate": rate,
        "penalty": PENALTIES[place], "learnable": judge.learnable(found_scores), "scores": found_scores,
        "learning_curve": judge.learning_curve(rows, place, found_scores["accuracy"]["value"], seed=seed),
        "warnings": confounds.warnings_of(sure, targets, groups, seed=seed),
        "contradictory": contradictions(sure, targets, groups),
        "agreement": {} if others is None else agreement(own, network, sure, others), "judges": judges(name),
    }  # fmt: skip
    if report["judges"]:
        report["note"] = NOTE
    wrong = tuple(
        (
            sure[row].listed.item.source,
            SIDES[sure[row].listed.label],
            round(float(_of_own(held.probs, targets)[row]), 3),
        )
        for row in judge.suspects(held.probs, targets)
    )
    report["likely_mislabelled"] = len(wrong)
    card = {
        key: value for key, value in report.items() if key not in ("name", "base", "contradictory")
    }  # no file name leaves with the file
    return Taught(replace(own, card=card | {"needs": needs(report["agreement"])}), report, wrong)


def check_enough(found: Collected, sure: Sequence[Example]) -> None:
    """Raise UsageError where a side has too few usable photos, saying what became of the others."""
    usable = Counter(one.listed.label for one in sure)
    for label in (YES, NO):
        if usable[label] < LEAST:
            lost = (
                f" {len(found.without_face)} of all photos show no face, {len(found.unreadable)} give no picture."
                if _lost(found)
                else ""
            )
            why = f" First: {found.unreadable[0][0]}: {found.unreadable[0][1]}" if found.unreadable else ""
            raise UsageError(
                f"Only {usable[label]} usable photos for --{SIDES[label]} (of {found.listed[SIDES[label]]}); at least "
                f"{LEAST} are needed, "
                f"and 30 are a good start.{lost}{why}"
            )


def check_people(sure: Sequence[Example], targets: Float64, groups: Int64) -> None:
    """Raise UsageError where one side is one person, or shows too few different moments: that would learn who, not
    what."""
    for label in (YES, NO):
        side = [one for one in sure if one.listed.label == label]
        people = {one.listed.person for one in side}
        if None not in people and len(people) == 1:
            raise UsageError(
                f"All {len(side)} photos of the {SIDES[label]} side are of one person, so this would learn who that "
                "is: Lineament recognises no one. "
                "Give photos of different people on both sides."
            )
        different = len(np.unique(groups[targets == label]))
        if different < LEAST:
            raise UsageError(
                f"The {len(side)} photos of the {SIDES[label]} side show only {different} different people or moments; "
                f"at least {LEAST} are needed. "
                "Give photos of different people."
            )


def _lost(found: Collected) -> bool:
    return bool(found.without_face or found.unreadable)


def rows_of(sure: Sequence[Example], scale: Scale, groups: Int64) -> tuple[Rows, Float64]:
    """Return the rows (R) of all views with their products, and the standardised features (R,D)."""
    views = np.array([len(one.features) for one in sure])
    standing = scale(np.concatenate([one.features for one in sure]))
    example = np.repeat(np.arange(len(sure)), views)
    original = np.concatenate([np.arange(count) == 0 for count in views])
    targets = np.array([one.listed.label for one in sure], np.float64)[example]
    return Rows(standing @ standing.T, targets, (1 / views)[example], groups[example], original), standing


def head(name: str, network: Network, rows: Rows, standing: Float64, scale: Scale, place: int) -> OwnAttribute:
    """Return the fit on all examples as weights of the model's own features, uncalibrated."""
    fitted = fit(rows.products, rows.targets, balanced(rows.targets, rows.shares), PENALTIES[place])
    weights = (standing.T @ fitted.coefficients) * scale.factor
    bias = fitted.bias - float(scale.mean @ weights)
    return OwnAttribute(name, base_of(network.card), weights.astype(np.float32), bias, (1.0, 0.0), 0.5, (0.5, 0.5))


def moved(probs: Float64, rate: float) -> Float64:
    """Return probabilities at equal class rates as those at the rate."""
    p = np.clip(probs, 1e-12, 1 - 1e-12)
    return sigmoid(np.log(p) - np.log1p(-p) + np.log(rate) - np.log1p(-rate))


def probs_of(own: OwnAttribute, examples: Sequence[Example]) -> Float64:
    """Return the shipped probabilities (N,) of examples, of their original views."""
    if not examples:
        return np.zeros(0)
    logits = own.logits(np.stack([one.features[0] for one in examples])).astype(np.float64)
    return sigmoid(own.platt["a"] * logits + own.platt["b"])


def _of_own(probs: Float64, targets: Float64) -> Float64:
    return np.where(targets > 0.5, probs, 1 - probs)


def counts_of(found: Collected, sure: Sequence[Example], groups: Int64) -> dict[str, Any]:
    """Return how many photos were given, used and left out, and how many different people or moments they show."""
    sides = Counter(SIDES[one.listed.label] for one in found.examples)
    return {
        "given": dict(found.listed), "used": {side: sides[side] for side in SIDES.values()},
        "without_face": len(found.without_face), "unreadable": len(found.unreadable),
        "different": len(np.unique(groups)), "several_faces": sum(one.faces > 1 for one in found.examples),
        "people_known": all(one.listed.person is not None for one in sure),
    }  # fmt: skip


def contradictions(sure: Sequence[Example], targets: Float64, groups: Int64) -> list[list[str]]:
    """Return pairs of photos of one moment that were sorted to different sides; photos of one known person may differ
    and are left out."""
    pairs = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        yes, no = rows[targets[rows] > 0.5], rows[targets[rows] <= 0.5]
        alike = [(a, b) for a in yes for b in no if _near(sure[a], sure[b])]
        pairs += [[sure[a].listed.item.source, sure[b].listed.item.source] for a, b in alike[:1]]
    return pairs


def _near(one: Example, other: Example) -> bool:
    from lineament.teach.examples import NEAR_BITS

    return int((one.fingerprint != other.fingerprint).sum()) <= NEAR_BITS


def agreement(own: OwnAttribute, network: Network, sure: Sequence[Example], others: OpenOther) -> dict[str, float]:
    """Return, by runtime and precision, the share of the kept crops whose label is what this network says."""
    kept = [one for one in sure if one.crop is not None]
    crops = Crops(np.stack([one.crop for one in kept if one.crop is not None]), np.zeros((len(kept), 2, 3), np.float32))
    said = probs_of(own, kept) >= 0.5
    shares = {f"{network.runtime} {network.precision}": 1.0}
    for how in AGREEMENT_ON:
        if how in shares:
            continue
        runtime, _, precision = how.partition(" ")
        try:
            features = others(runtime, precision).with_features(crops).features
        except LineamentError:  # not installed here, no such file, or a processor that cannot
            continue
        assert features is not None
        there = sigmoid(own.platt["a"] * own.logits(features).astype(np.float64) + own.platt["b"]) >= 0.5
        shares[how] = round(float((there == said).mean()), 4)
    return shares


def needs(shares: dict[str, float]) -> list[str] | None:
    """Return the runtimes and precisions that an own attribute is for; None where labels agree in all that were looked
    at."""
    if all(share >= ENOUGH_AGREEMENT for share in shares.values()):
        return None
    return [how for how, share in shares.items() if share >= ENOUGH_AGREEMENT]
