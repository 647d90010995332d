"""`lineament analyze`: photos in, records, tables, annotated photos and crops out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, options
from lineament.cli.boxes import BoxesUsed
from lineament.cli.interrupt import on_signal
from lineament.cli.worker import WorkerSetup, given_faces, make_work
from lineament.errors import UsageError

if TYPE_CHECKING:
    from lineament.api import Model
    from lineament.inputs.expand import Reading
    from lineament.inputs.given_faces import GivenFaces
    from lineament.inputs.tables import TableColumns
    from lineament.outputs.sinks import Sink
    from lineament.pipeline.analyze import Settings
    from lineament.runs.resume import MissingInputs
    from lineament.runs.run import Answers, Summary
    from lineament.types import Report

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Photos, folders, patterns, @LIST files, archives, videos, camera:0; - is stdin."
    ),
]
Output = Annotated[str | None, typer.Option(metavar="FILE")]


def command(
    inputs: Inputs,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="A JSON array of records; - is stdout.")
    ] = None,
    jsonl: Annotated[
        str | None, typer.Option("--jsonl", metavar="FILE", help="One record per line; - is stdout.")
    ] = None,
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="One row per face; - is stdout.")] = None,
    parquet: Annotated[
        str | None,
        typer.Option("--parquet", metavar="FILE", help="The columns of --csv (needs lineament's extra parquet)."),
    ] = None,
    draw: Annotated[Path | None, typer.Option("--draw", metavar="DIR", help="Annotated photos.")] = None,
    crops: Annotated[Path | None, typer.Option("--crops", metavar="DIR", help="Aligned faces, 178x218 PNG.")] = None,
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    profile: options.Profile = "default",
    attributes: Annotated[
        str | None,
        typer.Option("--attributes", metavar="LIST", help='Only these, comma separated; "a, b" quotes a comma.'),
    ] = None,
    abstain: options.Abstain = False,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="Labels that can be true together; changed ones name the rule.")
    ] = False,
    keep: Annotated[
        str, typer.Option("--keep", metavar="all|largest|N", help="Which faces of a photo to answer.")
    ] = "all",
    faces: Annotated[
        str, typer.Option("--faces", metavar="detect|aligned", help="aligned: the inputs are crops in CelebA's layout.")
    ] = "detect",
    small_faces: options.SmallFaces = "auto",
    boxes: Annotated[
        Path | None, typer.Option("--boxes", metavar="FILE", help="Faces found elsewhere: CSV, JSONL or Parquet.")
    ] = None,
    rates: options.Rates = None,
    id_column: options.IdColumn = None,
    keep_columns: options.KeepColumns = None,
    path_column: options.PathColumn = None,
    with_: options.With = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the output files hold already.")] = False,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="With --resume: take out the records of inputs that are gone.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts of the inputs.")
    ] = None,
    max_failed: Annotated[
        str, typer.Option("--max-failed", metavar="N|P%", help="More failed inputs than this: exit status 3.")
    ] = "0",
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Larger photos are refused before decoding.")
    ] = 64_000_000,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="Time limit for reading one photo.")
    ] = None,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", help="Of a video, a frame is taken this often.")
    ] = 1.0,
    tracks: Annotated[
        Path | None,
        typer.Option("--tracks", metavar="FILE", help="JSON: faces followed through videos, and what changed."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="local|ray", help="ray: a cluster's machines (needs lineament's extra scale)."
        ),
    ] = "local",
    processes: Annotated[
        int,
        typer.Option(
            "--processes", metavar="N", min=1, help="Answer photos in N processes of --threads (1 if not given) each."
        ),
    ] = 1,
    quiet: options.Quiet = False,
) -> None:
    """Answer the attributes of every face in photos, folders or lists.

    Without an output option the answers are a table on stdout. Exit status: 0 done, 2 wrong usage, 3 more inputs failed
    than --max-failed, 130 interrupted (go on with --resume).
    """
    from lineament.api import load, make_settings
    from lineament.cli.output import write_json
    from lineament.inputs.expand import Reading, check_inputs, items
    from lineament.inputs.item import parse_shard
    from lineament.outputs.places import OutputPlaces
    from lineament.pipeline.analyze import Settings
    from lineament.runs.run import in_threads, parse_max_failed, record

    _check(engine, processes, every)
    too_many, part = parse_max_failed(max_failed), None if shard is None else parse_shard(shard)
    asked = {
        "profile": profile, "attributes": parse_list(attributes), "abstain": abstain, "consistent": consistent,
        "keep": parse_keep(keep), "faces": faces, "max_pixels": max_pixels, "small_faces": small_faces,
    }  # fmt: skip
    settings = make_settings(Settings(), asked)
    if model == "default" and not with_:  # its names are known before it is loaded; others have their own
        settings.visible()
    live = _live(inputs, resume or shard is not None or engine == "ray" or processes > 1)
    missing, table = _missing(drop_missing, resume), table_columns(path_column, id_column, keep_columns)
    check_inputs(inputs, table)
    places = OutputPlaces({"jsonl": jsonl, "json": json_file, "csv": csv, "parquet": parquet})
    given = given_faces(boxes, faces)
    if engine == "ray":
        _connect(tracks)
    loaded = load(
        model, runtime=runtime, precision=precision, threads=threads, notify=None if quiet else _say, rates=rates,
        with_=with_ or (),
    )  # fmt: skip
    identity = loaded.identity(settings) | _identity(given, every) | table.identity()
    own = frozenset(os.path.realpath(folder) for folder in (draw, crops) if folder is not None)
    reading = Reading(every, own, table=table)
    with ExitStack() as cleanup:
        cleanup.callback(places.put)
        sinks = make_sinks(places.local(resume=resume), loaded, settings, table)
        stop = cleanup.enter_context(_stop_on_signal())
        seen = cleanup.enter_context(_watch(table=not sinks, quiet=quiet or _single(inputs)))
        followed = _followed(tracks, loaded, resume)
        used = None if given is None else BoxesUsed(given)
        told = _both(_both(seen, followed), used)
        recipe = WorkerSetup(
            model, loaded.network.runtime, precision, threads or 1, settings, identity, boxes, draw, crops, timeout,
            rates, tuple(with_ or ()),
        )  # fmt: skip
        if engine == "ray":
            answers = _spread(inputs, reading, recipe, stop)
        elif processes > 1 and not _single(inputs):
            answers = _beside(inputs, reading, recipe, processes, stop)
        else:
            work = make_work(loaded, settings, given, draw, crops, timeout, cleanup)
            workers = 1 if live or _single(inputs) else loaded.threads
            answers = in_threads(items(inputs, reading), work, workers=workers, stop=stop)
        summary = record(answers, sinks, identity, resume=resume, shard=part, stop=stop, seen=told, missing=missing)
    _drop_pictures(missing, draw, crops)
    if followed is not None and tracks is not None:
        write_json(followed.to_dict(), tracks)
    _account(summary, inputs, quiet, bool(sinks), used)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if too_many(summary.failures, summary.inputs):
        raise typer.Exit(EXIT_FAILED_INPUTS)


def _check(engine: str, processes: int, every: float) -> None:
    """Raises: UsageError where options cannot be, or cannot be together."""
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine must be local or ray, not {engine!r}.")
    if engine == "ray" and processes > 1:
        raise UsageError(
            "--processes is for one machine; --engine ray has one worker per processor of its cluster already."
        )
    if not every > 0:
        raise UsageError(f"--every must be more than 0 seconds, got {every:g}.")


def _identity(given: GivenFaces | None, every: float) -> dict[str, Any]:
    """Return what of the faces' origin and the frames' spacing a resumed run must have in common with the first."""
    return ({} if given is None else {"boxes": given.fingerprint}) | ({} if every == 1.0 else {"every": every})


def _live(inputs: list[str], again: bool) -> bool:
    """Return whether a camera is among the inputs. Raises: UsageError where they would have to be read more than
    once."""
    from lineament.inputs.expand import is_camera

    live = any(is_camera(text) for text in inputs)
    if live and again:
        raise UsageError(
            "A camera's frames come once: it goes with neither --resume nor --shard nor --engine ray nor --processes."
        )
    return live


def table_columns(path: str | None, id_column: str | None, keep: str | None) -> TableColumns:
    """Return what the columns of input tables mean. Raises: UsageError for an empty list."""
    from lineament.inputs.tables import TableColumns

    return TableColumns(path, id_column, parse_list(keep, "--keep-columns", "column") or ())


def _missing(drop: bool, resume: bool) -> MissingInputs | None:
    """Return what finds inputs that are gone; None where they stay. Raises: UsageError without --resume."""
    if not drop:
        return None
    if not resume:
        raise UsageError(
            "--drop-missing goes with --resume: without it an output is begun anew, and holds what is there now."
        )
    from lineament.runs.resume import MissingInputs

    return MissingInputs()


def _drop_pictures(missing: MissingInputs | None, *folders: Path | None) -> None:
    if missing is None or not missing.sources:
        return
    from lineament.outputs.pictures import remove_pictures

    for folder in folders:
        if folder is not None:
            remove_pictures(folder, missing.sources)


def _connect(tracks: Path | None) -> None:
    """Join or start the Ray cluster, before the model is loaded: what is missing is said first."""
    from lineament.runs.ray_cluster import connect
    from lineament.runtime.threads import available_cpus

    if tracks is not None:
        raise UsageError("--tracks needs the frames in their order, so it does not go with --engine ray.")
    connect(available_cpus())


def _spread(inputs: list[str], reading: Reading, recipe: WorkerSetup, stop: Event) -> Answers:
    from lineament.runs.ray_cluster import Cluster

    return Cluster(tuple(inputs), reading, recipe, recipe.threads, stop)


def _beside(inputs: list[str], reading: Reading, recipe: WorkerSetup, count: int, stop: Event) -> Answers:
    from lineament.inputs.expand import items
    from lineament.runs.processes import Processes

    return Processes(items(inputs, reading), recipe, count, stop)


def _followed(tracks: Path | None, model: Model, resume: bool) -> Any:
    if tracks is None:
        return None
    if resume:
        raise UsageError("--tracks follows faces through a whole run, so it does not go with --resume.")
    from lineament.inputs.video import Tracks

    return Tracks(model.card.decision.thresholds)


def _both(
    first: Callable[[Report], None] | None, second: Callable[[Report], None] | None
) -> Callable[[Report], None] | None:
    if first is None or second is None:
        return first or second

    def tell(report: Report) -> None:
        first(report)
        second(report)

    return tell


def parse_list(text: str | None, option: str = "--attributes", what: str = "attribute") -> tuple[str, ...] | None:
    """Return the names of a comma-separated list; None for none."""
    if text is None:
        return None
    from lineament.schema import parse_names

    names = parse_names(text)
    if not names:
        raise UsageError(f"{option} is empty. Name at least one {what}, or leave it out.")
    return names


def parse_keep(text: str) -> str | int:
    """Return "all", "largest" or a count."""
    return int(text) if text.isdecimal() else text


def make_sinks(paths: dict[str, str], model: Model, settings: Settings, table: TableColumns) -> list[Sink]:
    """Return the outputs asked for. Raises: UsageError where two want stdout or the same file."""
    from lineament.outputs.rows import key_columns
    from lineament.outputs.sinks import CsvSink, JsonlSink, JsonSink

    attributes = settings.visible(model.card.attributes)
    keys = key_columns(table.id, table.keep, attributes)
    if len(set(paths.values())) < len(paths):
        raise UsageError("Two outputs go to the same place. Give each its own file; only one can be - (stdout).")
    makers: dict[str, Callable[[str], Sink]] = {
        "jsonl": JsonlSink, "json": JsonSink, "csv": lambda path: CsvSink(
            path, attributes, consistent=settings.consistent, abstain=settings.abstain, keys=keys
        ),
        "parquet": lambda path: _parquet_sink(path, attributes, settings, keys),
    }  # fmt: skip
    return [makers[kind](path) for kind, path in paths.items()]


def _parquet_sink(path: str, attributes: tuple[str, ...], settings: Settings, keys: dict[str, str]) -> Sink:
    from lineament.outputs.parquet_sink import ParquetSink

    return ParquetSink(path, attributes, consistent=settings.consistent, abstain=settings.abstain, keys=keys)


@contextmanager
def _stop_on_signal() -> Iterator[Event]:
    """Yield an event that the first Ctrl-C (or SIGTERM) sets. Records are written whole, so nothing is lost at a second
    one either."""
    stop = Event()

    def ask() -> None:
        stop.set()
        _say("interrupted: finishing what was begun")

    with on_signal(ask):
        yield stop


@contextmanager
def _watch(table: bool, quiet: bool) -> Iterator[Callable[[Report], None] | None]:
    """Yield what is told of each report: the table on stdout, or a progress bar on stderr."""
    if table:
        from lineament.cli.report_view import TableView

        yield TableView()
    elif quiet or not sys.stderr.isatty():
        yield None
    else:
        from lineament.cli.output import progress

        with progress("photos", None, quiet) as advance:
            yield lambda report: advance()


def _single(inputs: list[str]) -> bool:
    from lineament.inputs.item import CONTAINER_SUFFIXES

    return len(inputs) == 1 and Path(inputs[0]).is_file() and not inputs[0].lower().endswith(CONTAINER_SUFFIXES)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _what_else(inputs: list[str]) -> list[str]:
    """Return why folders without a photo have none, where they hold what only looks like one: camera raw files,
    videos."""
    from lineament.inputs.other_files import other_files

    return other_files(inputs)


def _account(summary: Summary, inputs: list[str], quiet: bool, has_files: bool, used: BoxesUsed | None = None) -> None:
    """Say on stderr what became of the inputs, and of the boxes given with them; when quiet, only what failed."""
    from lineament.files import escaped

    lines = summary.lines()
    if quiet:
        lines = lines[1:]
    elif summary.inputs + summary.skipped == 0:
        lines = [f"No photos found in {', '.join(inputs)}.", *_what_else(inputs)]
    elif summary.inputs == 1 and not summary.failures and not summary.skipped:
        lines = []
    for line in lines:
        _say(escaped(line))
    if used is not None and (warning := used.warning()) is not None:
        _say(warning)
