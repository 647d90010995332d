"""Mutation testing of the rooms whose mistakes nobody would see: are their tests able to fail?

    python scripts/mutants.py draw                 # docs/benchmarks/mutants.json: 150 of all mutants, by a committed
        seed
    python scripts/mutants.py run TREE PHASE       # each mutant in TREE, a copy of this repository that nobody else
            uses
    python scripts/mutants.py page                 # docs/benchmarks/mutants.md, from mutants.json and the judgements
            below

source -> syntax tree -> every mutant (one small change each) -> seeded draw -> copy of the tree -> its tests -> killed
or not

**Convention**: mutants change comparisons, arithmetic, constants (whole numbers by one, fractions halved and doubled,
True and False), defaults of arguments, and/or/not, bounds of slices and ranges, return, continue and break. Left out:
texts, annotations, decorators. The draw is from the whole list, before any test is written for one of them. `ROOMS`
names the tests that know a module: the near ones run first, the wider ones for what those leave alive. Killed: a test
failed, or ran out of time.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "benchmarks" / "mutants.json"
SEED, COUNT = 15, 150


@dataclass(frozen=True)
class Tests:
    """Beginnings of test names. near: run first, in this order; wider: for what those leave alive."""

    near: tuple[str, ...]
    wider: tuple[str, ...] = ()


_PROPERTY, _RESUME, _STREAM = (
    "tests/property/test_metrics.py",
    "tests/runs/test_stream_resume.py",
    "tests/runs/test_stream.py",
)
_RETINA, _SMALL, _QUEUE = (
    "tests/detection/test_retinaface.py",
    "tests/detection/test_small_faces.py",
    "tests/serve/test_serve_queue.py",
)
_SCORECARD, _AUDIT = "tests/evaluation/test_scorecard.py", "tests/evaluation/test_compare_audit.py"
_COUNTS, _CALIBRATION = "tests/metrics/test_counts.py", "tests/metrics/test_calibration.py"
_SINKS = Tests(
    (
        f"{_STREAM}::test_every_input", f"{_STREAM}::test_no_inputs", f"{_STREAM}::test_tables",
        f"{_STREAM}::test_two_runs", f"{_STREAM}::test_undecodable", "tests/runs/test_drop_missing.py::test_gone",
        "tests/runs/test_drop_missing.py::test_a_resumed", f"{_RESUME}::test_stop", f"{_RESUME}::test_resume",
        f"{_RESUME}::test_a_full_disk", f"{_RESUME}::test_an_input_given_twice", f"{_RESUME}::test_several",
        f"{_RESUME}::test_changed", f"{_RESUME}::test_shards", f"{_RESUME}::test_damaged",
    ),
    (
        f"{_RESUME}::test_an_output_torn", "tests/runs/test_drop_missing.py",
        "tests/runs/test_faults.py::test_an_output_that_cannot", "tests/inputs/test_tables.py",
    ),
)  # fmt: skip

ROOMS: dict[str, dict[str, Tests]] = {
    "decision": {
        "decision/consistency.py": Tests(
            (f"{_PROPERTY}::test_consistent", f"{_PROPERTY}::test_the_decoder",
            "tests/evaluation/test_scorecard.py::test_precedence"),
            (_SCORECARD,),
        ),
        "decision/layer.py": Tests(
            ("tests/decision", f"{_PROPERTY}::test_raising", f"{_CALIBRATION}"),
            (_SCORECARD, "tests/evaluation/test_intervals.py")
        ),
        "decision/rates.py": Tests(("tests/decision/test_rates.py",)),
    },
    "metrics": {
        "metrics/bootstrap.py": Tests(
            ("tests/metrics/test_bootstrap.py", "tests/metrics/test_two_level.py", "tests/metrics/test_cohorts.py"),
            (_AUDIT,)
        ),
        "metrics/calibration.py": Tests((_CALIBRATION, _PROPERTY), (_SCORECARD,)),
        "metrics/cohorts.py": Tests(("tests/metrics/test_cohorts.py",),
        (_AUDIT, "tests/evaluation/test_audit_worst.py")),
        "metrics/counts.py": Tests((_COUNTS, _PROPERTY), (_SCORECARD,)),
        "metrics/ranking.py": Tests((_COUNTS, _PROPERTY), (_SCORECARD,)),
        "metrics/retrieval.py": Tests((_COUNTS,)),
        "metrics/selective.py": Tests((_CALIBRATION, f"{_PROPERTY}::test_a_band", f"{_PROPERTY}::test_the_order"),
        (_SCORECARD,)),
    },
    "resume": {
        "runs/resume.py": Tests(
            ("tests/runs/test_drop_missing.py::test_what", f"{_RESUME}::test_resume",
            *(one for one in _SINKS.near if _RESUME in one)), _SINKS.wider
        ),
        "runs/run.py": Tests((f"{_STREAM}::test_max_failed", *_SINKS.near), _SINKS.wider),
        "outputs/sinks.py": _SINKS,
        "outputs/parquet_sink.py": _SINKS,
    },
    "detection": {
        "detection/candidates.py": Tests(
            ("tests/detection/test_candidates.py", f"{_RETINA}::test_other_input", "tests/detection/test_yunet.py",
            f"{_RETINA}::test_the_portrait",
             f"{_RETINA}::test_rescue_is", f"{_SMALL}::test_a_weak"),
            (_RETINA, "tests/detection/test_looks.py::test_a_face", _SMALL),
        ),
        "detection/eyes.py": Tests(("tests/detection/test_eyes.py",)),
        "detection/looks.py": Tests((f"{_RETINA}::test_the_portrait", "tests/detection/test_looks.py",
        f"{_RETINA}::test_a_find"), (_RETINA,)),
        "detection/retinaface.py": Tests(
            (f"{_SMALL}::test_a_weak", f"{_SMALL}::test_a_crowd", f"{_RETINA}::test_the_portrait",
            f"{_RETINA}::test_rescue_is",
             f"{_RETINA}::test_a_portrait_pays", f"{_SMALL}::test_every_photo"),
            (_RETINA, _SMALL),
        ),
        "detection/sessions.py": Tests(("tests/detection/test_sessions.py",), (_RETINA,)),
        "detection/tiles.py": Tests(("tests/detection/test_tiles.py",), (f"{_SMALL}::test_a_panorama",)),
        "detection/yunet.py": Tests(("tests/detection/test_yunet.py",)),
    },
    "batching": {
        "serve/batching.py": Tests(
            (*(f"{_QUEUE}::test_{name}" for name in ("every", "a_request", "photos", "an_empty", "no_worker")),),
            (_QUEUE, "tests/serve/test_serve_limits.py::test_a_hung", "tests/serve/test_serve_limits.py::test_a_photo",
             "tests/serve/test_serve_limits.py::test_past", "tests/serve/test_serve_operation.py"),
        ),
        "serve/workers.py": Tests((_QUEUE,),
        ("tests/serve/test_serve_limits.py::test_a_hung", "tests/serve/test_serve_operation.py")),
        "runs/stream.py": Tests((_STREAM,)),
        "runs/processes.py": Tests(("tests/runs/test_processes.py",)),
    },
}  # fmt: skip
"""Room -> its modules, each with the tests that know it."""

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip
RANGES = ("range", "arange", "islice")


@dataclass(frozen=True)
class Mutant:
    """One change of one file. line, end: the statement's own lines, from 1; start, stop: the bytes that `after` takes
    the place of."""

    room: str
    path: str
    line: int
    end: int
    operator: str
    before: str
    after: str
    start: int
    stop: int


def mutants_of(source: str, room: str = "", path: str = "") -> list[Mutant]:
    """Return every mutant of a module's source, in its order.

    >>> [one.after for one in mutants_of("def f(a):\\n    return a < 3\\n")]
    ['return None', 'a <= 3', 'a >= 3', '4', '2']
    """
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Mutant] = []

    def add(node: Any, statement: ast.stmt, operator: str, after: str, whole: bool = False) -> None:
        start, stop = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        body = getattr(statement, "body", None)  # of a compound statement only its head
        last = body[0].lineno - 1 if body and isinstance(body[0], ast.stmt) else statement.end_lineno
        text = after if whole else f"({after})"
        found.append(
            Mutant(
                room,
                path,
                statement.lineno,
                max(last or 0, statement.lineno),
                operator,
                ast.unparse(node),
                text,
                start,
                stop,
            )
        )

    for node, statement in _visited(ast.parse(source)):
        for operator, changed in _changes(node):
            add(
                node,
                statement,
                operator,
                changed if isinstance(changed, str) else ast.unparse(changed),
                isinstance(changed, str),
            )
    return [one if one.after.startswith(("return", "pass")) else _bare(one) for one in found]


def _bare(one: Mutant) -> Mutant:
    """Return the mutant without parentheses around a plain number or name, for the reader."""
    inner = one.after[1:-1]
    return Mutant(
        **(asdict(one) | {"after": inner if inner.replace(".", "").replace("_", "").isalnum() else one.after})
    )


def _visited(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.stmt]]:
    """Yield every node that may be changed with its innermost statement: no annotation, decorator, text or part of
    one."""

    def walk(node: ast.AST, statement: ast.stmt | None) -> Iterator[tuple[ast.AST, ast.stmt]]:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return
        statement = node if isinstance(node, ast.stmt) else statement
        if statement is not None:
            yield node, statement
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "keywords") and not isinstance(
                node, ast.Call
            ):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, statement)

    yield from walk(tree, None)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST | str]]:
    """Yield (operator, the node changed, or its text) for every change of this one node."""
    if isinstance(node, ast.Compare):
        for place, one in enumerate(node.ops):
            for other in COMPARED[type(one)]:
                yield "comparison", _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield "arithmetic", _with(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield "arithmetic", _statement(_with(node, op=ARITHMETIC[type(node.op)]()))
    elif isinstance(node, ast.BoolOp):
        yield "and/or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp):
        if not isinstance(node.operand, ast.Constant):
            yield "not", node.operand
    elif isinstance(node, ast.Constant):
        yield from (("constant", ast.Constant(value)) for value in _other_constants(node.value))
    elif isinstance(node, ast.Return):
        yield "return", "return None" if node.value is not None and not _is_none(node.value) else "pass"
    elif isinstance(node, (ast.Continue, ast.Break)):
        yield "continue/break", "pass"
    yield from _conditions(node)
    yield from _bounds(node)


def _statement(node: ast.AST) -> str:
    return ast.unparse(node)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _other_constants(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return value + 1, value - 1
    if isinstance(value, float):
        return (value * 2, value / 2) if value else (1.0, -1.0)
    return ()


def _conditions(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the node with its condition turned round, where the condition is no comparison and no and/or/not, which
    have their own."""
    if isinstance(node, ast.IfExp) and not isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
        yield "not", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, (ast.Call, ast.Name, ast.Attribute)) and getattr(node, "is_condition", False):
        yield "not", ast.UnaryOp(ast.Not(), node)
    if isinstance(node, (ast.If, ast.While)):
        node.test.is_condition = True  # type: ignore[attr-defined]  # it is visited later, as a node of its own
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            test.is_condition = True  # type: ignore[attr-defined]


def _bounds(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield slices and ranges with a bound one further, where the bound is no constant, which has its own."""
    one = ast.Constant(1)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        for name in ("lower", "upper"):
            bound = getattr(node.slice, name)
            if bound is not None and not isinstance(bound, (ast.Constant, ast.UnaryOp)):
                yield "off by one", _with(node, slice=_with(node.slice, **{name: ast.BinOp(bound, ast.Add(), one)}))
    if isinstance(node, ast.Call) and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) in RANGES:
        for place, bound in enumerate(node.args):
            if not isinstance(bound, ast.Constant):
                args = [*node.args[:place], ast.BinOp(bound, ast.Add(), one), *node.args[place + 1 :]]
                yield "off by one", _with(node, args=args)


def _modules() -> list[tuple[str, str]]:
    """Return (room, path) of every mutated module, in an order that the draw depends on."""
    rooms = ("decision", "detection", "resume", "batching", "metrics")
    return [
        (room, f"lineament/{path}")
        for room in rooms
        for path in (sorted(ROOMS[room]) if room in ("decision", "detection", "metrics") else ROOMS[room])
    ]


def all_mutants(root: Path = ROOT) -> list[Mutant]:
    """Return every mutant of every room, in the rooms' order."""
    return [
        mutant
        for room, path in _modules()
        for mutant in mutants_of((root / path).read_text(encoding="utf-8"), room, path)
    ]


def sources_hash(root: Path = ROOT) -> str:
    """Return a hash of all mutated modules: a draw holds for these sources only."""
    digest = hashlib.sha256()
    for _, path in _modules():
        digest.update((root / path).read_bytes())
    return digest.hexdigest()[:16]


def draw(root: Path = ROOT, count: int = COUNT, seed: int = SEED) -> dict[str, Any]:
    """Return the document of a draw: how many mutants each room has, and those drawn, in the order of the list."""
    every = all_mutants(root)
    chosen = sorted(random.Random(seed).sample(range(len(every)), min(count, len(every))))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()
    lines = {path: (root / path).read_text(encoding="utf-8").splitlines() for _, path in _modules()}
    return {
        "seed": seed,
        "commit": commit,
        "sources": sources_hash(root),
        "listed": {room: sum(one.room == room for one in every) for room in ROOMS},
        "drawn": [
            {"number": place, **asdict(every[place]), "text": lines[every[place].path][every[place].line - 1].strip()}
            for place in chosen
        ],
    }


def main() -> None:
    """Draw, run, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("draw")
    commands.add_parser("page")
    running = commands.add_parser("run")
    running.add_argument("tree", type=Path)
    running.add_argument("phase", choices=("tests_before", "tests_after"))
    running.add_argument(
        "--part",
        choices=("near", "wider", "both"),
        default="both",
        help="near first and wider later, for what is alive",
    )
    running.add_argument("--rooms", nargs="*", default=list(ROOMS))
    running.add_argument("--only", type=int, nargs="*", default=[])
    running.add_argument("--tests", nargs="*", default=[], help="these instead of the room's own")
    given = parser.parse_args()
    if given.command == "run":
        from mutants_run import run

        run(given.tree.resolve(), given.phase, given.part, given.rooms, given.only, given.tests)
    elif given.command == "draw":
        RESULT.write_text(json.dumps(draw(), indent=1) + "\n")
    elif given.command == "page":
        from mutants_page import page

        RESULT.with_suffix(".md").write_text(page(json.loads(RESULT.read_text())))
    elif given.command == "list":
        for one in all_mutants():
            print(one.path, one.line, one.operator, one.before, "->", one.after)


if __name__ == "__main__":
    main()
