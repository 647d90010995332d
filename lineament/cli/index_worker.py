"""What a worker process of `lineament index --processes` does: answer a photo, and read what bursts need of its
pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from lineament.search.write import PhotoFindings
from lineament.types import Report

if TYPE_CHECKING:
    from lineament.inputs.item import Item


@dataclass(frozen=True)
class SeenReport(Report):
    """A report, and what was read from its pixels before they were dropped."""

    look: PhotoFindings = field(default_factory=PhotoFindings)


@dataclass(frozen=True)
class IndexWorkerSetup:
    """How a worker loads the model. Called, it returns what answers one item."""

    model: str
    runtime: str
    precision: str | None
    threads: int
    settings: tuple[tuple[str, Any], ...] = ()

    def __call__(self) -> Callable[[Item], Report]:
        from lineament.api import load
        from lineament.detection.eyes import EyeLids
        from lineament.runs.stream import report_of
        from lineament.search.build import Looker

        model = load(
            self.model,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            profile="all",
            **dict(self.settings),
        )
        tools, look = model.tools(model.settings), Looker(EyeLids().ratios)

        def work(item: Item) -> Report:
            report = report_of(item, tools, model.settings, after=look)
            named = {one.name: getattr(report, one.name) for one in fields(Report)}
            return SeenReport(**named, look=look.taken(item.source))

        return work


def in_processes(
    setup: IndexWorkerSetup, count: int
) -> Callable[[Iterable[Item]], Iterator[tuple[Report, PhotoFindings]]]:
    """Return the engine that answers photos in `count` processes, in their order."""
    from lineament.runs.processes import Processes
    from lineament.runs.resume import Wanted

    def answers(items: Iterable[Item]) -> Iterator[tuple[Report, PhotoFindings]]:
        for _, _, report in Processes(items, setup, count)(Wanted()):
            assert isinstance(report, SeenReport)
            yield report, report.look

    return answers
