"""README and docs: their snippets run, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from script_kit import script

from lineament.schema import SENSITIVE, in_profile

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "THIRD_PARTY.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


snippets = script("snippets")
WITH_SNIPPETS = [
    name for name, page in zip(NAMES, PAGES, strict=True) if list(snippets.blocks(page.read_text("utf-8")))
]


@pytest.mark.parametrize("name", WITH_SNIPPETS)
def test_snippets_run_and_print_what_the_page_shows(name: str, default_weights: Path) -> None:
    _, faults = snippets.play(ROOT / name)
    assert faults == [], "if the new output is right: python scripts/snippets.py"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text("utf-8"), re.MULTILINE))
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    from lineament.cli import COMMANDS

    named = set(re.findall(r"(?:^\$ |`|^)lineament ([a-z][a-z-]+)", page.read_text("utf-8"), re.MULTILINE))
    assert named - set(COMMANDS) == set()


def test_every_page_can_be_found() -> None:
    """A page that no index names is read by nobody."""
    for index, folder in (("docs/index.md", "docs"), ("docs/benchmarks/README.md", "docs/benchmarks")):
        text = (ROOT / index).read_text("utf-8")
        pages = {page.name for page in (ROOT / folder).glob("*.md")} - {Path(index).name}
        assert {page for page in pages if page not in text} == set(), f"name them in {index}"


def used_flags(text: str) -> dict[str, set[str]]:
    """Return command -> long flags used with it, in every fenced block and code span of a page."""
    found: dict[str, set[str]] = {}
    for code in re.findall(r"^```\w*\n(.*?)^```|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL):
        for piece in re.split(r"\blineament (?=[a-z])", code[0] or code[1])[1:]:
            command = re.match(r"[a-z][a-z-]*", piece)
            flags = re.findall(r"(?<![\w-])--[a-z][a-z-]*", piece)
            found.setdefault(command.group() if command else "", set()).update(flags)
    return found


def module_of(command: str) -> object:
    return importlib.util.find_spec(f"lineament.cli.{command.replace('-', '_')}")


def test_every_listed_command_has_its_module() -> None:
    from lineament.cli import COMMANDS

    assert [command for command in COMMANDS if module_of(command) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_flags_exist(page: Path) -> None:
    from lineament.cli import COMMANDS, _load

    unknown = {}
    for command, flags in used_flags(page.read_text("utf-8")).items():
        if command in COMMANDS and module_of(command) is not None:
            known = {name for option in _load(command).params for name in (*option.opts, *option.secondary_opts)}
            unknown[command] = sorted(flags - known - {"--help"})
    assert {command: flags for command, flags in unknown.items() if flags} == {}


def test_flags_are_found_in_pages() -> None:
    assert used_flags(
        "`lineament serve --port 8`\n```\n$ lineament analyze x --json - --csv F\nlineament schema\n```\n"
    ) == {
        "serve": {"--port"},
        "analyze": {"--json", "--csv"},
        "schema": set(),
    }


def test_the_attribute_table_is_complete() -> None:
    rows = re.findall(r"^\| `(default|all)`[^|]*\| (.+) \|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    listed = {profile: set(re.findall(r"\b(?:5_o_Clock_Shadow|[A-Z][A-Za-z_]+)\b", text)) for profile, text in rows}
    assert listed == {"default": set(in_profile("default")), "all": set(SENSITIVE)}


@pytest.mark.parametrize(
    ("expected", "output", "verdict"),
    [
        ("a 0.98\n", "a   0.985\n", True),
        ("a 0.98\n", "a 0.80\n", False),
        ("a 0.98 b\n", "a 0.98\n", False),
        ("a\n", "a b\n", False),
        ("", "", True),
        ("default@11111111 yes\n", "default@22222222 yes\n", True),
        ("default@11111111 yes\n", "default@22222222 no\n", False),
        ("a\n...\nz\n", "a b c z\n", True),
        ("a\n...\nz\n", "b c z\n", False),
        ("a\n...\n", "a b c\n", True),
        ('{"prob": 0.9312}\n', '{"prob": 0.9313}\n', True),
        ('{"prob": 0.9312}\n', '{"prob": 0.5312}\n', False),
    ],
)
def test_outputs_are_compared_with_care(expected: str, output: str, verdict: bool) -> None:
    assert snippets.same(expected, output) is verdict


def test_a_failing_snippet_is_a_fault_and_a_stale_output_is_renewed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nraise ValueError('no')\n```\n```console\n$ python -c 'print(6 * 7)'\n41\n```\n", "utf-8"
    )
    text, faults = snippets.play(page)
    assert len(faults) == 2
    assert "ValueError: no" in faults[0]
    assert "print(6 * 7)'\n42\n```" in text


def test_left_out_snippets_need_a_reason() -> None:
    assert list(snippets.blocks("<!-- not run: needs a camera -->\n```python\nboom()\n```\n")) == []
    assert len(list(snippets.blocks("<!-- not run -->\n```python\nboom()\n```\n"))) == 1
