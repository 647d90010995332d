"""Ray cluster (`[scale]`): the same run, its photos answered by Ray Data on every machine of a cluster.

    inputs -> listing, here -> rows -> tasks: open archives -> rows -> actors: photo -> record -> rows -> the run's
        sinks, here

Convention: nothing is scheduled here. Ray Data passes rows on, holds them back where an actor is slow, starts an actor
anew when its process or machine is lost, and hands each row out once. A row is plain bytes and text; a record crosses
as its JSON line, so it cannot differ from the local engine's. Records come as they are done, not in the order of the
inputs.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from lineament.errors import DataError, LineamentError, MissingExtraError, ModelFileError, image_error
from lineament.inputs.expand import Reading, items, opened
from lineament.inputs.item import Item
from lineament.offline import silence
from lineament.outputs.sinks import record_line
from lineament.runs.resume import Wanted
from lineament.runs.stream import stream
from lineament.types import Report

Work = Callable[[Item], Report]
Row = dict[str, Any]
PHOTOS_PER_TASK = 64
"""Files that one task of an actor answers: what a lost worker costs at most, in work done again."""
BLOCK_BYTES = 16 << 20
"""Of photos out of archives, the bytes that one task of an actor answers, about."""
MOST_TRIES = 10
"""A batch whose worker is lost is tried anew so often: machines go, but a photo that ends every worker must not keep a
cluster busy for ever."""

_KNOWN = ("The maximum number of concurrent tasks",)
"""What Ray warns of here and nobody can act on."""


@dataclass(frozen=True)
class Cluster:
    """Inputs and who answers them. make_work: called once in each actor, so it must be importable there; cpus: threads
    of one actor."""

    inputs: tuple[str, ...]
    reading: Reading
    make_work: Callable[[], Work]
    cpus: int = 1
    stop: Event | None = None

    def __call__(self, wanted: Wanted) -> Iterator[tuple[str, str, Report]]:
        """Yield (source, fingerprint, report) of every input that is wanted. Raises: ModelFileError where a worker
        refuses; LineamentError."""
        ray = ray_data()
        rows = listed(items(self.inputs, replace(self.reading, expand=False)), wanted)
        if not rows:
            return
        losses = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Losses).remote()
        blocks = max(sum(row["closed"] for row in rows), -(-len(rows) // PHOTOS_PER_TASK))
        stand = (str(Path.cwd()), any(row["path"][:1] not in (b"", b"/") for row in rows))
        size = self._actors(ray)
        answered = (
            ray.data.from_items(rows, override_num_blocks=min(blocks, len(rows)))
            .flat_map(_open, fn_args=(ray.put(wanted), self.reading, stand), num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=size))
            .map_batches(
                _Actor, fn_constructor_args=(self.make_work, self.cpus, stand, losses, MOST_TRIES), batch_size=16,
                batch_format="pyarrow", num_cpus=self.cpus,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size),
            )
        )  # fmt: skip
        try:
            for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    if row["refused"]:
                        raise ModelFileError(row["refused"])
                    if row["lost"]:
                        raise _gave_up(
                            f"{row['lost']} workers ended, one after the other, on the photos from "
                            f"{os.fsdecode(row['source'])} on"
                        )
                    yield os.fsdecode(row["source"]), row["fingerprint"], Report.from_dict(json.loads(row["record"]))
                if self.stop is not None and self.stop.is_set():
                    return
        except ray.exceptions.RayError as error:
            raise _told(error) from error

    def _actors(self, ray: Any) -> int:
        """Return how many actors the cluster holds at once, now."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)) // self.cpus)


def ray_data() -> Any:
    """Return the module ray with ray.data. Raises: MissingExtraError."""
    silence("ray")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("Ray", "scale") from error
    return ray


def connect(cpus: int) -> None:
    """Join the cluster that $RAY_ADDRESS names, or start one on this machine with so many processors. Once is enough.

    Raises: MissingExtraError; LineamentError where Ray does not start or the cluster does not answer.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = ray_data()
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in _KNOWN:
        warnings.filterwarnings("ignore", message)
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        own = {} if address else {"num_cpus": cpus, "include_dashboard": False}
        if not address:
            _name_a_token()
        try:
            with nullcontext() if address else _without_usage_server(ray):
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:  # Ray raises the bare class where a node does not start in time
            whom = f"join the cluster at {address}" if address else "start a cluster on this machine"
            raise LineamentError(
                f"Ray could not {whom}: {str(error).strip().splitlines()[0]} Use --engine local, or try again."
            ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES


@contextmanager
def _without_usage_server(ray: Any) -> Iterator[None]:
    """Let a cluster start without the server of its usage reports, which Ray starts even where no dashboard is wanted.

    That server asks the metadata addresses of three clouds where it runs, whether reports are off or on.
    """
    services: Any = getattr(getattr(ray, "_private", None), "services", None)
    start = getattr(services, "start_api_server", None)
    if start is None:  # a Ray that does it in another way; the test of its traces tells
        yield
        return
    services.start_api_server = lambda *args, **kwargs: ("", None)  # what Ray's own says where the server did not start
    try:
        yield
    finally:
        services.start_api_server = start


def _name_a_token() -> None:
    """Give the cluster that is about to start a token of its own, where nobody has: Ray would make one and write it to
    HOME for good."""
    named = any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if not named and not Path("~/.ray/auth_token").expanduser().exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def listed(found: Iterable[Item], wanted: Wanted) -> list[Row]:
    """Return the rows to work on: photos that are wanted; archives all, each once with how often it was given."""
    closed: dict[str, Row] = {}

    def photos() -> Iterator[Item]:
        for item in found:
            if not item.closed:
                yield item
            elif item.source in closed:
                closed[item.source]["times"] += 1
            else:
                closed[item.source] = to_row(item)

    rows = [to_row(item) for item in wanted.of(photos())]
    return [*closed.values(), *rows]


def to_row(item: Item) -> Row:
    """Return an item as a row of a table."""
    frame = isinstance(item.data, np.ndarray)
    return {
        "source": os.fsencode(item.source),
        "path": b"" if item.path is None else os.fsencode(item.path),
        "held": item.data is not None,
        "data": item.data.tobytes() if frame else bytes(item.data or b""),
        "shape": "x".join(map(str, item.data.shape)) if frame else "",
        "code": "" if item.error is None else item.error.code,
        "message": ""
        if item.error is None
        else str(item.error).encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "closed": item.closed,
        "note": item.note or "",
        "times": 1,
        "keys": json.dumps(dict(item.keys)),
    }


def from_row(row: Mapping[str, Any]) -> Item:
    """Return the item of a row."""
    data = row["data"] if row["held"] else None
    if row["shape"]:
        data = np.frombuffer(row["data"], np.uint8).reshape([int(side) for side in row["shape"].split("x")])
    path = Path(os.fsdecode(row["path"])) if row["path"] else None
    error = image_error(row["code"], row["message"]) if row["code"] else None
    keys, note = json.loads(row["keys"]), row["note"] or None
    return Item(os.fsdecode(row["source"]), path, data, error, row["closed"], keys, note)


def _stand(folder: str, needed: bool) -> None:
    """Go to the folder that the run was started in, so that paths as given lead to the same files. Raises: DataError
    where it must be here."""
    try:
        os.chdir(folder)
    except OSError as error:
        if needed:
            raise DataError(
                f"A worker has no folder {folder}. Every machine must see the photos under the same paths."
            ) from error


def _open(row: Row, wanted: Any, reading: Reading, stand: tuple[str, bool]) -> Iterator[Row]:
    """Yield a photo's row itself, or a row for each wanted photo of an archive, table or video."""
    if not row["closed"]:
        yield row
        return
    import ray

    _stand(*stand)
    item = from_row(row)
    inside = (found for _ in range(row["times"]) for found in opened(item, reading))
    yield from map(to_row, ray.get(wanted).of(inside))


class _Losses:
    """How many batches were begun and never ended, each of which cost a worker; one small actor for all. Ray itself
    tries for ever."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def begin(self, batch: str) -> int:
        """Return how often this batch has cost a worker."""
        self._open[batch] += 1
        return self._open[batch] - 1

    def end(self, batch: str) -> None:
        self._open[batch] -= 1


class _Actor:
    """One worker of the pool: the model is loaded once, then answers batches of rows. losses: the handle of a
    `_Losses`."""

    def __init__(
        self, make_work: Callable[[], Work], threads: int, stand: tuple[str, bool], losses: Any, most: int
    ) -> None:
        self._threads, self._refused, self._losses, self._most = threads, "", losses, most
        try:
            _stand(*stand)
            self._work = make_work()
        except (
            LineamentError
        ) as error:  # told with the first batch: an actor that fails to start loses its reason on the way
            self._refused = str(error)

    def __call__(self, batch: Any) -> Any:
        import ray

        if self._refused:
            return _answers([(b"", "", b"", self._refused, 0)])
        given = batch.to_pylist()
        name = sha256(b"\0".join(row["source"] for row in given)).hexdigest()
        lost = ray.get(self._losses.begin.remote(name))
        if lost > self._most:
            return _answers([(given[0]["source"], "", b"", "", lost)])
        done = list(stream(map(from_row, given), self._answer, workers=self._threads))
        ray.get(self._losses.end.remote(name))
        return _answers([(os.fsencode(item.source), fingerprint, line, "", 0) for item, (fingerprint, line) in done])

    def _answer(self, item: Item) -> tuple[str, bytes]:
        return item.fingerprint(), record_line(self._work(item))


def _answers(rows: Sequence[tuple[bytes, str, bytes, str, int]]) -> Any:
    """Return answers as a table. Columns: whose, its fingerprint, the record's line; or why the worker refuses; or how
    many it has cost."""
    import pyarrow

    return pyarrow.table(
        dict(
            zip(("source", "fingerprint", "record", "refused", "lost"), map(list, zip(*rows, strict=True)), strict=True)
        )
    )


def _told(error: Any) -> LineamentError:
    """Return what a failure in the cluster means to the user."""
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return _gave_up(f"{type(error).__name__}: {last}")


def _gave_up(why: str) -> LineamentError:
    return LineamentError(
        f"Ray gave up ({why}). What was written is whole; --resume goes on. If one photo ends its worker each time, "
        "--timeout decodes in a process of its own and makes a record of it."
    )
