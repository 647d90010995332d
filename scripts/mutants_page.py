"""The page docs/benchmarks/mutants.md, from mutants.json and what was judged of each survivor: written by
`scripts/mutants.py page`."""

from __future__ import annotations

from typing import Any

EQUIVALENT: dict[int, str] = {
    855: "how many views go through the network at once; that the answer does not depend on it is a test of its own.",
    1173: "a pool of one thread in place of none: the same tiles, the same finds, in the same order.",
    1176: "two tiles are searched one after the other instead of at once; the finds are the same.",
    1376: "YuNet's table of class probabilities has one column, so its last is its first.",
    1577: "any number under 0 means that the file is not open.",
    1619: "any number under 0 means that the file is not open.",
    1722: "the count of whole records is only asked whether it is 0.",
    1951: (
        "the process was killed the line before; the number only bounds the wait for a process that the system cannot "
        "end."
    ),
    2005: "the exit status of a process whose parent is gone: nobody is left to read it.",
    2043: "makes the chunks of a single cluster half as large; the draws do not depend on chunks, as a test says.",
    2740: "a factor of two above and under the line: gain and best gain are both doubled, exactly.",
}
"""Number of a drawn mutant -> why no test can tell it from the original."""

ALIVE: dict[int, str] = {
    2778: "It differs only where the images that may go unanswered lie between 0.5 and 1 thousand-millionths under a whole number; a test of that"
    " would repeat the constant.",
}
"""Number of a mutant that no test kills -> what it would take."""


def page(document: dict[str, Any]) -> str:
    """Return docs/benchmarks/mutants.md."""
    return "\n".join([*_head(document), *_rooms(document), *_survivors(document)]) + "\n"


def _killed(one: dict[str, Any], phase: str) -> bool:
    return bool(one.get(phase, {}).get("killed"))


def _after(one: dict[str, Any]) -> bool:
    return _killed(one, "tests_before") or _killed(one, "tests_after")


def _head(document: dict[str, Any]) -> list[str]:
    drawn = document["drawn"]
    before, after = sum(_killed(one, "tests_before") for one in drawn), sum(map(_after, drawn))
    equivalent = sum(one["number"] in EQUIVALENT for one in drawn)
    return [
        "# Mutants: are the tests able to fail?",
        "",
        "<!-- written by `python scripts/mutants.py page`: do not edit -->",
        "",
        f"A mutant is one small change of one line. {sum(document['listed'].values()):,} of them exist in five rooms by the rules of",
        f"`scripts/mutants.py`; {len(drawn)} were drawn by seed {document['seed']} from the whole list at commit `{document['commit']}`,",
        "before any test was written for one of them, and tried one by one in a copy of the tree.",
        "",
        f"**Killed by the tests as they were: {before} of {len(drawn)}. With the tests written since: {after}.",
        f"{equivalent} are equivalent (no test can tell them apart, each with its reason below): {_share(after, len(drawn) - equivalent)} of the",
        "others are killed.** The target was 95 %.",
        "",
    ]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}, {100 * part / whole:.1f} %" if whole else "-"


def _rooms(document: dict[str, Any]) -> list[str]:
    lines = ["| room | mutants | drawn | killed before | killed after | equivalent | of those not equivalent |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for room, listed in document["listed"].items():
        drawn = [one for one in document["drawn"] if one["room"] == room]
        before, after = sum(_killed(one, "tests_before") for one in drawn), sum(map(_after, drawn))
        equivalent = sum(one["number"] in EQUIVALENT for one in drawn)
        lines.append(
            f"| {room} | {listed:,} | {len(drawn)} | {before} | {after} | {equivalent} | {_share(after, len(drawn) - equivalent)} |"
        )
    return [
        *lines, "",
        "Rooms: decision is `lineament/decision`, detection `lineament/detection`, resume `runs/resume`, `runs/run`, `outputs/sinks` and",
        "`outputs/parquet_sink`, batching `serve/batching`, `serve/workers`, `runs/stream` and `runs/processes`, metrics `lineament/metrics`.",
        "", "How it was run, and what that leaves open:", "",
        "- `ROOMS` in the script maps each module to its tests. The test likeliest to fail ran first, to save time; `mutants.json` names the one",
        "  that failed, and how many were there to try.",
        "- \"Killed before\" is a lower bound: what the near tests left alive did not meet every other test of the suite. In batching the tests",
        "  that start a whole service were left out; they may well have caught some of what is listed below.",
        "- Nine of the equivalent mutants were judged by reading and not run.",
        "- Three others (`serve/workers.py:83`, `runs/processes.py:79`, `detection/retinaface.py:241`) count as alive before: what was seen of them",
        "  then was no sound result.",
        "- Every module was also put in place unchanged in the same way: the tests that had failed, and the new ones, passed.",
        "- `time` in `mutants.json` is a test that did not end: `serve/batching.py:88` waited for ever, and was ended by hand after two minutes",
        "  without any work.", "",
    ]  # fmt: skip


def _survivors(document: dict[str, Any]) -> list[str]:
    lines = ["## Those that the tests left alive at first", ""]
    for one in document["drawn"]:
        if _killed(one, "tests_before"):
            continue
        lines += [
            f"- **{one['number']}**, `{one['path']}:{one['line']}`: `{_short(one['before'])}` became `{_short(one['after'])}` in",
            "", "  ```python", f"  {one['text']}", "  ```", "", f"  {_verdict(one)}", "",
        ]  # fmt: skip
    return lines


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."


def _verdict(one: dict[str, Any]) -> str:
    if one["number"] in EQUIVALENT:
        return f"Equivalent: {EQUIVALENT[one['number']]}"
    if _after(one):
        return f"Killed by the new test `{one['tests_after']['killed']}`."
    return f"**Alive.** {ALIVE.get(one['number'], '')}".rstrip()
