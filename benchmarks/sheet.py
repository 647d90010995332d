"""What the accuracy and speed benchmarks share: their options, the machine they ran on, a page and a JSON written
beside each other."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

if TYPE_CHECKING:
    from lineament.api import Model


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options every one of these benchmarks has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="default", help="shipped name or ONNX file")
    made.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the page and the JSON")
    return made


def add_data(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data")
    )


def command(script: str, arguments: Sequence[str] | None) -> str:
    """Return the command as the page shows it: --out left out, paths outside the checkout by their last part."""
    given, shown, skip = list(sys.argv[1:] if arguments is None else arguments), [], False
    for word in given:
        if skip or word == "--out" or word.startswith("--out="):
            skip = word == "--out"
            continue
        shown.append(Path(word).name if Path(word).is_absolute() else word)
    return " ".join(["python", f"benchmarks/{script}.py", *shown])


def environment(model: Model) -> dict[str, Any]:
    """Return processor, versions and the model's id: what the figures depend on, and no date."""
    from lineament.bench import environment as about

    return about(model)


def about_lines(title: str, document: dict[str, Any]) -> list[str]:
    """Return a page's head: title, command, machine."""
    about = document["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    where = (
        f"{about['runtime']} {about['precision']}, {about['threads']} threads; {about['processor']}, {about['cpus']} "
        f"CPUs, {about['system']}"
    )
    return [f"# {title}", "", f"<!-- written by `{document['command']}`: do not edit -->", "",
            f"Command: `{document['command']}`. Model `{about['model']}`, {where}; {versions}.", ""]  # fmt: skip


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table, first column left, the others right."""
    names = list(head)
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) - 1), *lines, ""]


def percent(value: float | None, decimals: int = 2) -> str:
    """Return a fraction as a percentage without its sign; "-" for no data."""
    return "-" if value is None or value != value else f"{100 * value:.{decimals}f}"


def spread(values: Sequence[float], decimals: int = 3) -> dict[str, float]:
    """Return median, least and largest."""
    return {
        "median": round(float(median(values)), decimals),
        "min": round(min(values), decimals),
        "max": round(max(values), decimals),
    }


def write(out: Path, name: str, document: dict[str, Any], lines: Iterable[str]) -> None:
    """Write NAME.json and NAME.md into a folder, and say so."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"written: {out / f'{name}.md'} and .json")
