"""The query tree (abstract syntax), and its way back to words.

    Name | Compare | Not | And | Or | Weighted, plus sort keys

Spans (start, end in the query's text) are kept for messages and do not count when trees are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SORT_WORDS = ("score", "file", "eye_distance")
"""What can be sorted by besides attributes."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Name:
    """An attribute by itself: yes by its threshold; scores its probability."""

    attribute: str
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True)
class Compare:
    """An attribute's probability against a number in 0..1."""

    attribute: str
    op: str
    value: float
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True)
class Not:
    """The opposite of a term: scores 1 - p."""

    item: Node


@dataclass(frozen=True)
class And:
    """All of the terms: scores the product."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Any of the terms: scores 1 minus the product of the opposites."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Weighted:
    """A term with an exponent on its score, above 0 and at most 100."""

    item: Node
    weight: float


Node = Name | Compare | Not | And | Or | Weighted


@dataclass(frozen=True)
class SortKey:
    """An attribute or one of `SORT_WORDS`."""

    name: str
    descending: bool
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True)
class Query:
    """A parsed query. where None matches every face; an empty sort is by score, best first."""

    where: Node | None
    sort: tuple[SortKey, ...] = ()


@dataclass(frozen=True)
class Change:
    """What `--like photo 'but with X and without Y'` asks to differ: (attribute, wanted) pairs, each attribute once."""

    wanted: tuple[tuple[str, bool], ...] = ()


def unparse(query: Query) -> str:
    """Return the canonical text of a query: `parse(unparse(q)) == q`.

    >>> unparse(Query(And((Weighted(Name("Smiling"), 2.0), Or((Name("Bangs"), Not(Name("Bald"))))))))
    'Smiling^2.0 and (Bangs or not Bald)'
    """
    where = "" if query.where is None else _text(query.where)
    keys = ", ".join(
        f"{key.name if key.name in SORT_WORDS else quoted(key.name)} {'desc' if key.descending else 'asc'}"
        for key in query.sort
    )
    return " ".join(part for part in (where, f"sort by {keys}" if keys else "") if part)


_PLAIN = re.compile(r"[0-9]*[^\W\d][\w-]*")
_WORDS = frozenset({"and", "or", "not", "sort", "by", "but", "asc", "desc", "with", "without", *SORT_WORDS})


def quoted(attribute: str) -> str:
    """Return an attribute as a query spells it: in double quotes where it is more than one word, or a word of the
    language.

    >>> quoted("Smiling"), quoted("Wears glasses"), quoted('a "b" c')
    ('Smiling', '"Wears glasses"', '"a ""b"" c"')
    """
    if _PLAIN.fullmatch(attribute) and attribute.lower() not in _WORDS:
        return attribute
    escaped = attribute.replace('"', '""')
    return f'"{escaped}"'


def unquoted(word: str) -> str:
    """Return what a word of a query names: inside its quotes, single or double, a doubled quote is one."""
    mark = word[:1]
    return word[1:-1].replace(2 * mark, mark) if mark in ('"', "'") else word


def names_in(node: Node | None) -> tuple[str, ...]:
    """Return the attributes a tree mentions, each once, in order."""
    return tuple(dict.fromkeys(leaf.attribute for leaf in _leaves(node)))


def _leaves(node: Node | None) -> Iterator[Name | Compare]:
    if isinstance(node, (Name, Compare)):
        yield node
    elif node is not None:
        for child in _children(node):
            yield from _leaves(child)


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, (And, Or)):
        return node.items
    return (node.item,) if isinstance(node, (Not, Weighted)) else ()


def depth_of(node: Node) -> int:
    """Return the tree's depth without recursion."""
    depth, level = 0, [node]
    while level:
        depth, level = depth + 1, [child for parent in level for child in _children(parent)]
    return depth


def _text(node: Node) -> str:
    if isinstance(node, Name):
        return quoted(node.attribute)
    if isinstance(node, Compare):
        return f"{quoted(node.attribute)} {node.op} {node.value!r}"
    if isinstance(node, Not):
        return f"not {_inner(node.item, (And, Or, Weighted))}"
    if isinstance(node, Weighted):
        return f"{_inner(node.item, (And, Or, Weighted))}^{node.weight!r}"
    if isinstance(node, And):
        return " and ".join(_inner(item, (And, Or)) for item in node.items)
    return " or ".join(_inner(item, (Or,)) for item in node.items)


def _inner(node: Node, bracketed: tuple[type, ...]) -> str:
    return f"({_text(node)})" if isinstance(node, bracketed) else _text(node)
