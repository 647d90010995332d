"""What operators take: deploy/ holds what it promises, each check can fail; the bill of materials is whole and
repeatable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from script_kit import module_at

ROOT = Path(__file__).resolve().parents[2]


check = module_at(ROOT / "deploy" / "check.py", "check_here")


@pytest.mark.parametrize("name", ["dockerfile", "compose", "kubernetes", "unit", "flags"])
def test_the_templates_hold_what_they_promise(name: str) -> None:
    assert list(getattr(check, name)()) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "name"),
    [
        ("Dockerfile", "USER 10001:10001", "USER root", "dockerfile"),
        ("compose.yaml", "read_only: true", "read_only: false", "compose"),
        ("kubernetes.yaml", "path: /healthz", "path: /", "kubernetes"),
        ("lineament.service", "NoNewPrivileges=yes", "NoNewPrivileges=no", "unit"),
        ("Dockerfile", "--reload-model", "--reload-everything", "flags"),
    ],
)
def test_each_check_can_fail(
    file: str, old: str, new: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "deploy"
    place.mkdir()
    for path in check.HERE.iterdir():
        if path.is_file():
            text = path.read_text("utf-8")
            (place / path.name).write_text(text.replace(old, new) if path.name == file else text, encoding="utf-8")
    for name_ in ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md", "constraints.txt", "lineament"):
        (tmp_path / name_).touch()
    monkeypatch.setattr(check, "HERE", place)
    assert list(getattr(check, name)()) != []


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="scripts/sbom.py reads TOML with the standard library of Python 3.11"
)
def test_the_bill_of_materials_names_every_dependency_and_repeats(tmp_path: Path) -> None:
    outs = []
    for name in ("a", "b"):
        command = [sys.executable, "scripts/sbom.py", "--extras", "serve", "--out", str(tmp_path / name)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        outs.append((tmp_path / name).read_bytes())
    assert outs[0] == outs[1]
    found = json.loads(outs[0])
    names = {one["name"]: one for one in found["components"]}
    assert {
        "numpy",
        "pillow",
        "onnxruntime",
        "typer",
        "rich",
        "fastapi",
        "uvicorn",
        "starlette",
        "default.onnx",
    } <= set(names)
    assert "duckdb" not in names
    assert names["numpy"]["purl"] == f"pkg:pypi/numpy@{names['numpy']['version']}"
    refs = {one["bom-ref"] for one in found["components"]} | {"lineament"}
    assert all(entry["ref"] in refs and set(entry["dependsOn"]) <= refs for entry in found["dependencies"])
    reached, todo = set(), ["lineament"]
    inside = {entry["ref"]: entry["dependsOn"] for entry in found["dependencies"]}
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo += inside.get(ref, [])
    assert reached == refs, "every component is there because something needs it"
