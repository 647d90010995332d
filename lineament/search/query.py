"""The query language: words in, a small tree (`search/query_tree.py`) out.

    text -> tokens -> tree + sort keys

What a tree *means* (filter and score) is `search/sql.py`; users read `docs/search.md`. Every error is a `QueryError`
whose message shows the query with carets under the word that is wrong. Parsing is Lark's LALR (MIT), which does not
recurse, and length and depth are capped, so no query text can exhaust the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from lineament.errors import MissingExtraError, UnknownAttributeError, UsageError
from lineament.schema import CELEBA_40, in_profile, resolve
from lineament.search.query_tree import (
    SORT_WORDS,
    And,
    Change,
    Compare,
    Name,
    Node,
    Not,
    Or,
    Query,
    SortKey,
    Span,
    Weighted,
    depth_of,
    unquoted,
)

if TYPE_CHECKING:
    from lark import Lark, Token
    from lark.exceptions import UnexpectedInput

MAX_LENGTH = 4000
MAX_DEPTH = 64
MAX_WEIGHT = 100.0

GRAMMAR = r"""
query: [or_] [sort]
sort: _SORT _BY key (_COMMA key)*
key: NAME [DIRECTION]
?or_: and_ | and_ (_OR and_)+ -> either
?and_: term | term (_AND term)+ -> both
?term: unary | unary _HAT NUMBER -> weighted
?unary: primary | _NOT unary -> negated
?primary: _OPEN or_ _CLOSE | NAME -> name | NAME OP NUMBER -> compare

change: [_BUT] step+
step: [_join] POLARITY NAME | _join NAME
_join: _AND | _COMMA

_AND: "and"i
_OR: "or"i
_NOT: "not"i
_SORT: "sort"i
_BY: "by"i
_BUT: "but"i
DIRECTION.2: /(asc|desc)(?![\w-])/i
POLARITY.2: /(without|with)(?![\w-])/i
OP: ">=" | "<=" | ">" | "<"
_OPEN: "("
_CLOSE: ")"
_HAT: "^"
_COMMA: ","
NUMBER.2: /([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?(?![\w.])/i
NAME: /[0-9]*[^\W\d][\w-]*|"(?:[^"]|"")*"|'(?:[^']|'')*'/i
%ignore /\s+/
"""

_WORDS = {
    "_AND": "and", "_OR": "or", "_NOT": "not", "_SORT": "sort by", "_BY": "by", "_BUT": "but",
    "DIRECTION": "asc or desc", "POLARITY": "with or without", "OP": "> >= < <=", "_OPEN": "(", "_CLOSE": ")",
    "_HAT": "^weight", "_COMMA": "a comma", "NUMBER": "a number", "NAME": "an attribute", "$END": "the end",
}  # fmt: skip


class QueryError(UsageError):
    """A query that cannot be read. `span` (start, end) is where; the message shows it."""

    code = "query"

    def __init__(self, message: str, query: str, span: Span) -> None:
        super().__init__(f"{message}\n{_point(query, span)}")
        self.reason, self.query, self.span = message, query, span


def _point(query: str, span: Span) -> str:
    """Return the query's line that holds the span and a line of carets under it; long lines are cut around it."""
    start, end = span
    flat = "".join(" " if char.isspace() or not char.isprintable() else char for char in query)
    left = max(0, start - 60)
    shown = flat[left : left + 120]
    carets = max(1, min(end, left + 120) - start)
    return f"  {shown}\n  {' ' * (start - left)}{'^' * carets}"


def parse(text: str, *, attributes: Sequence[str] = CELEBA_40, profile: str = "default") -> Query:
    """Return the tree of a query, names resolved to the index's spelling.

    Args: attributes: the names the index holds. profile: names it leaves out are refused.
    Raises: QueryError pointing at the word; MissingExtraError without Lark; UsageError for an unknown profile.

    >>> parse("Smiling and not wearing_HAT").where
    And(items=(Name(attribute='Smiling', span=(0, 7)), Not(item=Name(attribute='Wearing_Hat', span=(16, 27)))))
    """
    query: Query = _run("query", text, _Builder(text, tuple(attributes), profile))
    if query.where is not None and depth_of(query.where) > MAX_DEPTH:
        raise QueryError(f"The query nests deeper than {MAX_DEPTH} levels. Simplify it.", text, (0, 1))
    return query


def parse_change(text: str, *, attributes: Sequence[str] = CELEBA_40, profile: str = "default") -> Change:
    """Return what a `--like` search wants changed: `but with mustache and without eyeglasses`.

    Raises: as `parse`.

    >>> parse_change("but with mustache, without eyeglasses").wanted
    (('Mustache', True), ('Eyeglasses', False))
    """
    if not text.strip():
        return Change()
    change: Change = _run("change", text, _Builder(text, tuple(attributes), profile))
    return change


class _Builder:
    """Lark's callbacks: tokens and children in, our nodes out. Not a lark.Transformer so that the module imports
    without Lark."""

    def __init__(self, text: str, attributes: tuple[str, ...], profile: str) -> None:
        self.text, self.attributes, self.profile = text, attributes, profile
        self.shown = frozenset(in_profile(profile, attributes))

    def query(self, children: list[Any]) -> Query:
        where, sort = children
        return Query(where, sort or ())

    def either(self, children: list[Node]) -> Or:
        return Or(tuple(children))

    def both(self, children: list[Node]) -> And:
        return And(tuple(children))

    def negated(self, children: list[Node]) -> Not:
        return Not(children[0])

    def weighted(self, children: list[Any]) -> Weighted:
        weight = self._number(children[1], MAX_WEIGHT, "A weight is above 0 and at most 100.")
        if weight <= 0:
            raise QueryError("A weight is above 0 and at most 100.", self.text, _span(children[1]))
        return Weighted(children[0], weight)

    def name(self, children: list[Token]) -> Name:
        return Name(self._resolve(children[0]), _span(children[0]))

    def compare(self, children: list[Token]) -> Compare:
        name, op, number = children
        value = self._number(number, 1.0, "A probability is compared with a number from 0 to 1 (0.8, not 80).")
        return Compare(self._resolve(name), str(op), value, _span(name))

    def sort(self, children: list[SortKey]) -> tuple[SortKey, ...]:
        return tuple(children)

    def key(self, children: list[Any]) -> SortKey:
        name, direction = children
        word = str(name).lower()  # a quoted word is an attribute's name
        known = word if word in SORT_WORDS else self._resolve(name, also=SORT_WORDS)
        descending = str(direction).lower() == "desc" if direction is not None else known != "file"
        return SortKey(known, descending, _span(name))

    def step(self, children: list[Any]) -> tuple[str | None, str, Token]:
        polarity = str(children[0]).lower() if len(children) == 2 and children[0] is not None else None
        return polarity, self._resolve(children[-1]), children[-1]

    def change(self, children: list[tuple[str | None, str, Token]]) -> Change:
        wanted: dict[str, bool] = {}
        polarity: str | None = None
        for word, name, token in children:
            polarity = word or polarity
            if polarity is None:
                raise QueryError("Say `with` or `without` before the first attribute.", self.text, _span(token))
            if wanted.setdefault(name, polarity == "with") != (polarity == "with"):
                raise QueryError(f"{name} is asked for both with and without.", self.text, _span(token))
        return Change(tuple(wanted.items()))

    def _number(self, token: Token, most: float, message: str) -> float:
        value = float(token)
        if not 0.0 <= value <= most:
            raise QueryError(message, self.text, _span(token))
        return value

    def _resolve(self, token: Token, also: tuple[str, ...] = ()) -> str:
        try:
            name = resolve(unquoted(str(token)), self.attributes)
        except UnknownAttributeError as error:
            hint = f" Besides attributes: {', '.join(also)}." if also else ""
            raise QueryError(f"{error}{hint}", self.text, _span(token)) from error
        if name not in self.shown:
            raise QueryError(
                f"{name} is left out of the profile {self.profile!r}: it judges or profiles a person, so nobody "
                "searches by it unawares. "
                "Where there is a reason to, search with --profile all.", self.text, _span(token),
            )  # fmt: skip
        return name


def _span(token: Token) -> Span:
    return (token.start_pos or 0, token.end_pos or 0)


def _run(start: str, text: str, builder: _Builder) -> Any:
    if len(text) > MAX_LENGTH:
        raise QueryError(
            f"A query has at most {MAX_LENGTH} characters; this has {len(text)}.", text, (MAX_LENGTH, MAX_LENGTH + 1)
        )
    from lark.exceptions import UnexpectedInput  # _grammar() has already said which extra is missing

    try:
        tree = _grammar().parse(text, start=start)
    except UnexpectedInput as error:
        raise _explain(error, text, builder) from error
    return _fold(tree, builder)


@cache
def _grammar() -> Lark:
    try:
        from lark import Lark
    except ImportError as error:
        raise MissingExtraError("lark", "search") from error
    return Lark(GRAMMAR, parser="lalr", lexer="basic", start=["query", "change"])


def _fold(tree: Any, builder: _Builder) -> Any:
    """Build our nodes bottom-up without recursion: a query may be nested as deep as its length allows."""
    built: dict[int, Any] = {}
    for subtree in tree.iter_subtrees():
        children = [built[id(child)] if hasattr(child, "data") else child for child in subtree.children]
        make: Callable[[list[Any]], Any] = getattr(builder, str(subtree.data))
        built[id(subtree)] = make(children)
    return built[id(tree)]


_INSTEAD = {
    "=": "Use >= or <= (a probability is never exactly a number).", "&": "Use the word `and`.",
    "|": "Use the word `or`.", "!": "Use the word `not`.", "-": "Use the word `not`.",
    "*": "A weight is written `smiling^2`.", "%": "Write 0.8, not 80%.", '"': "The quoted name has no end.",
    "'": "The quoted name has no end.",
}  # fmt: skip


def _explain(error: UnexpectedInput, text: str, builder: _Builder) -> QueryError:
    """Turn Lark's error into one that says what was expected, in the user's words."""
    from lark.exceptions import UnexpectedToken

    if not isinstance(error, UnexpectedToken):
        start = int(error.pos_in_stream or 0)
        char = text[start]
        return QueryError(f"{char!r} has no meaning here. {_INSTEAD.get(char, '')}".rstrip(), text, (start, start + 1))
    expected = ", ".join(sorted({_WORDS[name] for name in error.accepts or error.expected if name in _WORDS}))
    if error.token.type == "$END":
        end = len(text.rstrip())
        return QueryError(f"The query ends too early. Expected one of: {expected}.", text, (end, end + 1))
    message = f"Did not expect {str(error.token)!r} here. Expected one of: {expected}."
    return QueryError(message + _spaced_name(error.token, text, builder), text, _span(error.token))


def _spaced_name(token: Token, text: str, builder: _Builder) -> str:
    """Return a hint where two words joined by an underscore are an attribute: `wearing hat`."""
    words = text[: token.end_pos or 0].split()
    for count in range(min(len(words), 4), 1, -1):
        try:
            return (
                f" Did you mean {resolve('_'.join(words[-count:]).lstrip('('), builder.attributes)}? Names are written "
                "with underscores."
            )
        except UnknownAttributeError:
            continue
    return ""
