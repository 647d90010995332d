"""Try drawn mutants, one at a time: what `scripts/mutants.py run` does.

tests collected once -> per mutant: file written, process forked, module changed in place -> tests -> the first that
fails, or none
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy
from mutants import RESULT, ROOMS, ROOT, sources_hash

CPU_SECONDS, WALL_SECONDS = 60, 400


def graft(module: ModuleType, source: bytes) -> None:
    """Make a loaded module what `source` says, in place: its functions' code, their defaults, its constants, wherever
    they were imported to."""
    fresh = ModuleType(module.__name__)
    vars(fresh).update({name: vars(module)[name] for name in ("__file__", "__package__", "__spec__", "__loader__")})
    exec(compile(source, str(module.__file__), "exec"), vars(fresh))
    for name, new in vars(fresh).items():
        old = vars(module).get(name)
        if getattr(new, "__module__", module.__name__) != module.__name__ or name.startswith("__"):
            continue
        if callable(new) and not isinstance(new, (dict, tuple)):
            _graft_one(old, new)
        elif isinstance(new, (int, float, str, tuple, dict, frozenset, numpy.ndarray)) and repr(new) != repr(old):
            for other in list(sys.modules.values()):
                if getattr(other, "__dict__", {}).get(name) is old:
                    setattr(other, name, new)


def _graft_one(old: Any, new: Any) -> None:
    if isinstance(new, FunctionType):
        if hasattr(new, "__wrapped__"):  # contextmanager
            _graft_one(old.__wrapped__, new.__wrapped__)
        old.__code__ = (
            new.__code__
        )  # ValueError where they hold different outer names: seen as "graft", to be tried by hand
        old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    elif hasattr(new, "cache_clear"):
        _graft_one(old.__wrapped__, new.__wrapped__)
        old.cache_clear()
    elif isinstance(new, (staticmethod, classmethod)):
        _graft_one(old.__func__, new.__func__)
    elif isinstance(new, property):
        _graft_one(old.fget, new.fget)
    elif isinstance(new, type):
        for name, value in vars(new).items():
            if isinstance(value, (FunctionType, staticmethod, classmethod, property)):
                _graft_one(vars(old)[name], value)
            elif isinstance(value, (int, float, str, tuple)) and not name.startswith("__") and value != vars(old)[name]:
                setattr(old, name, value)


class Loop:
    """A pytest plugin in place of its loop: tests are collected once, then every mutant is tried in a fork of that
    process.

    The mutant stands in the tree's file too, for the processes that tests start.
    """

    def __init__(
        self,
        tree: Path,
        todo: Sequence[dict[str, Any]],
        phase: str,
        part: str,
        extra: Sequence[str],
        save: Callable[[], object],
    ) -> None:
        self.tree, self.todo, self.phase, self.part, self.extra, self.save = tree, todo, phase, part, tuple(extra), save
        self.work = tree.parent / f"{tree.name}.mutants"
        self.work.mkdir(exist_ok=True)
        self.failed = ""

    def pytest_collection(self) -> None:
        """Before any test is imported: a failure found by hypothesis is not made smaller, which takes far longer than
        finding it."""
        from hypothesis import Phase, settings

        found = settings.get_profile("ci")
        settings.register_profile("mutants", found, phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid
            (self.work / "last-failure.txt").write_text(
                f"{report.nodeid}\n{report.longreprtext[-3000:]}", errors="replace"
            )

    def pytest_runtestloop(self, session: Any) -> bool:
        checked = set[str]()
        for one in self.todo:
            known = ROOMS[one["room"]][one["path"].removeprefix("lineament/")]
            near = _named(session, self.extra or known.near)
            wider = [] if self.extra else [test for test in _named(session, known.wider) if test not in set(near)]
            if one["path"] not in checked:  # that the tests pass at all, with the module put in place as mutants are
                checked.add(one["path"])
                self.check(
                    session, one, (near if self.part != "wider" else []) + (wider if self.part != "near" else [])
                )
            one[self.phase] = self.tried(session, one, near) if self.part != "wider" else one[self.phase]
            if not one[self.phase]["killed"] and wider and self.part != "near":
                one[self.phase] = self.tried(session, one, wider) | {"near": len(near)}
            self.save()
            print(one["number"], one["path"], one["line"], one[self.phase], file=sys.__stderr__, flush=True)
        return True

    def check(self, session: Any, mutant: dict[str, Any], tests: Sequence[str]) -> None:
        """End the run where these tests fail without any mutant."""
        found = self.tried(session, mutant | {"start": 0, "stop": 0, "after": ""}, tests)
        if found["killed"]:
            sys.exit(f"Without any mutant of {mutant['path']}, {found['killed']} fails.")

    def tried(self, session: Any, mutant: dict[str, Any], tests: Sequence[str]) -> dict[str, Any]:
        """Return {"killed": the test that failed, "import" or "time", or None} of a mutant."""
        path, begun = self.tree / mutant["path"], time.monotonic()
        whole = path.read_bytes()
        mutated = whole[: mutant["start"]] + mutant["after"].encode() + whole[mutant["stop"] :]

        def attempt() -> str:
            try:
                graft(importlib.import_module(mutant["path"].removesuffix(".py").replace("/", ".")), mutated)
            except ValueError as error:
                return "graft" if "free vars" in str(error) else "import"
            except Exception:  # noqa: BLE001 - what a mutant raises at import is its death, whatever it is
                return "import"
            _run(session, tests, lambda: bool(self.failed))
            return self.failed

        path.write_bytes(mutated)
        try:
            killed = _forked(attempt, CPU_SECONDS, WALL_SECONDS)
        finally:
            path.write_bytes(whole)
        return {"killed": killed or None, "seconds": round(time.monotonic() - begun, 1), "tests": len(tests)}


def _named(session: Any, beginnings: Sequence[str]) -> list[str]:
    """Return the collected tests whose names begin so, in the order of the beginnings."""
    return list(
        dict.fromkeys(item.nodeid for one in beginnings for item in session.items if item.nodeid.startswith(one))
    )


def _run(session: Any, tests: Sequence[str], over: Callable[[], bool]) -> None:
    """Run these of the collected tests in this order, until `over`."""
    place = {test: index for index, test in enumerate(tests)}
    items = sorted((item for item in session.items if item.nodeid in place), key=lambda item: place[item.nodeid])
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if over():
            return


def _forked(work: Callable[[], str], cpu_seconds: int, wall_seconds: int) -> str:
    """Return what `work` returns in a fork of this process; "time" where it ran out of it, "crash" where it ended
    otherwise."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "crash"
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
            answer = work()
        finally:
            os.write(theirs, f"={answer}".encode())
            os._exit(0)
    os.close(theirs)
    until, status = time.monotonic() + wall_seconds, 0
    ended = 0
    while not ended and time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.1)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    with os.fdopen(ours, "rb") as pipe:
        told = pipe.read(4096).decode() if ended and not os.WIFSIGNALED(status) else ""
    return (
        told[1:]
        if told
        else "time"
        if not ended or os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        else "crash"
    )


def prepare(tree: Path) -> None:
    """See that the package comes from the tree, here and in the processes that tests start."""
    os.environ |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a mutant of the same size and second would be taken for its original
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and loading them takes longer than most tests
    sys.dont_write_bytecode = True
    sys.path[:] = [
        str(tree),
        *(place for place in sys.path if Path(place or ".").resolve() not in (ROOT, ROOT / "scripts")),
    ]
    os.chdir(tree)


def run(tree: Path, phase: str, part: str, rooms: Sequence[str], only: Sequence[int], extra: Sequence[str]) -> None:
    """Try drawn mutants in a copy of the tree; each result is written at once, and those that have one already are left
    out."""
    import pytest

    document = json.loads(RESULT.read_text())
    if sources_hash(tree) != document["sources"]:
        sys.exit("The tree's modules are not those of the draw: copy the commit that mutants.json names.")
    prepare(tree)
    todo = [one for one in document["drawn"] if one["room"] in rooms and (not only or one["number"] in only)]
    todo.sort(key=lambda one: rooms.index(one["room"]))
    todo = [one for one in todo if (phase not in one) != (part == "wider") and not one.get(phase, {}).get("killed")]
    if phase == "tests_after":
        todo = [one for one in todo if not one["tests_before"]["killed"]]
    known = [ROOMS[one["room"]][one["path"].removeprefix("lineament/")] for one in todo]
    tests = list(extra) or [name for one in known for name in (*one.near, *(one.wider if part != "near" else ()))]
    files = sorted({name.split("::")[0] for name in tests})
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  what the tests' conftest does, once instead of in every fork
    gc.disable()  # it would touch, and so copy, the memory that forks share
    loop = Loop(tree, todo, phase, part, extra, lambda: RESULT.write_text(json.dumps(document, indent=1) + "\n"))
    plain = [
        "-p",
        "no:faulthandler",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        "-o",
        "addopts=--strict-markers -m 'not slow'",
    ]
    sys.exit(int(pytest.main([*files, *plain], [loop])))
