"""`lineament index`: a folder of photos into a searchable file, doing only the work that changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, options
from lineament.errors import UsageError

if TYPE_CHECKING:
    from lineament.inputs.tables import TableColumns
    from lineament.search.build import IndexSummary


def command(
    db: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="The index, a DuckDB file; made if it is not there.")
    ],
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER|PARQUET|ARCHIVE",
            help="A folder of photos, to any depth; or a table or an archive of photos.",
        ),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RECORDS",
            help="Take in what analyze wrote (JSONL, JSON, Parquet); nothing is answered again.",
        ),
    ] = None,
    id_column: options.IdColumn = None,
    keep_columns: options.KeepColumns = None,
    path_column: options.PathColumn = None,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, help="Answer photos in N processes of --threads (1) each.")
    ] = 1,
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    with_: options.With = None,
    small_faces: options.SmallFaces = "auto",
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare bytes, not only size and time, to find what changed.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try photos again that gave no answer.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Allow forgetting every photo, when the folder holds none of them any more.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start over if the index was made with another model.")
    ] = False,
    max_failed: Annotated[
        str, typer.Option("--max-failed", metavar="N|P%", help="More failed photos than this: exit status 3.")
    ] = "0",
    quiet: options.Quiet = False,
) -> None:
    """Build a searchable index of the faces in a folder, or bring one up to date.

    Photos that did not change are skipped, changed and deleted ones are noticed; an interrupted run loses nothing and
    is continued by the same command. The index holds the probabilities of all attributes, boxes, keypoints and file
    hashes. It holds no picture and nothing that could tell who a person is, so an own attribute (--with) is answered
    from the photos, which --rebuild reads again. Exit status: 0 done, 2 wrong usage, 3 more photos failed than
    --max-failed, 130 interrupted.
    """
    from lineament.api import load
    from lineament.cli.analyze import table_columns
    from lineament.cli.index_worker import IndexWorkerSetup, in_processes
    from lineament.inputs.expand import Reading, items
    from lineament.runs.run import parse_max_failed
    from lineament.search.build import build_index
    from lineament.search.build_sources import build_from_items, build_from_records

    too_many = parse_max_failed(max_failed)
    table = table_columns(path_column, id_column, keep_columns)
    if (folder is None) == (records is None):
        raise UsageError("Name what to index: a folder, a table or an archive of photos; or records, with --from.")
    single = folder is not None and not Path(folder).is_dir()
    if single:
        check_source(str(folder), table)
    chosen: dict[str, Any] = {"with_": tuple(with_ or ()), "small_faces": small_faces}
    loaded = load(model, runtime=runtime, precision=precision, threads=threads, profile="all", **chosen)
    workers = IndexWorkerSetup(model, runtime, precision, threads or 1, tuple(chosen.items()))
    answers = in_processes(workers, processes) if processes > 1 else None
    try:
        with _progress(quiet) as seen:
            if records is not None:
                summary = build_from_records(
                    records, db, loaded.id, loaded.card, rebuild=rebuild, threads=threads, progress=seen
                )
            elif single:
                photos = items([str(folder)], Reading(table=table))
                summary = build_from_items(
                    str(folder), photos, db, loaded, answers=answers, rebuild=rebuild, threads=threads, progress=seen
                )
            else:
                summary = build_index(
                    str(folder), db, loaded, verify=verify, retry_failed=retry_failed, prune=prune, rebuild=rebuild,
                    threads=threads, progress=seen, answers=answers,
                )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was answered is kept; the same command goes on from there.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not quiet:
        from lineament.inputs.other_files import other_files

        empty = summary.added + summary.changed + summary.unchanged == 0
        for line in [*summary_lines(summary), *(other_files([str(folder)]) if empty else [])]:
            typer.echo(line, err=True)
    if too_many(summary.failed, summary.added + summary.changed + summary.unchanged):
        raise typer.Exit(EXIT_FAILED_INPUTS)


def check_source(name: str, table: TableColumns) -> None:
    """Refuse what is no table and no archive, before the model is loaded. Raises: UsageError."""
    from lineament.inputs.expand import check_inputs, is_uri
    from lineament.inputs.item import CONTAINER_SUFFIXES
    from lineament.inputs.tables import is_table

    if not is_uri(name) and not (
        Path(name).is_file() and (name.lower().endswith(CONTAINER_SUFFIXES) or is_table(name, table))
    ):
        raise UsageError(
            f"{name} is not a folder, and no table or archive of photos. `lineament index` takes one of these, or "
            "--from RECORDS."
        )
    check_inputs([name], table)


def summary_lines(summary: IndexSummary) -> list[str]:
    """Return what a run did, in words."""
    from lineament.visual.contact_sheet import visible

    lines = [
        f"{summary.added} added, {summary.changed} changed, {summary.unchanged} unchanged, {summary.removed} removed; "
        f"{summary.known} of them known by their bytes. {summary.faces} faces, {summary.failed} photos without an "
        "answer."
    ]
    return lines + [
        f"Could not list {visible(name)}: its photos are kept as they were." for name in summary.unreadable_folders
    ]


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what is told of progress: a bar on stderr where someone looks at it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("photos", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
