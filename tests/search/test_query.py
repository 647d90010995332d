"""The query language: what is read is what was written, SQL and NumPy agree, errors point at the word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lark")
pytest.importorskip("duckdb")

from lineament.errors import UsageError
from lineament.schema import CELEBA_40, SENSITIVE
from lineament.search.query import QueryError, parse, parse_change
from lineament.search.query_tree import (
    And,
    Change,
    Compare,
    Name,
    Node,
    Not,
    Or,
    Query,
    SortKey,
    Weighted,
    names_in,
    unparse,
)
from lineament.search.sql import change_sql, column, order_sql, score_sql, scores, where_mask, where_sql

names = st.sampled_from(CELEBA_40)
unit = st.floats(0, 1, allow_nan=False)
weights = st.floats(0.01, 100, allow_nan=False)
leaves = st.builds(Name, names) | st.builds(Compare, names, st.sampled_from([">", ">=", "<", "<="]), unit)


def _branch(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(children, min_size=2, max_size=4).map(tuple)
    return (
        st.builds(Not, children)
        | st.builds(And, several)
        | st.builds(Or, several)
        | st.builds(Weighted, children, weights)
    )


trees: st.SearchStrategy[Node] = st.recursive(leaves, _branch, max_leaves=8)
sort_keys = st.lists(
    st.builds(SortKey, names | st.sampled_from(["score", "file", "eye_distance"]), st.booleans()), max_size=3
).map(tuple)
queries = st.builds(Query, st.none() | trees, sort_keys)


@given(queries, st.randoms(use_true_random=False))
def test_any_tree_written_down_and_read_again_is_itself(query: Query, random: Any) -> None:
    text = unparse(query)
    assert parse(text, profile="all") == query
    shouted = "".join(char.upper() if random.random() < 0.5 else char.lower() for char in text)
    assert parse(shouted, profile="all") == query
    assert parse(f"  {text.replace(' ', chr(10) + chr(9))} ", profile="all") == query


def test_precedence_and_weights_are_as_documented() -> None:
    bald, smiling, bangs = Name("Bald"), Name("Smiling"), Name("Bangs")
    assert parse("bald or smiling and bangs").where == Or((bald, And((smiling, bangs))))
    assert parse("(bald or smiling) and bangs").where == And((Or((bald, smiling)), bangs))
    assert parse("not bald and smiling").where == And((Not(bald), smiling))
    assert parse("not smiling^2").where == Weighted(Not(smiling), 2.0)
    assert parse("not (smiling^2)").where == Not(Weighted(smiling, 2.0))
    assert parse("bald > .5^2").where == Weighted(Compare("Bald", ">", 0.5), 2.0)
    assert parse("5_o_clock_shadow").where == Name("5_o_Clock_Shadow")
    assert parse("sort by file").sort == (SortKey("file", False),)
    assert parse("sort by smiling").sort == (SortKey("Smiling", True),)
    assert parse(" ") == Query(None, ())


OWN = ("Wears glasses", "Grinst, breit", 'a "b" c', "it's", "not", "score", "Smiling", "été")


@pytest.mark.parametrize(("text", "name"), [
    ('"Wears glasses"', "Wears glasses"), ("'wears GLASSES'", "Wears glasses"), ('"Grinst, breit"', "Grinst, breit"),
    ('"a ""b"" c"', 'a "b" c'), ("'a \"b\" c'", 'a "b" c'), ("'it''s'", "it's"), ('"it\'s"', "it's"), ('"not"', "not"),
    ('"score"', "score"), ('"smiling"', "Smiling"), ("été", "été"),
])  # fmt: skip
def test_any_name_can_be_written_in_quotes(text: str, name: str) -> None:
    assert parse(text, attributes=OWN).where == Name(name)
    assert parse(f"not {text} >= 0.5", attributes=OWN).where == Not(Compare(name, ">=", 0.5))
    assert parse(f"sort by {text}", attributes=OWN).sort == (SortKey(name, True),)
    assert parse_change(f"but with {text}", attributes=OWN).wanted == ((name, True),)
    back = unparse(parse(f"smiling and {text}", attributes=OWN))
    assert parse(back, attributes=OWN) == parse(f"smiling and {text}", attributes=OWN)


def test_a_quote_without_an_end_is_pointed_at() -> None:
    with pytest.raises(QueryError, match="no end"):
        parse('smiling and "Wears', attributes=OWN)


@pytest.fixture(scope="module")
def table() -> Any:
    """A `faces` table of random probabilities; a third of the values are round numbers, so that comparisons meet
    ties."""
    rng = np.random.default_rng(7)
    probs = rng.random((40, 40)).astype(np.float32)
    probs = np.where(rng.random(probs.shape) < 0.3, probs.round(1), probs).astype(np.float32)
    import duckdb

    con = duckdb.connect()
    con.register(
        "given", {"file_id": np.arange(40), **{f"prob_{name}": probs[:, i].copy() for i, name in enumerate(CELEBA_40)}}
    )
    con.execute(
        "CREATE TABLE faces AS SELECT file_id, 0 AS face, file_id AS eye_distance, * EXCLUDE (file_id) FROM given"
    )
    return con, probs


thresholds = st.dictionaries(names, st.sampled_from([0.1, 0.2, 0.3, 0.7, 0.9]) | unit, max_size=5)


@given(trees, thresholds, st.booleans())
def test_sql_and_numpy_mean_the_same(table: Any, tree: Node, fitted: dict[str, float], loose: bool) -> None:
    con, probs = table
    keep, score = where_sql(tree, fitted, loose=loose), score_sql(tree)
    sql = f"SELECT {keep.text}, {score.text} FROM faces ORDER BY file_id"
    rows = con.execute(sql, [*keep.params, *score.params]).fetchall()
    np.testing.assert_array_equal([row[0] for row in rows], where_mask(tree, probs, CELEBA_40, fitted, loose=loose))
    expected = scores(tree, probs, CELEBA_40)
    np.testing.assert_allclose([row[1] for row in rows], expected, rtol=1e-9, atol=1e-12)
    assert np.all((expected >= 0) & (expected <= 1))


def _holds(tree: Node, row: dict[str, np.float32], fitted: dict[str, float]) -> bool:
    """A third meaning, one face at a time in plain Python: what the page of the manual says."""
    if isinstance(tree, Name):
        return bool(row[tree.attribute] >= np.float32(fitted.get(tree.attribute, 0.5)))
    if isinstance(tree, Compare):
        p, t = row[tree.attribute], np.float32(tree.value)
        return bool({">": p > t, ">=": p >= t, "<": p < t, "<=": p <= t}[tree.op])
    if isinstance(tree, (And, Or)):
        parts = [_holds(item, row, fitted) for item in tree.items]
        return all(parts) if isinstance(tree, And) else any(parts)
    return (not _holds(tree.item, row, fitted)) if isinstance(tree, Not) else _holds(tree.item, row, fitted)


@given(trees, thresholds)
def test_the_filter_is_boolean_logic(table: Any, tree: Node, fitted: dict[str, float]) -> None:
    _, probs = table
    rows = [dict(zip(CELEBA_40, row, strict=True)) for row in probs]
    assert where_mask(tree, probs, CELEBA_40, fitted).tolist() == [_holds(tree, row, fitted) for row in rows]


@given(trees)
def test_de_morgan_and_loose_never_drops_a_match(table: Any, tree: Node) -> None:
    _, probs = table
    other = Not(And((Not(tree), Not(Name("Bald")))))
    np.testing.assert_allclose(
        scores(other, probs, CELEBA_40), scores(Or((tree, Name("Bald"))), probs, CELEBA_40), atol=1e-12
    )
    strict, loose = (where_mask(tree, probs, CELEBA_40, {}, loose=flag) for flag in (False, True))
    assert not np.any(strict & ~loose)


def test_a_probability_at_the_threshold_is_yes(table: Any) -> None:
    con, probs = table
    for t in (0.1, 0.3, 0.7, 0.9):  # none of them is exact in float32
        keep = where_sql(Name("Smiling"), {"Smiling": t})
        found = {
            row[0] for row in con.execute(f"SELECT file_id FROM faces WHERE {keep.text}", list(keep.params)).fetchall()
        }
        at = np.flatnonzero(probs[:, CELEBA_40.index("Smiling")] == np.float32(t))
        assert len(at)
        assert set(at.tolist()) <= found


@pytest.mark.parametrize(("op", "kept"), [(">", "at below"), (">=", "below"), ("<", "at above"), ("<=", "above")])
def test_the_opposite_of_a_comparison_keeps_what_is_equal_exactly_where_it_must(op: str, kept: str) -> None:
    import duckdb

    where = where_sql(Not(Compare("Smiling", op, 0.5)), {})
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE faces AS SELECT * FROM (VALUES ('above', 0.75), ('at', 0.5), ('below', 0.25)) AS t(name, p)"
    )
    con.execute('ALTER TABLE faces RENAME p TO "prob_Smiling"')
    found = con.execute(f"SELECT name FROM faces WHERE {where.text} ORDER BY name", list(where.params)).fetchall()
    assert " ".join(sorted(row[0] for row in found)) == " ".join(sorted(kept.split()))


@settings(max_examples=40)
@given(st.lists(st.tuples(names, st.booleans()), max_size=3, unique_by=lambda pair: pair[0]))
def test_likeness_matches_its_formula(table: Any, wanted: list[tuple[str, bool]]) -> None:
    con, probs = table
    photo, change = probs[3].astype(float), Change(tuple(wanted))
    keep, score = change_sql(change, photo.tolist(), CELEBA_40, {})
    rows = con.execute(
        f"SELECT {keep.text}, {score.text} FROM faces ORDER BY file_id", [*keep.params, *score.params]
    ).fetchall()
    target = photo.copy()
    for name, yes in wanted:
        target[CELEBA_40.index(name)] = yes
    np.testing.assert_allclose([row[1] for row in rows], 1 - np.sqrt(((probs - target) ** 2).mean(1)), atol=1e-9)
    must = np.all([(probs[:, CELEBA_40.index(name)] >= 0.5) == yes for name, yes in wanted], axis=0) | np.zeros(
        40, bool
    )
    np.testing.assert_array_equal([row[0] for row in rows], must)


def test_order_breaks_ties_the_same_way_every_time() -> None:
    assert order_sql(()) == "score DESC, file_id, face"
    assert order_sql((SortKey("Smiling", False),)) == '"prob_Smiling" ASC, score DESC, file_id, face'


def outcome(text: str) -> Query | QueryError:
    try:
        return parse(text, profile="all")
    except QueryError as error:
        return error


@given(st.text(max_size=30))
def test_any_text_gives_a_query_or_an_error_with_carets(text: str) -> None:
    result = outcome(text)
    assert (
        str(result).endswith("^") if isinstance(result, QueryError) else set(names_in(result.where)) <= set(CELEBA_40)
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_a_hostile_attribute_name_stays_inside_its_quotes(table: Any, name: str) -> None:
    con, _ = table
    con.execute(f"CREATE OR REPLACE TEMP TABLE hostile ({column(name)} FLOAT)")
    con.execute("INSERT INTO hostile VALUES (0.9)")
    keep = where_sql(Name(name), {})
    assert con.execute(f"SELECT count(*) FROM hostile WHERE {keep.text}", list(keep.params)).fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("text", "word", "reason"),
    [
        ("smilling and bald", "smilling", "Did you mean Smiling?"),
        ("smiling and Wering_Hat", "Wering_Hat", "Did you mean Wearing_Hat?"),
        ("bald and male", "male", "left out of the profile 'default'"),
        ("smiling sort by young", "young", "--profile all"),
        ("smiling and and bald", "and", "Expected one of"),
        ("smiling > 80", "80", "0.8, not 80"),
        ("smiling^0", "0", "above 0 and at most 100"),
        ("smiling^101", "101", "above 0 and at most 100"),
        ("smiling = 0.5", "=", "Use >= or <="),
        ("smiling && bald", "&", "Use the word `and`"),
        ("wearing hat", "hat", "Did you mean Wearing_Hat?"),
        ("smiling)", ")", "Did not expect"),
        ("sort by age", "age", "score, file, eye_distance"),
        ("smiling; DROP TABLE faces", ";", "no meaning"),
    ],
)
def test_errors_point_at_the_word(text: str, word: str, reason: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    _, shown, carets = str(caught.value).split("\n")
    start = carets.index("^")
    assert shown[start : start + carets.count("^")] == word
    assert shown.strip() == text
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["smiling and", "(smiling", "not", "smiling >", "sort by"])
def test_an_early_end_points_behind_the_last_word(text: str) -> None:
    with pytest.raises(QueryError, match="ends too early") as caught:
        parse(text)
    assert caught.value.span[0] == len(text)


@pytest.mark.parametrize("name", sorted(SENSITIVE))
def test_every_sensitive_name_is_refused_by_default_only(name: str) -> None:
    with pytest.raises(QueryError, match="judges or profiles a person"):
        parse(f"smiling and {name.lower()}")
    with pytest.raises(QueryError, match="judges or profiles a person"):
        parse_change(f"but with {name}")
    assert parse(name, profile="all").where == Name(name)


def test_unknown_profile_and_foreign_attributes() -> None:
    with pytest.raises(UsageError, match="Unknown profile"):
        parse("smiling", profile="most")
    assert parse("SCAR", attributes=("Scar",)).where == Name("Scar")
    with pytest.raises(QueryError, match="Unknown attribute"):
        parse("smiling", attributes=("Scar",))


@pytest.mark.parametrize(
    "text",
    ["not " * 900 + "bald", "(" * 1900 + "bald" + ")" * 1900, "bald and " * 400 + "bald", "x" * 9000, "(" * 3999],
)
def test_long_and_deep_queries_end_in_an_answer(text: str) -> None:
    result = outcome(text)
    assert len(str(result)) < 700 if isinstance(result, QueryError) else names_in(result.where) == ("Bald",)


def test_changes() -> None:
    assert parse_change("but with mustache and without eyeglasses").wanted == (
        ("Mustache", True),
        ("Eyeglasses", False),
    )
    assert parse_change("WITH bald, bangs without smiling").wanted == (
        ("Bald", True),
        ("Bangs", True),
        ("Smiling", False),
    )
    assert parse_change("  ") == Change()
    for text, reason in (
        ("mustache", "Did not expect"),
        ("with bald without bald", "both with and without"),
        ("but", "too early"),
    ):
        with pytest.raises(QueryError, match=reason):
            parse_change(text)


def test_messages_show_no_control_characters() -> None:
    with pytest.raises(QueryError) as caught:
        parse("smiling and \x1b[31m\u202eevil")
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)
