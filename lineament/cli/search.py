"""`lineament search`: a question to an index; answers as table, JSON, contact sheet or HTML gallery."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import options
from lineament.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lineament.search.bursts import RankedShot
    from lineament.search.index import Index, Ranked

TABLE_ROWS = 1000
"""Rows of a table in the terminal: a longer result comes as several, or, where a file has it all, as its beginning."""


def command(
    db: Annotated[Path, typer.Argument(metavar="DB", help="An index made by `lineament index`.")],
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="For example: 'smiling and eyeglasses and not wearing_hat'.")
    ] = "",
    json_file: options.JsonFile = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="One row per face.")] = None,
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FILE", help="The columns of --csv (needs lineament's extra parquet)."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="A gallery in one file that works offline.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", metavar="FILE", help="A contact sheet, PNG.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many faces, or bursts, to show.")] = 50,
    offset: Annotated[
        int, typer.Option("--offset", min=0, help="How many to pass over first: page 3 of 50 is --offset 100.")
    ] = 0,
    loose: Annotated[
        bool, typer.Option("--loose", help="Rank every face; only comparisons such as smiling > 0.8 leave faces out.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like", metavar="PHOTO", help="Faces with attributes like this photo's; QUERY: 'but with mustache'."
        ),
    ] = None,
    face: Annotated[int, typer.Option("--face", min=0, help="Which face of the --like photo; 0 is the largest.")] = 0,
    best_shot: Annotated[
        bool,
        typer.Option("--best-shot", help="Bursts of one moment, the photo where everyone smiles with open eyes first."),
    ] = False,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            "--thresholds", metavar="FILE", help="JSON: a card, or attribute to threshold. Nothing is computed again."
        ),
    ] = None,
    profile: options.Profile = "default",
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    with_: options.With = None,
    quiet: options.Quiet = False,
) -> None:
    """Search an index by attributes, best match first.

    A query joins attributes with and, or, not and parentheses: a bare name means "yes"; smiling > 0.8 compares the
    probability; smiling^2 weighs a term; `sort by smiling desc` orders. Case does not matter. Without a query every
    face matches. Nobody can be searched for by who they are: the index holds nothing that could tell.
    """
    from lineament.search.hit_table import check_place, write_csv, write_parquet
    from lineament.search.index import Index

    if best_shot and (like is not None or loose):
        raise UsageError("--best-shot goes with neither --like nor --loose. Leave one out.")
    if like is not None and loose:
        raise UsageError(
            "--like ranks every face that has what QUERY asks for, so --loose has no meaning with it. Leave it out."
        )
    if best_shot and (csv is not None or parquet is not None):
        raise UsageError("--csv and --parquet hold faces; bursts of --best-shot go to --json, --html and --sheet.")
    for place in (json_file, csv, parquet, html, sheet):
        check_place(place)
    given = None if thresholds is None else read_thresholds(thresholds)
    with Index(db, threads=threads) as index:
        if best_shot:
            groups = index.best_shots(query, profile=profile, thresholds=given)
            _write_bursts(groups[offset : offset + limit], len(groups), index, json_file, html, sheet, quiet, offset)
            return
        chosen: dict[str, Any] = {"profile": profile, "limit": limit, "offset": offset, "thresholds": given}
        if like is not None:
            report, digest = _analyze(like, index, model, runtime, precision, threads, with_ or [])
            found = index.rank_like(report, query, face=face, exclude_sha256=digest, **chosen)
        else:
            found = index.rank(query, loose=loose, **chosen)
        if csv is not None:
            write_csv(found, csv)
        if parquet is not None:
            write_parquet(found, parquet)
        _write_found(found, json_file, html, sheet, quiet, any_file=any((json_file, csv, parquet)))


def read_thresholds(path: Path) -> Mapping[str, float]:
    """Return name -> threshold from a model card or a plain mapping in JSON. Raises: UsageError for anything else."""
    from lineament.schema import resolve

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["decision"]["thresholds"] if "decision" in document else document
        values = {resolve(str(name)): float(value) for name, value in found.items()}
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError, AttributeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{path} holds no thresholds: it is JSON with attribute names and numbers, or a model card. ({error})"
        ) from error
    if not all(0 <= value <= 1 for value in values.values()):
        raise UsageError(f"{path}: thresholds are numbers from 0 to 1.")
    return values


def _analyze(
    photo: Path, index: Index, model: str, runtime: str, precision: str | None, threads: int | None, own: list[Path]
) -> tuple[Any, str]:
    from lineament.api import load
    from lineament.files import sha256_of

    loaded = load(model, runtime=runtime, precision=precision, threads=threads, profile="all", with_=own)
    if loaded.id != index.meta.model:
        raise UsageError(
            f"The index was made with {index.meta.model}, --model is {loaded.id}. Name the same model, and the same "
            "--with files."
        )
    return loaded.analyze(photo), sha256_of(photo)


def _write_found(
    found: Ranked, json_file: Path | None, html: Path | None, sheet: Path | None, quiet: bool, *, any_file: bool
) -> None:
    from lineament.search.gallery import hits_page
    from lineament.search.hit_table import write_json
    from lineament.search.thumbnails import hits_sheet, table

    if json_file is not None:
        with _opened(json_file) as file:
            write_json(found, file)
    if html is not None or sheet is not None:
        whole = found.whole()
        _write_files(html, sheet, lambda: hits_page(whole), lambda: hits_sheet(whole))
    head, first = found.head, next(found.parts(TABLE_ROWS))
    if json_file is None or str(json_file) != "-":
        for part in [first] if any_file else found.parts(TABLE_ROWS):
            _print(table(part) if part.hits else "No face matches. Fewer terms, or --loose to rank every face.")
        if any_file and len(found) > TABLE_ROWS and not quiet:
            typer.echo(f"The first {TABLE_ROWS} are printed; the files have all {len(found)}.", err=True)
    if not quiet:
        typer.echo(
            f"{head.matched} faces in {head.photos} photos match, {_shown(len(found), head.offset)}; "
            f"{head.indexed_faces} faces indexed "
            f"by {head.model}.", err=True,
        )  # fmt: skip


def _shown(count: int, offset: int) -> str:
    return f"{offset + 1} to {offset + count} shown" if offset and count else f"{count} shown"


def _write_bursts(
    groups: Sequence[Sequence[RankedShot]], total: int, index: Index, json_file: Path | None, html: Path | None,
    sheet: Path | None, quiet: bool, offset: int,
) -> None:  # fmt: skip
    from lineament.search.gallery import bursts_page
    from lineament.search.hit_table import json_bytes
    from lineament.search.thumbnails import burst_table, bursts_sheet

    model = index.meta.model
    record = {"schema_version": 1, "model": model, "bursts": [[entry.to_dict() for entry in group] for group in groups]}
    if json_file is not None:
        with _opened(json_file) as file:
            file.write(json_bytes(record) + b"\n")
    _write_files(html, sheet, lambda: bursts_page(groups, model, offset), lambda: bursts_sheet(groups, model, offset))
    if json_file is None or str(json_file) != "-":
        _print(burst_table(groups, offset) if groups else "No bursts: no two photos look like one moment.")
    if not quiet:
        typer.echo(f"{total} {'burst' if total == 1 else 'bursts'} found, {len(groups)} shown.", err=True)


def _write_files(html: Path | None, sheet: Path | None, page: Callable[[], str], picture: Callable[[], Image]) -> None:
    """Write the files asked for; pages and sheets are made only then, since they read the photos."""
    if html is not None:
        html.write_text(page(), encoding="utf-8")
    if sheet is not None:
        picture().save(sheet, "PNG")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, stdout for `-`."""
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.flush()
    else:
        with path.open("wb") as file:
            yield file


def _print(what: Any) -> None:
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(what)
