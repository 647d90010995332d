"""Imports go down only, and the front door is light. Each guard is also fed a violation, to show that it can fail."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "pyarrow",
    "fastapi",
    "uvicorn",
    "matplotlib",
    "duckdb",
    "openvino",
    "scipy",
    "sklearn",
    "pandas",
    "cv2",
)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package under `folder`, with the contracts of this project."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
        "--no-logo",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def loaded_by(statement: str, folder: Path = ROOT) -> set[str]:
    """Return the top-level modules in sys.modules after `statement`, run in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contracts that a test may break."""
    shutil.copytree(
        ROOT / "lineament",
        tmp_path / "lineament",
        ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.png", "*.jpg"),
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("schema.py", "import lineament.geometry", "Imports go down only"),
        ("metrics/__init__.py", "import lineament.training", "Imports go down only"),
        ("search/__init__.py", "import lineament.report", "siblings do not know each other"),
        ("evaluation/__init__.py", "def late() -> None:\n    import torch", "No torch, not even lazily"),
        ("metrics/__init__.py", "def late() -> None:\n    import lineament.models", "Data and metrics know no network"),
        ("pipeline/__init__.py", "import lineament.models", "The pipeline takes a network as a callable"),
        ("pipeline/__init__.py", "def late() -> None:\n    import torch", "No torch, not even lazily"),
        ("training/__init__.py", "import timm", "Only models.backbone imports timm"),
        ("api.py", "import fastapi", "Only serve imports the web framework"),
    ],
)
def test_each_contract_can_break(copy: Path, module: str, statement: str, contract: str) -> None:
    with (copy / "lineament" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{statement}\n")
    done = lint_imports(copy)
    broken = [line for line in done.stdout.splitlines() if "BROKEN" in line]
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in line for line in broken), done.stdout


def test_a_module_without_a_layer_is_refused(copy: Path) -> None:
    (copy / "lineament" / "attic.py").write_text('"""Nowhere."""\n', "utf-8")
    done = lint_imports(copy)
    assert done.returncode == 1
    assert "attic" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    ["lineament", "lineament.cli", "lineament.api", "lineament.runtime.registry", "lineament.pipeline.analyze"],
)
def test_front_doors_are_light(module: str) -> None:
    assert not loaded_by(f"import {module}") & set(HEAVY)


def test_the_lightness_guard_can_fail(copy: Path) -> None:
    with (copy / "lineament" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\n\nimport timm\n")
    shutil.rmtree(copy / "timm", ignore_errors=True)
    (copy / "timm.py").write_text("", "utf-8")
    assert loaded_by("import lineament", copy) & set(HEAVY) == {"timm"}


def test_import_lineament_does_not_load_the_runtime() -> None:
    """`import lineament` costs milliseconds: NumPy, Pillow and ONNX Runtime come when they are used."""
    assert not loaded_by("import lineament") & {"numpy", "PIL", "onnxruntime", "rich", "typer"}


LAZY = {"lineament.types": {"lineament.geometry", "lineament.pipeline.draw"}}
"""The one exception: `Report.draw()` and `Report.crops()` import what they need when they are called."""


def imported_modules(package: Path) -> dict[str, set[str]]:
    """Return module -> modules of the package that it imports anywhere in its text, under TYPE_CHECKING and inside
    functions too."""
    files = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }
    edges: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                edges[name] |= {
                    one if one in files else node.module for one in inside if node.module in files or one in files
                }
            elif isinstance(node, ast.Import):
                edges[name] |= {alias.name for alias in node.names if alias.name in files}
        edges[name] -= {name, package.name}
    return edges


def circles(edges: dict[str, set[str]]) -> list[frozenset[str]]:
    """Return every set of modules that reach each other."""
    reach = {start: reached(edges, start) for start in edges}
    together = {frozenset({one} | {other for other in reach[one] if one in reach[other]}) for one in edges}
    return sorted((group for group in together if len(group) > 1), key=sorted)


def reached(edges: dict[str, set[str]], start: str) -> set[str]:
    """Return every module that `start` imports, directly or through others."""
    found: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges.get(name, ())
    return found & set(edges)


def test_no_circle_of_files() -> None:
    edges = imported_modules(ROOT / "lineament")
    assert circles({name: found - LAZY.get(name, set()) for name, found in edges.items()}) == []


def test_the_circle_guard_can_fail(copy: Path) -> None:
    with (copy / "lineament" / "detection" / "candidates.py").open("a", encoding="utf-8") as file:
        file.write("\n\nif TYPE_CHECKING:\n    from lineament.detection.retinaface import RetinaFace\n")
    assert {"lineament.detection.candidates", "lineament.detection.retinaface"} <= circles(
        imported_modules(copy / "lineament")
    )[0]
