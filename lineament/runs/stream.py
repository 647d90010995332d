"""Many photos: a bounded queue of items before a few workers, one report per input, in the order of the inputs.

    items -> [bounded queue] -> workers: decode -> detect -> align -> attributes -> [bounded queue] -> reports, in order

Convention: a worker takes a photo through the whole sentence. Every stage keeps a core busy and lets go of Python's
lock while it does, so queues *between* the stages would add copies and waiting, not speed. The two queues that remain
are one window: at most `window` photos are begun and not yet handed out, so memory is flat however many follow, and a
slow reader of the reports slows the workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any, Protocol, TypeVar

from lineament.errors import LineamentError, TooLargeError, UnreadableError
from lineament.images import Channels
from lineament.inputs.item import Item
from lineament.pipeline.analyze import Settings, Tools, analyze, answer
from lineament.types import DecodedImage, Report

AfterReport = Callable[[Report], None]
WINDOW_PER_WORKER = 4


class ItemDecoder(Protocol):
    """Decodes an item in a way of its own; see `images.load_image` for `max_side`."""

    def __call__(self, item: Item, *, max_side: int | None) -> DecodedImage: ...


Result = TypeVar("Result")


def stream(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    workers: int = 1,
    stop: Event | None = None,
    pool: Executor | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, answer) in the order of `items`, working on several at once.

    Args: work: item -> answer (a report), called from `workers` threads, or in the workers of `pool`, which is shut
        down at the end. stop: once set, nothing more is begun; what was begun is still yielded.
    """
    if workers == 1 and pool is None:
        for item in items:
            if stop is not None and stop.is_set():
                return
            yield item, work(item)
        return
    begun: deque[tuple[Item, Future[Result]]] = deque()
    pool = pool or ThreadPoolExecutor(workers, "photos")
    try:
        for item in items:
            if stop is not None and stop.is_set():
                break
            begun.append((item, pool.submit(work, item)))
            if len(begun) >= workers * WINDOW_PER_WORKER:
                done, future = begun.popleft()
                yield done, future.result()
        while begun:
            done, future = begun.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def report_of(
    item: Item,
    tools: Tools,
    settings: Settings,
    *,
    decode: ItemDecoder | None = None,
    after: AfterReport | None = None,
    keep_pixels: bool = False,
) -> Report:
    """Return the report of one item, whatever happens to it: an error of the photo is a report with its code.

    Args: decode: reads the photo elsewhere (a process with a time limit); None reads it here. after: called with the
        report while it still holds its pixels (to draw it, to save crops).
    """
    try:
        report = replace(_answered(item, tools, settings, decode), keys=item.keys)
    except (LineamentError, MemoryError, OSError) as error:
        return replace(
            failed(item.source, _told(error), tools.model, settings.profile, tools.decision.rates_id), keys=item.keys
        )
    if after is not None:
        after(report)
    return report if keep_pixels else replace(report, pixels=None, whole=None)


def _told(error: LineamentError | MemoryError | OSError) -> LineamentError:
    if isinstance(error, LineamentError):
        return error
    if isinstance(error, MemoryError):
        return TooLargeError("Not enough memory for this photo. Lower --max-pixels or --threads.")
    return UnreadableError(f"Reading failed: {error.strerror or error}.")


def failed(source: str, error: LineamentError, model: str, profile: str, rates: str | None = None) -> Report:
    """Return the report of a photo that gave no answer: status and error code are the error's own."""
    return Report(
        source=source, status=error.code, model=model, profile=profile, error=(error.code, str(error)), rates=rates
    )


def _answered(item: Item, tools: Tools, settings: Settings, decode: ItemDecoder | None) -> Report:
    if item.error is not None:
        raise item.error
    if decode is not None and not hasattr(item.data, "shape"):
        return answer(partial(decode, item), tools, settings, source_name=item.source)
    given: Any = item.path if item.data is None else item.data
    channels: Channels | None = "RGB" if item.data is not None and hasattr(item.data, "shape") else None
    report = analyze(given, tools, settings, source_name=item.source, channels=channels)
    return report if item.note is None else replace(report, note="; ".join(filter(None, (item.note, report.note))))


def is_failure(report: Report) -> bool:
    """Return whether an input was not answered. No face is an answer."""
    return report.error is not None
