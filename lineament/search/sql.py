"""Query evaluation, twice: as DuckDB SQL with bound parameters, and as NumPy on an array of probabilities.

    tree -> filter (which faces match) and score (which come first)

**Filter**, decided per face in float32, the precision of the index:

| term | matches when |
|---|---|
| `smiling` | prob >= the card's threshold (a "yes"); with `loose`, always |
| `smiling > 0.8` (`>=`, `<`, `<=`) | as written, strict or loose |
| `not x`, `x and y`, `x or y` | Boolean |
| `x^2` | as `x` |

**Score**, in float64: the probability of the described face if its answers were independent given the photo.

| term | score |
|---|---|
| `smiling`, `smiling > 0.8`, `>=` | p |
| `smiling < 0.2`, `<=` | 1 - p |
| `not x` | 1 - score(x) |
| `x and y` | score(x) * score(y) |
| `x or y` | 1 - (1 - score(x)) * (1 - score(y)) |
| `x^w` | score(x) ** w |

De Morgan's laws hold for both. The NumPy half is the oracle of the tests and scores prediction files in
`benchmarks/search.py`. SQL text is made of attribute columns quoted from the index and of fixed words; every number
goes in as a bound parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineament.search.query_tree import And, Change, Compare, Name, Node, Not, SortKey, Weighted
from lineament.types import Bool

_INVERSE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}
_COMPARE = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}


@dataclass(frozen=True)
class Sql:
    """A piece of SQL and the values of its `?`, in order."""

    text: str
    params: tuple[float | str, ...] = ()


def column(attribute: str) -> str:
    """Return the quoted column of an attribute's probability.

    >>> column('Smiling'), column('a"b')
    ('"prob_Smiling"', '"prob_a""b"')
    """
    escaped = attribute.replace('"', '""')
    return f'"prob_{escaped}"'


def where_sql(node: Node | None, thresholds: Mapping[str, float], *, loose: bool = False, negate: bool = False) -> Sql:
    """Return the filter as a Boolean SQL expression.

    Args: thresholds: name -> t, 0.5 where absent. loose: bare names only rank. negate: the opposite filter (used for
        `not`).
    """
    if node is None or (loose and isinstance(node, Name)):
        return Sql("TRUE")
    if isinstance(node, Name):
        return _compare_sql(node.attribute, "<" if negate else ">=", thresholds.get(node.attribute, 0.5))
    if isinstance(node, Compare):
        return _compare_sql(node.attribute, _INVERSE[node.op] if negate else node.op, node.value)
    if isinstance(node, (Not, Weighted)):
        return where_sql(node.item, thresholds, loose=loose, negate=negate != isinstance(node, Not))
    parts = [where_sql(item, thresholds, loose=loose, negate=negate) for item in node.items]
    return _join(" AND " if isinstance(node, And) != negate else " OR ", parts)


def _compare_sql(attribute: str, op: str, value: float) -> Sql:
    return Sql(f"{column(attribute)} {op} CAST(? AS FLOAT)", (value,))


def _join(word: str, parts: Sequence[Sql]) -> Sql:
    return Sql(f"({word.join(part.text for part in parts)})", tuple(value for part in parts for value in part.params))


def score_sql(node: Node | None) -> Sql:
    """Return the score as a DOUBLE SQL expression; 1 for an empty query."""
    if node is None:
        return Sql("CAST(1 AS DOUBLE)")
    if isinstance(node, Name) or (isinstance(node, Compare) and node.op.startswith(">")):
        return Sql(f"CAST({column(node.attribute)} AS DOUBLE)")
    if isinstance(node, Compare):
        return Sql(f"(1.0 - CAST({column(node.attribute)} AS DOUBLE))")
    if isinstance(node, Not):
        return _complement(score_sql(node.item))
    if isinstance(node, Weighted):
        inner = score_sql(node.item)
        return Sql(f"pow({inner.text}, CAST(? AS DOUBLE))", (*inner.params, node.weight))
    parts = [score_sql(item) for item in node.items]
    return (
        _join(" * ", parts)
        if isinstance(node, And)
        else _complement(_join(" * ", [_complement(part) for part in parts]))
    )


def _complement(part: Sql) -> Sql:
    return Sql(f"(1.0 - {part.text})", part.params)


def order_sql(sort: Sequence[SortKey]) -> str:
    """Return the ORDER BY list: the keys, then score, then the order of indexing, so that ties are the same in every
    run."""
    words = {
        "score": "score",
        "eye_distance": "eye_distance",
        "file": "(SELECT path FROM files WHERE files.file_id = faces.file_id)",
    }
    keys = [f"{words.get(key.name) or column(key.name)} {'DESC' if key.descending else 'ASC'}" for key in sort]
    return ", ".join([*keys, "score DESC", "file_id", "face"])


def change_sql(
    change: Change, profile: Sequence[float], attributes: Sequence[str], thresholds: Mapping[str, float]
) -> tuple[Sql, Sql]:
    """Return filter and score of a `--like` search.

    Convention: each wanted change must hold by its threshold; the score is 1 minus the root mean squared difference
    between the face's probabilities and the photo's, over `attributes` (those of the profile), a wanted change counting
    as probability 1 or 0.
    Args: profile: the photo's probabilities, in the order of `attributes`.
    """
    wanted = dict(change.wanted)
    must = [_compare_sql(name, ">=" if yes else "<", thresholds.get(name, 0.5)) for name, yes in wanted.items()]
    target = tuple(float(wanted.get(name, value)) for name, value in zip(attributes, profile, strict=True))
    squares = " + ".join(f"pow(CAST({column(name)} AS DOUBLE) - CAST(? AS DOUBLE), 2)" for name in attributes)
    return (_join(" AND ", must) if must else Sql("TRUE")), Sql(
        f"(1.0 - sqrt(({squares}) / {len(attributes)}))", target
    )


def where_mask(
    node: Node | None,
    probs: npt.NDArray[np.floating],
    attributes: Sequence[str],
    thresholds: Mapping[str, float],
    *,
    loose: bool = False,
) -> npt.NDArray[np.bool_]:
    """Return which rows of probs (N,A) the filter keeps (N,); the oracle of `where_sql`.

    >>> from lineament.search.query import parse
    >>> where, probs = parse("bald or not smiling").where, np.array([[0.2, 0.9], [0.2, 0.1]])
    >>> where_mask(where, probs, ["Bald", "Smiling"], {}).tolist()
    [False, True]
    """
    known, kept = _truth(node, np.asarray(probs, np.float32), list(attributes), thresholds, loose)
    return kept | ~known


def _truth(
    node: Node | None, probs: npt.NDArray[np.float32], names: list[str], thresholds: Mapping[str, float], loose: bool
) -> tuple[Bool, Bool]:
    """Return (known, true) in Kleene's three-valued logic: a bare name is unknown when loose, and what stays unknown is
    kept."""
    if node is None or (loose and isinstance(node, Name)):
        return np.zeros(len(probs), bool), np.zeros(len(probs), bool)
    if isinstance(node, (Name, Compare)):
        op, value = (">=", thresholds.get(node.attribute, 0.5)) if isinstance(node, Name) else (node.op, node.value)
        true = _COMPARE[op](probs[:, names.index(node.attribute)], np.float32(value))
        return np.ones(len(probs), bool), true
    if isinstance(node, Weighted):
        return _truth(node.item, probs, names, thresholds, loose)
    if isinstance(node, Not):
        known, true = _truth(node.item, probs, names, thresholds, loose)
        return known, known & ~true
    parts = [_truth(item, probs, names, thresholds, loose) for item in node.items]
    yes: Bool = np.array([true for _, true in parts])
    no: Bool = np.array([known & ~true for known, true in parts])
    every, one = np.logical_and.reduce, np.logical_or.reduce
    true, false = (every(yes), one(no)) if isinstance(node, And) else (one(yes), every(no))
    return true | false, true


def scores(node: Node | None, probs: npt.NDArray[np.floating], attributes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the score (N,) of each row of probs (N,A); the oracle of `score_sql`.

    >>> from lineament.search.query import parse
    >>> scores(parse("bald or smiling").where, np.array([[0.5, 0.5]]), ["Bald", "Smiling"]).tolist()
    [0.75]
    """
    p = np.asarray(probs, np.float64)
    if node is None:
        return np.ones(len(p))
    if isinstance(node, (Name, Compare)):
        own = p[:, list(attributes).index(node.attribute)]
        return 1.0 - own if isinstance(node, Compare) and node.op.startswith("<") else own
    if isinstance(node, Not):
        return 1.0 - scores(node.item, p, attributes)
    if isinstance(node, Weighted):
        return scores(node.item, p, attributes) ** node.weight
    terms = np.array([scores(item, p, attributes) for item in node.items])
    return np.asarray(terms.prod(0) if isinstance(node, And) else 1.0 - (1.0 - terms).prod(0))
