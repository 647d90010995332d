"""The mutation tool: what it lists, that every mutant is a program, and that a loaded module really changes."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from script_kit import script

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''"""A module."""
from functools import lru_cache

LIMIT = 3

@lru_cache(maxsize=5)
def small(value: int, least: float = 0.5) -> bool:
    """Not changed: 1 < 2."""
    for number in range(value):
        if not number and value < LIMIT:
            continue
        text = f"{value + 1} < 2"
    return least < value

class Thing:
    size = 4

    def __init__(self, size: int = 1) -> None:
        self.given = size

    @property
    def twice(self) -> int:
        return self.size * 2
'''


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    return script("mutants")


def changed(mutants: ModuleType, source: str = SOURCE) -> list[str]:
    """Return the source of every mutant."""
    whole = source.encode()
    return [
        (whole[: one.start] + one.after.encode() + whole[one.stop :]).decode() for one in mutants.mutants_of(source)
    ]


def test_every_mutant_is_another_program_and_no_two_are_the_same(mutants: ModuleType) -> None:
    trees = [ast.dump(ast.parse(one)) for one in changed(mutants)]
    assert len(set(trees)) == len(trees)
    assert ast.dump(ast.parse(SOURCE)) not in trees


def test_what_is_changed_and_what_is_not(mutants: ModuleType) -> None:
    found = {(one.operator, one.before, one.after) for one in mutants.mutants_of(SOURCE)}
    assert {
        ("constant", "3", "4"), ("constant", "3", "2"), ("constant", "0.5", "1.0"), ("constant", "0.5", "0.25"),
        ("continue/break", "continue", "pass"),
        ("off by one", "range(value)", "(range(value + 1))"),
        ("and/or", "not number and value < LIMIT", "(not number or value < LIMIT)"), ("not", "not number", "number"),
        ("comparison", "value < LIMIT", "(value <= LIMIT)"), ("comparison", "value < LIMIT", "(value >= LIMIT)"),
        ("return", "return least < value", "return None"), ("arithmetic", "self.size * 2", "(self.size / 2)"),
    } <= found  # fmt: skip
    assert not any(before == "5" for _, before, _ in found), "decorators stay"
    assert not any("value + 1" in before for _, before, _ in found), "texts stay"


def test_the_committed_draw_is_of_the_whole_list(mutants: ModuleType) -> None:
    document = json.loads((ROOT / "docs" / "benchmarks" / "mutants.json").read_text())
    assert len(document["drawn"]) == mutants.COUNT == 150
    assert document["seed"] == mutants.SEED
    assert set(document["listed"]) == set(mutants.ROOMS)
    numbers = [one["number"] for one in document["drawn"]]
    assert numbers == sorted(mutants.random.Random(mutants.SEED).sample(range(sum(document["listed"].values())), 150))
    if mutants.sources_hash() == document["sources"]:  # else the modules were worked on since
        again = {one["number"]: one for one in mutants.draw()["drawn"]}
        assert all(again[one["number"]].items() <= one.items() for one in document["drawn"])


def test_a_loaded_module_becomes_its_mutant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graft = script("mutants_run").graft
    (tmp_path / "grafted_toy.py").write_text(SOURCE)
    (tmp_path / "grafted_user.py").write_text("from grafted_toy import LIMIT, Thing, small\n")
    monkeypatch.syspath_prepend(tmp_path)
    import grafted_toy as toy  # type: ignore[import-not-found]
    import grafted_user as user  # type: ignore[import-not-found]

    thing = user.Thing()
    assert (user.small(1), thing.twice, thing.given, user.LIMIT) == (True, 8, 1, 3)
    mutant = (
        SOURCE.replace("least < value", "least >= value")
        .replace("size = 4", "size = 5")
        .replace("* 2", "* 3")
        .replace("LIMIT = 3", "LIMIT = 2")
    )
    graft(toy, mutant.replace("size: int = 1", "size: int = 7").encode())
    assert (user.small(1), thing.twice, user.Thing().given, user.LIMIT, toy.LIMIT) == (False, 15, 7, 2, 2)
    for name in ("grafted_toy", "grafted_user"):
        del sys.modules[name]
