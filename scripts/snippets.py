"""Run the Python and console snippets of README.md and docs/, and write the console outputs anew.

    .venv/bin/python scripts/snippets.py            # run all, rewrite the outputs that changed (part of `make refit`)
    .venv/bin/python scripts/snippets.py --check    # run all, exit 1 where something fails or an output is stale

Convention. Every ```python and ```console block runs, in the order of its file, in a fresh folder that holds photo.jpg
(the bundled portrait), photos/one.jpg and photos/two.jpg. The Python blocks of one file share their names. In a console
block, `$ ` starts a command (lineament or python, no shell), what follows is its standard output, and a line `...`
stands for any lines. `<!-- not run: REASON -->` on the line before a block leaves it out. Numbers may differ in the
last digits between processors, so they are compared to a tolerance.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOLERANCE = 0.02
_FENCE = re.compile(r"^```(?P<kind>python|console)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_SKIP = re.compile(r"<!-- not run: (?P<reason>[^>]+) -->\n$")
_NUMBER = re.compile(r"-?\d+\.\d+")
_MODEL = re.compile(r"@[0-9a-f]{8}\b")


@dataclass(frozen=True)
class Block:
    """One fenced snippet of a page. `start` and `stop` are the offsets of its body."""

    kind: str
    body: str
    start: int
    stop: int

    def commands(self) -> list[tuple[list[str], str]]:
        """Return (arguments, expected output) of every `$ ` line of a console block."""
        parts = re.split(r"^\$ (.*)\n", self.body, flags=re.MULTILINE)[1:]
        return [(shlex.split(line), output) for line, output in zip(parts[::2], parts[1::2], strict=True)]


def blocks(text: str) -> Iterator[Block]:
    """Yield the snippets of a page that are to be run."""
    for found in _FENCE.finditer(text):
        if not _SKIP.search(text, 0, found.start()):
            yield Block(found["kind"], found["body"], found.start("body"), found.end("body"))


def environment() -> dict[str, str]:
    """Return an environment in which output does not depend on the terminal."""
    import os

    plain = {"NO_COLOR": "1", "COLUMNS": "110", "TERM": "dumb", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **plain, "PYTHONPATH": str(ROOT)}


def furnish(folder: Path) -> None:
    """Put the photos that the pages speak of into `folder`."""
    from PIL import Image

    source = next((ROOT / "lineament" / "weights").glob("astronaut.*"), None)
    if source is not None:
        with Image.open(source) as picture:
            portrait = picture.convert("RGB")
    else:
        from skimage import data

        portrait = Image.fromarray(data.astronaut())
    (folder / "photos").mkdir()
    portrait.save(folder / "photo.jpg", quality=95)
    portrait.save(folder / "photos" / "one.jpg", quality=95)
    portrait.resize((256, 256)).save(folder / "photos" / "two.jpg", quality=95)


def run_command(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one console line; `lineament` is this checkout's command line."""
    front = {"lineament": [sys.executable, "-m", "lineament"], "python": [sys.executable]}.get(arguments[0])
    if front is None:
        raise ValueError(f"a console snippet may run lineament or python, not {arguments[0]!r}")
    return subprocess.run(
        [*front, *arguments[1:]],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def same(expected: str, output: str) -> bool:
    """Return whether `output` is what the page shows: words equal, numbers near, spaces and model hashes free, `...`
    anything."""
    wanted = [part.split() for part in re.split(r"^\.\.\.$", _MODEL.sub("@", expected), flags=re.MULTILINE)]
    words = _MODEL.sub("@", output).split()
    at = 0
    for index, part in enumerate(wanted):
        first_only = index == 0
        starts = [at] if first_only else range(at, len(words) - len(part) + 1)
        start = next(
            (s for s in starts if all(map(_alike, part, words[s : s + len(part)])) and len(words) >= s + len(part)),
            None,
        )
        if start is None:
            return False
        at = start + len(part)
    return at == len(words) or (wanted[-1] == [] and len(wanted) > 1)


def _alike(expected: str, word: str) -> bool:
    if _NUMBER.sub("#", expected) != _NUMBER.sub("#", word):
        return False
    pairs = zip(_NUMBER.findall(expected), _NUMBER.findall(word), strict=True)
    return all(abs(float(a) - float(b)) <= max(TOLERANCE, TOLERANCE * abs(float(a))) for a, b in pairs)


def play(page: Path) -> tuple[str, list[str]]:
    """Run a page's snippets. Returns: its text with fresh outputs, and what failed or differed."""
    text, faults, fresh = page.read_text("utf-8"), [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        furnish(folder)
        found = list(blocks(text))
        script = "\n".join(block.body for block in found if block.kind == "python")
        if script:
            done = subprocess.run(
                [sys.executable, "-"],
                input=script,
                cwd=folder,
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            if done.returncode:
                faults.append(f"python snippets: {done.stderr.strip()[-800:]}")
        for block in (b for b in found if b.kind == "console"):
            body = block.body
            for arguments, expected in block.commands():
                answer = run_command(arguments, folder)
                if answer.returncode not in (0, 3):
                    faults.append(
                        f"$ {shlex.join(arguments)}: exit status {answer.returncode}: {answer.stderr.strip()[-400:]}"
                    )
                elif not same(expected, answer.stdout):
                    faults.append(
                        f"$ {shlex.join(arguments)}: the page shows\n{expected}\nthe command prints\n{answer.stdout}"
                    )
                    body = _replaced(body, expected, arguments, answer.stdout)
            fresh.append((block, body))
    for block, body in reversed(fresh):
        text = text[: block.start] + body + text[block.stop :]
    return text, faults


def _replaced(body: str, expected: str, arguments: list[str], output: str) -> str:
    """Put a command's fresh output in place of the old one. Outputs with `...` are for people to edit."""
    if re.search(r"^\.\.\.$", expected, re.MULTILINE):
        return body
    lines = [line for line in body.splitlines() if line.startswith("$ ") and shlex.split(line[2:]) == arguments]
    fresh = "".join(f"{line.rstrip()}\n" for line in output.rstrip().splitlines())
    return body.replace(f"{lines[0]}\n{expected}", f"{lines[0]}\n{fresh}", 1)


def main() -> int:
    failed = False
    for page in PAGES:
        text, faults = play(page)
        if "--check" not in sys.argv and text != page.read_text("utf-8"):
            page.write_text(text, "utf-8")
            text, faults = play(page)
        for fault in faults:
            failed = True
            print(f"{page.relative_to(ROOT)}: {fault}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
