"""House rules that a reader of one file cannot see broken: names of modules, lengths, swallowed errors, unsafe loading,
pins."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lineament"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "stuff"}
IMPORTED_AS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "multipart": "python-multipart",
}
PICKLERS = {"pickle", "dill", "joblib", "shelve", "marshal"}
MOST_LINES, MOST_FUNCTION_LINES = 500, 60

LONG_FILES: dict[str, str] = {}
"""Files over 500 lines that may be, by path below lineament/, each with its reason."""

LONG_FUNCTIONS: dict[str, str] = {}
"""Functions over 60 lines that may be, as path:name, each with its reason."""


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield (name, lines of the body without its docstring) of every function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the top-level names of the modules an import statement names."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return {name.partition(".")[0] for name in names}


def unsafe_loads(source: str) -> list[int]:
    """Return the lines that can run code hidden in a file: pickle and kin, torch.load without weights_only, NumPy with
    allow_pickle."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom) and imported(node) & PICKLERS:
            lines.append(node.lineno)
        elif isinstance(node, ast.Call):
            keywords = {word.arg: word.value for word in node.keywords}
            safe = isinstance(value := keywords.get("weights_only"), ast.Constant) and value.value is True
            if ast.unparse(node.func) == "torch.load" and not safe:
                lines.append(node.lineno)
            pickled = keywords.get("allow_pickle")
            if pickled is not None and not (isinstance(pickled, ast.Constant) and pickled.value is False):
                lines.append(node.lineno)
            if ast.unparse(node.func) in {"yaml.load", "eval", "exec"}:
                lines.append(node.lineno)
    return lines


def ruff(*arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
    """Run ruff with this project's rules on text as if it were a library file."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", *arguments, "-"]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)


def test_modules_are_named_for_what_they_hold() -> None:
    assert [path for path in MODULES if path.stem in NAMELESS or path.parent.name in NAMELESS] == []


def test_files_stay_readable() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES and name not in LONG_FILES} == {}
    assert [name for name in LONG_FILES if lengths.get(name, 0) <= MOST_LINES] == [], "no longer needed on the list"


def test_functions_stay_short() -> None:
    lengths = {
        f"{path.relative_to(PACKAGE)}:{name}": length
        for path in MODULES
        for name, length in functions(path.read_text("utf-8"))
    }
    assert {
        name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES and name not in LONG_FUNCTIONS
    } == {}
    assert [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= MOST_FUNCTION_LINES] == [], (
        "no longer needed on the list"
    )


def test_the_usual_function_is_nine_lines_or_fewer() -> None:
    assert median(length for path in MODULES for _, length in functions(path.read_text("utf-8"))) <= 9


def test_length_counts_the_body_alone() -> None:
    assert list(functions('def f():\n    """Doc.\n\n    More.\n    """\n    a = 1\n    return a\n')) == [("f", 2)]


def test_no_file_can_run_code_when_loaded() -> None:
    assert {
        str(path.relative_to(ROOT)): lines for path in MODULES if (lines := unsafe_loads(path.read_text("utf-8")))
    } == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_the_loading_guard_can_fail(line: str) -> None:
    assert unsafe_loads(f"def f():\n    {line}\n") == [2]


def test_the_loading_guard_lets_safe_loads_pass() -> None:
    assert (
        unsafe_loads("torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)\nyaml.safe_load(text)\n")
        == []
    )


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("T201", '"""M."""\n\nprint("hello")\n'),
        ("BLE001", '"""M."""\n\ntry:\n    x = 1\nexcept Exception:\n    x = 2\n'),
        ("E722", '"""M."""\n\ntry:\n    x = 1\nexcept:\n    x = 2\n'),
    ],
)
def test_the_library_may_not_print_or_swallow(rule: str, source: str) -> None:
    done = ruff("--stdin-filename", str(PACKAGE / "probe.py"), stdin=source)
    assert done.returncode == 1
    assert rule in done.stdout


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="scripts/constraints.py reads TOML with the standard library of Python 3.11"
)
def test_every_requirement_has_a_pin() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/constraints.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def third_party_imports(source: str) -> set[str]:
    """Return the top-level names imported anywhere in a file that neither Python nor this project provides."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return (
        {name for node in nodes for name in imported(node)} - set(sys.stdlib_module_names) - {"lineament", "__future__"}
    )


def test_every_import_is_declared() -> None:
    """A package that is used and not declared works on its author's machine only."""
    declared = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.scripts]")[0].lower().replace("_", "-")
    distributions = metadata.packages_distributions()
    missing = {}
    for path in MODULES:
        for name in third_party_imports(path.read_text("utf-8")):
            owners = [
                owner.lower().replace("_", "-") for owner in distributions.get(name, [IMPORTED_AS.get(name, name)])
            ]
            if not any(re.search(rf'"{re.escape(owner)}[\[>=<"]', declared) for owner in owners):
                missing[f"{path.relative_to(ROOT)}: {name}"] = owners
    assert missing == {}


def test_third_party_imports_are_found_wherever_they_stand() -> None:
    assert third_party_imports(
        "import os, torch.nn\ndef f():\n    from fastapi.x import y\nfrom lineament import z\n"
    ) == {"torch", "fastapi"}


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports test files by their base name: two of one name and the whole run stops at collection."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_every_package_is_shipped() -> None:
    """A folder of modules without __init__.py would be left out of the wheel."""
    assert {path.parent for path in MODULES if not (path.parent / "__init__.py").is_file()} == set()
