"""Odd and hostile photo files, each decoded in a process of its own under a time limit, then all of them through the
command line.

Run: python benchmarks/bad_input.py            writes docs/benchmarks/bad-input.md and .json; exit status 1 if any
outcome is not the expected one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LIMIT = 20
WALKED = frozenset({"folder_named_jpg", "link_to_a_folder", "name_with_a_nul_character"})
"""Kinds the command line is not given: it walks folders, and no list of paths can hold a NUL."""


def decode_one() -> None:
    """Child process: decode the path on stdin, print outcome, size, seconds and peak memory as JSON."""
    from lineament.errors import ImageError
    from lineament.images import load_image

    path = json.loads(sys.stdin.read())
    start = time.perf_counter()
    try:
        found = load_image(path)
        answer: dict[str, Any] = {"outcome": "ok", "size": [found.width, found.height], "said": found.note}
    except ImageError as error:
        answer = {
            "outcome": error.code,
            "size": None,
            "said": str(error).replace(repr(path), "The file").replace("\n", " "),
        }
    answer |= {"seconds": time.perf_counter() - start, "megabytes": _peak_megabytes()}
    print(json.dumps(answer))


def _peak_megabytes() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def in_child(path: str) -> dict[str, Any]:
    """Return the outcome of one file; "hang" past the time limit, "crash" where the process died without an answer."""
    command = [sys.executable, "-W", "ignore", __file__, "--child"]
    try:
        done = subprocess.run(
            command, input=json.dumps(path), capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"outcome": "hang", "size": None, "said": None, "seconds": LIMIT, "megabytes": None}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"outcome": "crash", "size": None, "said": last, "seconds": 0.0, "megabytes": None}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def bucket(value: float | None, edges: tuple[float, ...], unit: str) -> str:
    """Return which of a few ranges a number falls in: exact figures would change with every run."""
    if value is None:
        return "not measured"
    return next((f"< {edge:g} {unit}" for edge in edges if value < edge), f">= {edges[-1]:g} {unit}")


def command_line(paths: dict[str, str], folder: Path) -> dict[str, str]:
    """Return kind -> status of its record in one run of `lineament analyze` over all files; {} where no default weights
    are there."""
    if not (ROOT / "lineament" / "weights" / "default.onnx").is_file():
        return {}
    listing, out = folder / "inputs.txt", folder / "records.jsonl"
    listing.write_bytes(b"\x00".join(os.fsencode(path) for path in paths.values()) + b"\x00")
    start = "import sys; from lineament.cli import main; sys.exit(main())"
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        start,
        "analyze",
        f"@{listing}",
        "--jsonl",
        str(out),
        "--max-failed",
        "100%",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False, cwd=ROOT)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        return dict.fromkeys(paths, f"exit {done.returncode}")
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    statuses = {
        record["source"]: "ok" if record["status"] in ("ok", "no_face") else record["status"] for record in records
    }
    return {kind: statuses.get(path, "no record") for kind, path in paths.items()}


def measure() -> list[dict[str, Any]]:
    """Return one row per kind."""
    from odd_files import table

    rows, paths = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        for odd in table():
            path = odd.make(folder / "files")
            found = in_child(path)
            whole = odd.size is None or found["size"] == list(odd.size)
            row = {
                "kind": odd.kind,
                "expected": odd.expected,
                "decoder": found["outcome"] if whole else "wrong size",
                "said": found["said"],
            }
            row |= {
                "time": bucket(found["seconds"], (0.1, 1, 10), "s"),
                "memory": bucket(found["megabytes"], (128, 512, 1024), "MB"),
            }
            rows.append(row)
            if odd.kind not in WALKED:
                paths[odd.kind] = path
        by_command = command_line(paths, folder)
    for row in rows:
        row["command_line"] = by_command.get(row["kind"], "not given")
        row["pass"] = row["decoder"] == row["expected"] and row["command_line"] in (row["expected"], "not given")
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the page."""
    from PIL import __version__ as pillow

    passed, given = sum(row["pass"] for row in rows), sum(row["command_line"] != "not given" for row in rows)
    head = f"""# Odd and hostile files

{len(rows)} kinds of file, made by `tests/odd_files.py` from code and one public-domain portrait; {passed} have the outcome that is expected of
them. Each was decoded in a process of its own with a limit of {LIMIT} seconds; {given} went through `lineament analyze` too, all in one run
(folders are walked there, and a name with a NUL cannot be listed). "ok" means that the whole picture came back, with its size checked.

Command: `python benchmarks/bad_input.py` (Pillow {pillow}, {sys.platform}).

What cannot be seen: bytes *overwritten* inside a file of a format without checksums (JPEG, BMP, GIF, WebP, uncompressed TIFF), and in a JPEG
of more than 512 x 512 pixels that was cut and then closed by an end marker, the one block of 16 x 16 in which the cut fell, if it was the last;
nor an end marker planted inside the JPEG data of a TIFF.

| Kind | Expected | Decoder | Command line | Time | Peak memory | What is said | Pass |
|---|---|---|---|---|---|---|---|
"""
    cells = ("expected", "decoder", "command_line", "time", "memory")
    lines = []
    for row in rows:
        middle = " | ".join(row[cell] for cell in cells)
        lines.append(
            f"| {row['kind'].replace('_', ' ')} | {middle} | {row['said'] or ''} | "
            f"{'yes' if row['pass'] else '**no**'} |"
        )
    return head + "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the page and the JSON"
    )
    options = parser.parse_args()
    if options.child:
        decode_one()
        return 0
    rows = measure()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bad-input.md").write_text(markdown(rows), encoding="utf-8")
    (options.out / "bad-input.json").write_text(
        json.dumps({"limit_seconds": LIMIT, "kinds": rows}, indent=1) + "\n", encoding="utf-8"
    )
    wrong = [row["kind"] for row in rows if not row["pass"]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} as expected." + (f" Not: {', '.join(wrong)}" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
