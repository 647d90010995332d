"""Answers that can be true together: declared rules, how often they are broken, and the most probable answer that
breaks none.

    probs (N,A), thresholds (A,) -> independent labels (N,A) -> consistent labels (N,A) + which rule changed which
        attribute

Every rule forbids two "yes" at once, so the rules form a small graph of conflicting pairs. Its connected components
(facial hair: 5 attributes; hair: 9) are solved exactly by scoring every allowed combination. NumPy only:
`analyze --consistent` uses this.

How often CelebA's own labels break each rule is measured by `scripts/check_rules.py` and stands in `docs/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from lineament.decision.layer import sigmoid
from lineament.errors import UsageError
from lineament.types import Bool, Float64

_TINY = 1e-9  # probabilities and thresholds of exactly 0 or 1 keep finite log-odds
_NEVER = -(10**15)


@dataclass(frozen=True)
class Rule:
    """`name` forbids each of `pairs` (two attribute names) to be "yes" together."""

    name: str
    pairs: tuple[tuple[str, str], ...]


def _excludes(name: str, one: str, *others: str) -> Rule:
    return Rule(name, tuple((one, other) for other in others))


RULES: tuple[Rule, ...] = (
    _excludes("no_beard_excludes_facial_hair", "No_Beard", "Goatee", "Mustache", "Sideburns", "5_o_Clock_Shadow"),
    Rule("one_hair_colour", tuple(combinations(("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"), 2))),
    _excludes(
        "bald_excludes_hair",
        "Bald",
        "Bangs",
        "Straight_Hair",
        "Wavy_Hair",
        "Receding_Hairline",
        "Black_Hair",
        "Blond_Hair",
        "Brown_Hair",
    ),
    _excludes("straight_excludes_wavy", "Straight_Hair", "Wavy_Hair"),
    _excludes("bangs_exclude_receding_hairline", "Bangs", "Receding_Hairline"),
)
"""The declared rules, in the order in which a change is attributed.

Bald does not exclude Gray_Hair: a quarter of CelebA's bald faces carry both labels (hair at the sides)."""


@dataclass(frozen=True)
class _Component:
    """Attributes (columns) tied by rules, and every allowed combination of their answers, states (V,C)."""

    columns: npt.NDArray[np.intp]
    states: Bool


@lru_cache(maxsize=64)
def _pairs(attributes: tuple[str, ...], rules: tuple[Rule, ...]) -> tuple[tuple[int, int, str], ...]:
    place = {name: column for column, name in enumerate(attributes)}
    return tuple((place[a], place[b], rule.name) for rule in rules for a, b in rule.pairs if a in place and b in place)


@lru_cache(maxsize=64)
def _components(attributes: tuple[str, ...], rules: tuple[Rule, ...]) -> tuple[_Component, ...]:
    pairs = _pairs(attributes, rules)
    root = list(range(len(attributes)))
    for a, b, _ in pairs:
        old, new = root[b], root[a]
        root = [new if at == old else at for at in root]
    found = []
    for key in sorted({root[a] for a, _, _ in pairs}):
        columns = [column for column, at in enumerate(root) if at == key]
        inside = [(columns.index(a), columns.index(b)) for a, b, _ in pairs if a in columns]
        # "yes" first, so that equally probable answers keep the most answers said
        states = [
            state
            for state in product((True, False), repeat=len(columns))
            if not any(state[a] and state[b] for a, b in inside)
        ]
        found.append(_Component(np.array(columns, np.intp), np.array(states, bool)))
    return tuple(found)


def violations(labels: npt.ArrayLike, attributes: Sequence[str], rules: tuple[Rule, ...] = RULES) -> dict[str, Bool]:
    """Return, per rule, which rows (N,) of labels (N,A) break it. Rules about absent attributes are never broken.

    >>> violations([[1, 1]], ("Bald", "Bangs"))["bald_excludes_hair"].tolist()
    [True]
    """
    said = np.asarray(labels).astype(bool)
    if said.ndim != 2 or said.shape[1] != len(attributes):
        raise UsageError(f"labels {said.shape} do not match {len(attributes)} attribute names.")
    broken = {rule.name: np.zeros(len(said), bool) for rule in rules}
    for a, b, name in _pairs(tuple(attributes), rules):
        broken[name] |= said[:, a] & said[:, b]
    return broken


def violation_rates(
    labels: npt.ArrayLike, attributes: Sequence[str], rules: tuple[Rule, ...] = RULES
) -> dict[str, float]:
    """Return the share of rows that break each rule, and "any"; NaN ("no data") without rows."""
    broken = violations(labels, attributes, rules)
    rows = len(np.asarray(labels))
    any_rule = np.any(list(broken.values()), axis=0)
    return {name: float(mask.mean()) if rows else float("nan") for name, mask in {**broken, "any": any_rule}.items()}


def _log_odds(probs: Float64) -> Float64:
    p = np.clip(probs, _TINY, 1 - _TINY)
    return np.asarray(np.log(p) - np.log1p(-p))


def decode_consistent(
    probs: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    attributes: Sequence[str],
    rules: tuple[Rule, ...] = RULES,
    *,
    precedence: Mapping[str, float] | None = None,
) -> tuple[Bool, list[dict[str, str]]]:
    """Return the most probable labels that break no rule, and what that changed.

    Convention: the labels `prob >= threshold` stand unless they break a rule; then, of the "yes" tied by rules, the
    allowed set with the largest sum of log-odds stays (attributes counting as independent given the face). Only "yes"
    ever becomes "no", and only where a rule says so. A row's answer does not depend on the other rows.

    Args: probs (N,A) in 0..1, thresholds (A,), attributes: the A names; precedence: log-odds added to an attribute
        where it is in conflict (`fit_precedence`), since of two answers that are wrong together one is often the one.
    Returns: labels (N,A) bool, and per row {attribute: name of the rule that changed it}.
    Raises: UsageError if the shapes differ.

    >>> labels, changed = decode_consistent([[0.9, 0.6]], [0.5, 0.5], ("Bald", "Bangs"))
    >>> labels.tolist(), changed
    ([[True, False]], [{'Bangs': 'bald_excludes_hair'}])
    """
    p, t, names = np.asarray(probs, np.float64), np.asarray(thresholds, np.float64), tuple(attributes)
    if p.ndim != 2 or p.shape[1] != len(names) or t.shape != (len(names),):
        raise UsageError(f"probs {p.shape} and thresholds {t.shape} do not match {len(names)} attribute names.")
    labels = p >= t
    rows = (
        np.flatnonzero(np.any(list(violations(labels, names, rules).values()), axis=0))
        if rules
        else np.zeros(0, np.intp)
    )
    changed: list[dict[str, str]] = [{} for _ in range(len(p))]
    if len(rows) == 0:
        return labels, changed
    independent = labels[rows]
    bonus = np.array([(precedence or {}).get(name, 0.0) for name in names])
    worth = np.where(independent, _worth(_log_odds(p[rows]) + bonus), _NEVER)
    for component in _components(names, rules):
        scores = (worth[:, component.columns][:, None, :] * component.states).sum(-1)
        labels[np.ix_(rows, component.columns)] = component.states[scores.argmax(1)]
    _attribute_changes(rows, independent, labels[rows], names, rules, changed)
    return labels, changed


def _worth(log_odds: Float64) -> npt.NDArray[np.int64]:
    """Return what keeping a "yes" is worth: its log-odds, but always more than nothing, so that no "yes" goes without a
    rule (low thresholds).

    Convention: whole millionths, so that sums are exact and a tie is a tie, however many rows are decoded at once.
    """
    units: npt.NDArray[np.int64] = np.rint(np.logaddexp(0.0, 4 * log_odds) * 250_000).astype(np.int64)
    return units


def fit_precedence(
    probs: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    targets: npt.ArrayLike,
    known: npt.ArrayLike,
    attributes: Sequence[str],
    rules: tuple[Rule, ...] = RULES,
    *,
    ridge: float = 1.0,
) -> dict[str, float]:
    """Return the log-odds to add to each attribute where it is in conflict, learned from conflicts in which exactly one
    answer was right.

    Convention: Bradley-Terry with the difference of log-odds as a covariate, P(a right
    rather than b) = sigmoid(s (z_a - z_b) + d_a - d_b);
    what is returned is d / s. A ridge towards s = 1, d = 0 leaves attributes without conflicts at 0.
    Args: probs, targets, known (N,A); thresholds (A,).
    Source: Bradley & Terry, Biometrika 1952.
    """  # fmt: skip
    p, truth, use, names = (
        np.asarray(probs, np.float64),
        np.asarray(targets).astype(bool),
        np.asarray(known, bool),
        tuple(attributes),
    )
    said, odds = p >= np.asarray(thresholds, np.float64), _log_odds(p)
    designs, first_right = [np.zeros((0, len(names) + 1))], [np.zeros(0)]
    for a, b, _ in _pairs(names, rules):
        rows = np.flatnonzero(said[:, a] & said[:, b] & use[:, a] & use[:, b] & (truth[:, a] != truth[:, b]))
        design = np.zeros((len(rows), len(names) + 1))
        design[:, 0], design[:, a + 1], design[:, b + 1] = odds[rows, a] - odds[rows, b], 1.0, -1.0
        designs.append(design)
        first_right.append(truth[rows, a].astype(np.float64))
    x, y = np.concatenate(designs), np.concatenate(first_right)
    start = np.zeros(len(names) + 1)
    start[0] = 1.0
    theta = start.copy()
    for _ in range(50):
        q = sigmoid(x @ theta)
        step = np.linalg.solve(
            (x * (q * (1 - q))[:, None]).T @ x + ridge * np.eye(len(start)), x.T @ (q - y) + ridge * (theta - start)
        )
        theta = theta - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    strength = theta[1:] / max(theta[0], 0.1)
    return {name: float(value) for name, value in zip(names, strength, strict=True) if abs(value) > 1e-6}


def _attribute_changes(
    rows: npt.NDArray[np.intp],
    before: Bool,
    after: Bool,
    names: tuple[str, ...],
    rules: tuple[Rule, ...],
    changed: list[dict[str, str]],
) -> None:
    """Write into `changed` the first broken rule, in the order of declaration, that involves each attribute that was
    changed."""
    flipped = before & ~after
    for a, b, rule in _pairs(names, rules):
        both = before[:, a] & before[:, b]
        for column in (a, b):
            for row in rows[both & flipped[:, column]]:
                changed[int(row)].setdefault(names[column], rule)
