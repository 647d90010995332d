"""Mutation testing of the rooms whose mistakes nobody would see: are their tests able to fail?

    python scripts/mutants.py draw                 # docs/benchmarks/mutants.json: 150 of all mutants, by a committed seed
    python scripts/mutants.py run TREE PHASE       # each mutant in TREE, a copy of this repository that nobody else uses
    python scripts/mutants.py page                 # docs/benchmarks/mutants.md, from mutants.json and the judgements below

source -> syntax tree -> every mutant (one small change each) -> seeded draw -> copy of the tree -> its tests -> killed or not

**Convention**: mutants change comparisons, arithmetic, constants (whole numbers by one, fractions halved and doubled, True and False), defaults
of arguments, and/or/not, bounds of slices and ranges, return, continue and break. Left out: texts, annotations, decorators. The draw is from the
whole list, before any test is written for one of them. A test counts as able to see a mutant when it runs the mutant's statement
(one traced pass); tests that start processes of their own are named in `ROOMS` and run after those. Killed: a test failed, or ran out of time.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "benchmarks" / "mutants.json"
SEED, COUNT = 15, 150
CPU_SECONDS, WALL_SECONDS = 90, 900


@dataclass(frozen=True)
class Room:
    """modules: what is mutated; tests: traced, those that run a mutant's statement are run; blind: run whole for what those leave alive."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    blind: tuple[str, ...] = ()


ROOMS = {
    "decision": Room(
        ("lineament/decision/consistency.py", "lineament/decision/layer.py", "lineament/decision/rates.py"),
        (
            "tests/decision",
            "tests/property/test_metrics.py",
            "tests/metrics/test_calibration.py",
            "tests/evaluation/test_scorecard.py",
            "tests/evaluation/test_intervals.py",
        ),
    ),
    "detection": Room(
        tuple(f"lineament/detection/{name}.py" for name in ("candidates", "eyes", "looks", "retinaface", "tiles", "yunet")),
        ("tests/detection", "tests/search/test_build.py"),
    ),
    "resume": Room(
        ("lineament/runs/resume.py", "lineament/runs/run.py", "lineament/outputs/sinks.py", "lineament/outputs/parquet_sink.py"),
        ("tests/runs/test_stream_resume.py", "tests/runs/test_stream.py", "tests/runs/test_drop_missing.py", "tests/runs/test_faults.py"),
        ("tests/e2e/test_kill_many.py", "tests/cli/test_cli_processes.py"),
    ),
    "batching": Room(
        ("lineament/serve/batching.py", "lineament/serve/workers.py", "lineament/runs/stream.py", "lineament/runs/processes.py"),
        (
            *(f"tests/serve/test_serve_{name}.py" for name in ("queue", "operation", "limits")),
            "tests/runs/test_stream.py", "tests/runs/test_processes.py",
        ),
        ("tests/serve/test_serve_process.py",),
    ),
    "metrics": Room(
        tuple(f"lineament/metrics/{name}.py" for name in ("bootstrap", "calibration", "cohorts", "counts", "ranking", "retrieval", "selective")),
        ("tests/metrics", "tests/property/test_metrics.py", "tests/evaluation/test_scorecard.py", "tests/evaluation/test_compare_audit.py"),
    ),
}  # fmt: skip

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip
LOADED = (
    "hypothesis.extra.numpy", "onnxruntime", "PIL.Image", "torch", "scipy.optimize", "sklearn.linear_model", "sklearn.metrics",
    "sklearn.isotonic", "pyarrow.parquet", "typer.testing", "fastapi.testclient", "uvicorn", "jsonschema", "yaml", "rich.console",
)  # fmt: skip
RANGES = ("range", "arange", "islice")


@dataclass(frozen=True)
class Mutant:
    """One change of one file. line, end: the statement's own lines, from 1; start, stop: the bytes that `after` takes the place of."""

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
    return Mutant(**(asdict(one) | {"after": inner if inner.replace(".", "").replace("_", "").isalnum() else one.after}))


def _visited(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.stmt]]:
    """Yield every node that may be changed with its innermost statement: no annotation, decorator, text or part of one."""

    def walk(node: ast.AST, statement: ast.stmt | None) -> Iterator[tuple[ast.AST, ast.stmt]]:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return
        statement = node if isinstance(node, ast.stmt) else statement
        if statement is not None:
            yield node, statement
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "keywords") and not isinstance(node, ast.Call):
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
    """Yield the node with its condition turned round, where the condition is no comparison and no and/or/not, which have their own."""
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


def all_mutants(root: Path = ROOT) -> list[Mutant]:
    """Return every mutant of every room, in the rooms' order."""
    return [
        mutant for room, one in ROOMS.items() for path in one.modules for mutant in mutants_of((root / path).read_text(encoding="utf-8"), room, path)
    ]


def sources_hash(root: Path = ROOT) -> str:
    """Return a hash of all mutated modules: a draw holds for these sources only."""
    digest = hashlib.sha256()
    for room in ROOMS.values():
        for path in room.modules:
            digest.update((root / path).read_bytes())
    return digest.hexdigest()[:16]


def draw(root: Path = ROOT, count: int = COUNT, seed: int = SEED) -> dict[str, Any]:
    """Return the document of a draw: how many mutants each room has, and those drawn, in the order of the list."""
    every = all_mutants(root)
    chosen = sorted(random.Random(seed).sample(range(len(every)), min(count, len(every))))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    lines = {path: (root / path).read_text(encoding="utf-8").splitlines() for room in ROOMS.values() for path in room.modules}
    return {
        "seed": seed,
        "commit": commit,
        "sources": sources_hash(root),
        "listed": {room: sum(one.room == room for one in every) for room in ROOMS},
        "drawn": [{"number": place, **asdict(every[place]), "text": lines[every[place].path][every[place].line - 1].strip()} for place in chosen],
    }


class Trace:
    """A pytest plugin: which lines of the mutated modules each test runs, and its processor seconds."""

    def __init__(self, files: set[str]) -> None:
        self.files, self.found, self._now = files, dict[str, dict[str, Any]](), set[tuple[str, int]]()

    def _global(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in self.files:
            return None
        self._now.add((name, frame.f_code.co_firstlineno))
        return self._local

    def _local(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._now.add((frame.f_code.co_filename, frame.f_lineno))
        return self._local

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self._now = set()
        self._begun = time.process_time()
        threading.settrace(self._global)
        sys.settrace(self._global)

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        sys.settrace(None)
        self.found[nodeid] = {"seconds": round(time.process_time() - self._begun, 3), "lines": sorted(self._now)}


class Only:
    """A pytest plugin: run these tests, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid])


def forked(tree: Path, arguments: Sequence[str], plugins: Sequence[Any], log: Path, then: Any = None) -> int:
    """Run pytest in a fork of this process, in which the large libraries are loaded already. Returns: its exit status; -1 out of time."""
    child = os.fork()
    if child == 0:
        status = 99
        with contextlib.suppress(BaseException):
            os.setsid()
            os.chdir(tree)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS if then is None else 3600, 3600))
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            import pytest

            status = int(pytest.main([*arguments, "-q", "-p", "no:faulthandler", "-p", "no:cacheprovider"], list(plugins)))
            if then is not None:
                then()
        os._exit(status)
    until = time.monotonic() + (WALL_SECONDS if then is None else 7200)
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with contextlib.suppress(OSError):
                os.killpg(child, signal.SIGKILL)
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def prepare(tree: Path) -> None:
    """Load what tests need but the package itself, and see that the package will come from the tree."""
    os.environ |= {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    sys.dont_write_bytecode = True
    sys.path[:] = [
        str(tree),
        *(place for place in sys.path if Path(place or ".").resolve() not in (ROOT, ROOT / "scripts")),
    ]
    for name in LOADED:
        with contextlib.suppress(ImportError):
            __import__(name)


def trace(tree: Path, room: str, into: Path) -> dict[str, Any]:
    """Return test -> its seconds and the lines it runs, from one pass over a room's tests; kept in `into` for the next call."""
    kept = into / f"trace-{room}.json"
    if not kept.is_file():
        plugin = Trace({str(tree / path) for path in ROOMS[room].modules})
        forked(
            tree,
            ROOMS[room].tests,
            [plugin],
            into / f"trace-{room}.log",
            lambda: kept.write_text(json.dumps(plugin.found)),
        )
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def seeing(mutant: dict[str, Any], traced: dict[str, Any], tree: Path) -> list[str]:
    """Return the tests that run a mutant's statement, quickest first; of a statement that runs at import, those that run its file."""
    path = str(tree / mutant["path"])

    def tests(first: int, last: int) -> list[str]:
        found = [(one["seconds"], test) for test, one in traced.items() if any(name == path and first <= at <= last for name, at in one["lines"])]
        return [test for _, test in sorted(found)]

    return tests(mutant["line"], mutant["end"]) or tests(1, 1 << 30)


def try_one(tree: Path, mutant: dict[str, Any], rounds: Sequence[Sequence[str]], log: Path) -> dict[str, Any]:
    """Return {"killed": the test that failed or "time", or None} of a mutant: rounds of tests one after the other until one fails."""
    path = tree / mutant["path"]
    whole = path.read_bytes()
    begun = time.monotonic()
    path.write_bytes(whole[: mutant["start"]] + mutant["after"].encode() + whole[mutant["stop"] :])
    killed = None
    try:
        for tests in rounds:
            if not tests:
                continue
            files = list(dict.fromkeys(test.split("::")[0] for test in tests))
            plugins = [Only(tests)] if "::" in tests[0] else []
            status = forked(tree, ["-x", *files], plugins, log)
            if status not in (0, 5):
                killed = _failed(log) if status in (1, 2, 3, 4) else "time" if status == -1 else f"status {status}"
                break
    finally:
        path.write_bytes(whole)
    return {"killed": killed, "seconds": round(time.monotonic() - begun, 1), "tests": [len(tests) for tests in rounds]}


def _failed(log: Path) -> str:
    """Return the failed test's name, from pytest's summary."""
    named = [line.split(" ")[1] for line in log.read_text(errors="replace").splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return named[0] if named else "import"


def run(tree: Path, phase: str, only: Sequence[int], extra: Sequence[str]) -> None:
    """Try the drawn mutants in a copy of the tree; each result is written at once, and those that have one already are left out."""
    document = json.loads(RESULT.read_text())
    if sources_hash(tree) != document["sources"]:
        sys.exit("The tree's modules are not those of the draw: copy the commit that mutants.json names.")
    work = tree.parent / f"{tree.name}.mutants"
    work.mkdir(exist_ok=True)
    prepare(tree)
    for room in ROOMS:
        todo = [one for one in document["drawn"] if one["room"] == room and phase not in one and (not only or one["number"] in only)]
        if phase != "before":
            todo = [one for one in todo if not one["before"]["killed"]]
        if not todo:
            continue
        traced = {} if extra else trace(tree, room, work)
        for one in todo:
            rounds = [list(extra)] if extra else [seeing(one, traced, tree), list(ROOMS[room].blind)]
            one[phase] = try_one(tree, one, rounds, work / f"{one['number']}.log")
            RESULT.write_text(json.dumps(document, indent=1) + "\n")
            print(room, one["number"], one["path"], one["line"], one["operator"], one[phase], flush=True)


def main() -> None:
    """Draw, run, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("draw")
    commands.add_parser("page")
    running = commands.add_parser("run")
    running.add_argument("tree", type=Path)
    running.add_argument("phase", choices=("before", "after"))
    running.add_argument("--only", type=int, nargs="*", default=[])
    running.add_argument("--tests", nargs="*", default=[], help="these instead of the room's own")
    given = parser.parse_args()
    if given.command == "run":
        run(given.tree.resolve(), given.phase, given.only, given.tests)
    elif given.command == "draw":
        RESULT.write_text(json.dumps(draw(), indent=1) + "\n")
    elif given.command == "list":
        for one in all_mutants():
            print(one.path, one.line, one.operator, one.before, "->", one.after)


if __name__ == "__main__":
    main()
