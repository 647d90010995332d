"""Resuming a run where an earlier one stopped: what it wrote, whether it was the same run, which photos changed since.

    outputs + FILE.run -> done (source -> count) -> inputs still to do

FILE.run stands beside the first output: line 1 the settings as JSON, then one line "hash fingerprint" per answered
input, written before its record is.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.errors import ResumeError
from lineament.files import replacing
from lineament.inputs.item import CAMERA, SEPARATOR, Item, in_shard, source_hash
from lineament.outputs.sinks import Keep, LineFile, Sink, Written, is_plain

RETRIED = frozenset({"timed_out", "permission", "not_found"})
"""Statuses whose cause lies outside the photo: resuming tries these again."""


class RunFile:
    """The sidecar of a run: its settings, and what each photo was when it was answered."""

    def __init__(self, output: str) -> None:
        self.path = Path(output + ".run")
        self._file = LineFile(str(self.path))

    def settings(self) -> dict[str, Any] | None:
        """Return the settings the file holds; None where there is no file, or a torn first line."""
        try:
            with self.path.open("rb") as file:
                found = json.loads(file.readline())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def fingerprints(self) -> dict[bytes, bytes]:
        """Return source hash -> fingerprint, the last one written."""
        if not self.path.is_file():
            return {}
        with self.path.open("rb") as file:
            file.readline()
            pairs = (line.split() for line in file if line.endswith(b"\n"))
            return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def start(self, settings: Mapping[str, Any], kept: Mapping[bytes, bytes]) -> None:
        """Write the settings and the fingerprints to keep, at once, then stand ready for more."""
        with replacing(self.path) as partial:
            file = LineFile(str(partial))
            file.open(resume=False)
            file.write(json.dumps(dict(settings), sort_keys=True).encode("ascii") + b"\n")
            for key, value in kept.items():
                file.write(key + b" " + value + b"\n")
            file.close()
        self._file.open(resume=True)

    def note(self, source_hash: bytes, fingerprint: str) -> None:
        """Remember what a photo was before it was read."""
        self._file.write(source_hash + b" " + fingerprint.encode("ascii") + b"\n")

    def close(self) -> None:
        self._file.close()


def short_hash(source: str) -> bytes:
    """Return 16 hex digits of a source's hash."""
    return source_hash(source).hex()[:16].encode("ascii")


def check_same_run(output: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Raise ResumeError naming every setting that differs from the run an output was begun with."""
    differing = [] if before is None else sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if before is not None and differing:
        named = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in differing)
        raise ResumeError(
            f"--resume cannot continue {output}: {named}. Use the same settings, or write to another file."
        )


class MissingInputs:
    """Which recorded inputs are gone: asked source by source, remembers those (`sources`). For `--drop-missing`.

    Convention: gone is a local file (of FILE::MEMBER the FILE) that does not exist any more. Addresses in object
    stores, standard input and cameras are never taken to be gone.
    """

    def __init__(self) -> None:
        self.sources: set[str] = set()

    def __call__(self, source: str) -> bool:
        if source in self.sources:
            return True
        file = source.partition(SEPARATOR)[0]
        if (
            source == "-"
            or "\0" in source
            or file.startswith(CAMERA)
            or "://" in file
            or os.path.lexists(source)
            or os.path.lexists(file)
        ):
            return False
        self.sources.add(source)
        return True


def recover(sinks: Sequence[Sink], settings: Mapping[str, Any], missing: MissingInputs | None = None) -> Counter[bytes]:
    """Repair what an earlier run left and return how often each source (by short hash) is done.

    Convention: done is what *every* output holds whole, unchanged on disk since, and not failed for a passing cause.
    All else is dropped from the outputs and done again.
    Args: missing: which inputs are gone and their records to be dropped; None keeps them.
    Raises: ResumeError where an output was made with other settings or is not ours.
    """
    run = RunFile(sinks[0].path)
    check_same_run(sinks[0].path, run.settings(), settings)
    known = run.fingerprints()
    done: Counter[bytes] | None = None
    for sink in sinks:
        found = Counter(
            short_hash(one.source)
            for one in _checked(sink, settings)
            if not (_stale(one, known) or (missing is not None and missing(one.source)))
        )
        done = found if done is None else done & found
    done = done or Counter()
    for sink in sinks:
        sink.repair(_keeper(done))
    return done


def _checked(sink: Sink, settings: Mapping[str, Any]) -> Iterator[Written]:
    for one in sink.written():
        check_same_run(
            sink.path,
            {"model": one.model, "profile": one.profile},
            {key: settings[key] for key in ("model", "profile")},
        )
        yield one


def _stale(one: Written, known: Mapping[bytes, bytes]) -> bool:
    """Return whether a record must be made again: a passing failure, or a photo that is no longer what it was."""
    if one.status in RETRIED:
        return True
    before = known.get(short_hash(one.source))
    now = Item(one.source, Path(one.source)).fingerprint() if "\0" not in one.source else "-"
    return before is not None and b":" in before and now != "-" and now.encode("ascii") != before


def _keeper(done: Counter[bytes]) -> Keep:
    left = Counter(done)

    def keep(source: str) -> bool:
        key = short_hash(source)
        if left[key] < 1:
            return False
        left[key] -= 1
        return True

    return keep


@dataclass(frozen=True)
class Wanted:
    """Which of the inputs are still to be answered. shard: (I, N); done: short hash -> how often it is done."""

    shard: tuple[int, int] | None = None
    done: Mapping[bytes, int] = field(default_factory=Counter)

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items to do; one listed twice is done twice."""
        passed: Counter[bytes] = Counter()
        for item in items:
            if self.shard is not None and not in_shard(item.source, self.shard):
                continue
            key = short_hash(item.source) if self.done else b""
            if passed[key] < self.done.get(key, 0):
                passed[key] += 1
            else:
                yield item


def resumable(sinks: Sequence[Sink]) -> bool:
    """Return whether there is a file to resume."""
    return bool(sinks) and all(is_plain(sink.path) for sink in sinks)
