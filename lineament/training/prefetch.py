"""Batches read ahead by a thread, in page-locked memory where a card will fetch them: the device does not wait for
pictures.

row numbers of each step -> Material.batch in a thread, `depth` batches ahead -> (rows, batch) in the same order
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from lineament.training.dataset import Batch

Rows = npt.NDArray[np.intp]


def ahead(
    read: Callable[[Rows], Batch], order: Iterable[Rows], depth: int, *, pin: bool = False
) -> Iterator[tuple[Rows, Batch]]:
    """Yield (rows, their batch) for each of `order`. One thread reads, in order, since shards are read in sequence.

    Args: read: rows -> batch; depth: batches ready or being read beside the one at hand, 0 for none; pin: into
        page-locked memory.
    """

    def fetch(rows: Rows) -> Batch:
        batch = read(rows)
        return batch.pinned() if pin else batch

    if depth == 0:
        yield from ((rows, fetch(rows)) for rows in order)
        return
    left = iter(order)
    pool = ThreadPoolExecutor(1, "prefetch")
    try:
        waiting: deque[tuple[Rows, Future[Batch]]] = deque(
            (rows, pool.submit(fetch, rows)) for rows in islice(left, depth)
        )
        while waiting:
            rows, batch = waiting.popleft()
            found = batch.result()
            waiting.extend((later, pool.submit(fetch, later)) for later in islice(left, 1))
            yield rows, found
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
