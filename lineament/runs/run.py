"""A whole run: items in, records out, nothing lost, nothing twice, and an account of what was not answered.

items -> (shard) -> (not done yet) -> stream -> sinks + run file -> summary
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from lineament.errors import UsageError
from lineament.inputs.item import Item
from lineament.outputs.sinks import Sink, is_plain
from lineament.runs.resume import MissingInputs, RunFile, Wanted, recover, resumable, short_hash
from lineament.runs.stream import is_failure, stream
from lineament.types import Report


@dataclass
class Summary:
    """What became of the inputs. failed: status -> sources, every one named."""

    statuses: Counter[str] = field(default_factory=Counter)
    faces: int = 0
    failed: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    skipped: int = 0
    dropped: int = 0
    interrupted: bool = False

    @property
    def inputs(self) -> int:
        return sum(self.statuses.values())

    @property
    def failures(self) -> int:
        return sum(len(sources) for sources in self.failed.values())

    def add(self, report: Report) -> None:
        self.statuses[report.status] += 1
        self.faces += len(report.faces)
        if is_failure(report):
            assert report.error is not None
            self.failed.setdefault(report.status, []).append((report.source, report.error[1]))

    def lines(self) -> list[str]:
        """Return the summary as text: counts, then each photo that was not answered under its cause."""
        found = f"{self.statuses['ok']} with faces ({self.faces} faces), {self.statuses['no_face']} without"
        out = [
            f"{self.inputs} inputs: {found}, {self.failures} failed"
            + (f"; {self.skipped} done before" if self.skipped else "")
        ]
        if self.dropped:
            out.append(f"{self.dropped} inputs are gone: their records were taken out")
        for status in sorted(self.failed):
            out.append(f"{status} ({len(self.failed[status])}):")
            out += [f"  {source}: {message}" for source, message in self.failed[status]]
        return out


def parse_max_failed(text: str) -> Callable[[int, int], bool]:
    """Return (failures, inputs) -> whether that is too many, of a count ("5") or a percentage ("2%").

    >>> parse_max_failed("10%")(1, 10), parse_max_failed("0")(1, 10)
    (False, True)
    """
    number = text.strip().removesuffix("%")
    try:
        limit = float(number) if text.strip().endswith("%") else int(number)
    except ValueError as error:
        raise UsageError(f"--max-failed wants a count (5) or a percentage (2%), not {text!r}.") from error
    if limit < 0 or limit != limit:
        raise UsageError(f"--max-failed must not be negative, got {text!r}.")
    if text.strip().endswith("%"):
        return lambda failures, inputs: failures * 100 > limit * inputs
    return lambda failures, inputs: failures > limit


Answers = Callable[[Wanted], Iterable[tuple[str, str, Report]]]
"""Which inputs are wanted -> (source, fingerprint of the photo before it was read, report), one by one: an engine."""


def run(
    items: Iterable[Item],
    work: Callable[[Item], Report],
    sinks: Sequence[Sink],
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    shard: tuple[int, int] | None = None,
    workers: int = 1,
    stop: Event | None = None,
    seen: Callable[[Report], None] | None = None,
) -> Summary:
    """Answer every item in this process and write its record to every sink, in order.

    Args: settings: what must not change under --resume, `model` and `profile` among it. stop: set it to end early, with
        everything begun written. seen: told of each report after it is written.
    Raises: ResumeError; OSError where an output cannot be written (what was written before stays whole).
    """
    return record(
        in_threads(items, work, workers=workers, stop=stop),
        sinks,
        settings,
        resume=resume,
        shard=shard,
        stop=stop,
        seen=seen,
    )


def in_threads(
    items: Iterable[Item], work: Callable[[Item], Report], *, workers: int = 1, stop: Event | None = None
) -> Answers:
    """Return the engine that answers items in this process, in their order."""

    def here(wanted: Wanted) -> Iterator[tuple[str, str, Report]]:
        done = stream(wanted.of(items), lambda item: (item.fingerprint(), work(item)), workers=workers, stop=stop)
        return ((item.source, fingerprint, report) for item, (fingerprint, report) in done)

    return here


def record(
    answers: Answers,
    sinks: Sequence[Sink],
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    shard: tuple[int, int] | None = None,
    stop: Event | None = None,
    seen: Callable[[Report], None] | None = None,
    missing: MissingInputs | None = None,
) -> Summary:
    """Write what an engine answers to every sink; see `run`. missing: with `resume`, takes out the records of inputs
    that are gone."""
    summary, done = Summary(), Counter[bytes]()
    if resume:
        if not resumable(sinks):
            raise UsageError(
                "--resume needs an output file to go on from: give --jsonl, --csv, --json or --parquet a file name."
            )
        done = recover(sinks, settings, missing)
        summary.dropped = 0 if missing is None else len(missing.sources)
        summary.skipped = sum(done.values())
    with ExitStack() as open_files:
        for sink in sinks:
            sink.open(resume=resume)
        note = _start_run_file(open_files, sinks, settings, done)
        complete = False
        try:
            for source, fingerprint, report in answers(Wanted(shard, done)):
                note(source, fingerprint)
                for sink in sinks:
                    sink.write(report)
                summary.add(report)
                if seen is not None:
                    seen(report)
            complete = stop is None or not stop.is_set()
        finally:
            summary.interrupted = not complete
            for sink in sinks:
                sink.close(complete=complete)
    return summary


def _start_run_file(
    open_files: ExitStack, sinks: Sequence[Sink], settings: Mapping[str, Any], done: Counter[bytes]
) -> Callable[[str, str], None]:
    """Write the sidecar of the first output that is a file; return what notes a photo in it."""
    files = [sink.path for sink in sinks if is_plain(sink.path)]
    if not files:
        return lambda source, fingerprint: None
    sidecar = RunFile(files[0])
    kept = {key: value for key, value in sidecar.fingerprints().items() if key in done} if done else {}
    sidecar.start(settings, kept)
    open_files.callback(sidecar.close)
    return lambda source, fingerprint: sidecar.note(short_hash(source), fingerprint)
