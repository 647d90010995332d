"""THIRD_PARTY.md names every weight file with its current hash."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from script_kit import script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def third_party() -> ModuleType:
    return script("third_party")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one weight file in each place that is looked at."""
    for name in ("lineament/weights/retinaface.onnx", "results/a/model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "lineament" / "weights" / "__init__.py").touch()
    return tmp_path


def test_every_weight_file_stands_with_its_hash() -> None:
    """Found and hashed here, without the script that writes the table."""
    listed = dict(
        re.findall(
            r"^\| `([^`]+)` .*\| `([0-9a-f]{64})` \|$", (ROOT / "THIRD_PARTY.md").read_text("utf-8"), re.MULTILINE
        )
    )
    weights = [p for p in (ROOT / "lineament" / "weights").iterdir() if p.is_file() and p.suffix != ".py"]
    found = [p for suffix in ("onnx", "safetensors", "npz") for p in (ROOT / "results").rglob(f"*.{suffix}")]
    weights += [
        p for p in found if p.parent.name != "labels"
    ]  # made from the data set when needed, not part of the repository
    now = {p.relative_to(ROOT).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in weights}
    assert listed == now, "run scripts/third_party.py (part of `make refit`)"


def test_every_origin_has_its_section(third_party: ModuleType) -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "THIRD_PARTY.md").read_text("utf-8"), re.MULTILINE)
    assert {section for _, section, _ in third_party.RULES} <= set(headings)


def test_a_changed_file_changes_the_table(third_party: ModuleType, tree: Path) -> None:
    before = third_party.table(tree)
    (tree / "results" / "a" / "model.safetensors").write_bytes(b"changed")
    assert third_party.table(tree) != before
    assert hashlib.sha256(b"changed").hexdigest() in third_party.table(tree)


def test_a_new_file_enters_the_table(third_party: ModuleType, tree: Path) -> None:
    (tree / "lineament" / "weights" / "v9.onnx").write_bytes(b"new")
    assert "lineament/weights/v9.onnx" in third_party.table(tree)
    assert "__init__" not in third_party.table(tree)


def test_only_the_block_is_rewritten(third_party: ModuleType) -> None:
    text = f"before\n{third_party.BEGIN}\nold\n{third_party.END}\nafter\n"
    assert third_party.rewritten(text, "NEW") == "before\nNEW\nafter\n"
    with pytest.raises(SystemExit, match="lost its markers"):
        third_party.rewritten("no markers", "NEW")
