"""`lineament teach`: an own attribute from a few sorted photos, in one small file for `--with`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineament.cli import options
from lineament.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lineament.teach.examples import Find, Listed
    from lineament.teach.teach import Taught


def command(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="What the attribute is called: letters of any script, digits, _ and -."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write, for --with.")],
    yes: Annotated[Path | None, typer.Option("--yes", metavar="DIR", help="Photos that show it.")] = None,
    no: Annotated[Path | None, typer.Option("--no", metavar="DIR", help="Photos that do not.")] = None,
    unsure: Annotated[
        Path | None,
        typer.Option("--unsure", metavar="DIR", help="Photos that are neither: they widen what --abstain leaves."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            help="In place of folders: CSV or Parquet with `file`, NAME (1 or 0), [`identity`].",
        ),
    ] = None,
    faces: Annotated[
        str, typer.Option("--faces", metavar="detect|aligned", help="aligned: the photos are crops in CelebA's layout.")
    ] = "detect",
    rate: Annotated[
        float, typer.Option("--rate", help="Share of yes among the photos that will be asked about.")
    ] = 0.5,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="PNG of the photos whose label looks wrong.")
    ] = None,
    json_file: options.JsonFile = None,
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Teach an own attribute from about thirty photos of each kind, and say whether to believe it.

    The largest face of each photo counts. What the network makes of a face stays in this process; the file holds one
    weight per feature, and no picture or file name. It goes with this model only. This is no face recogniser: a side
    that is one person is refused. Exit status: 0 done, 2 wrong usage, 3 not learnable from these photos (nothing is
    written).
    """
    from lineament.cli.output import progress, write_json
    from lineament.runtime.registry import load_network
    from lineament.runtime.threads import default_threads
    from lineament.teach.examples import collect, drawn
    from lineament.teach.teach import check_name, teach

    if faces not in ("detect", "aligned"):
        raise UsageError(f"--faces must be detect or aligned, not {faces!r}.")
    listed = _listed(name, yes, no, unsure, table)
    network = load_network(model, runtime, precision, threads)
    check_name(name, network.card.attributes)
    used = drawn(listed)
    if len(used) < len(listed) and not quiet:
        typer.echo(
            f"{len(listed)} photos are more than a linear head needs: {len(used)} of them are read, drawn by a hash "
            "of their names.",
            err=True,
        )
    with progress("Reading", len(used), quiet) as advance:
        found = collect(used, network, _find(faces), threads=threads or default_threads(), seen=advance)

    def others(runtime: str, precision: str) -> Any:
        return load_network(model, runtime, precision, threads)

    taught = teach(name, found, network, rate=rate, others=others)
    if json_file is not None:
        write_json(taught.report | {"suspects": [list(one) for one in taught.suspects]}, json_file)
    if sheet is not None:
        write_sheet(taught, sheet)
    if not quiet:
        for line in lines(taught):
            typer.echo(line, err=True)
    if not taught.learnable:
        typer.echo(f"lineament: {taught.own.name} is not learnable from these photos; {out} was not written.", err=True)
        raise typer.Exit(3)
    taught.own.save(out)
    if not quiet:
        typer.echo(f"Wrote {out}. Use it with: lineament analyze PHOTOS --with {out}", err=True)


def _listed(name: str, yes: Path | None, no: Path | None, unsure: Path | None, table: Path | None) -> Sequence[Listed]:
    from lineament.teach.examples import of_folders, of_table
    from lineament.teach.own_attribute import check_spelling

    if table is not None:
        if yes is not None or no is not None or unsure is not None:
            raise UsageError("--table takes the place of --yes, --no and --unsure. Leave one or the other out.")
        return of_table(table, check_spelling(name))
    if yes is None or no is None:
        raise UsageError("Give two folders of photos, --yes DIR and --no DIR, or --table FILE.")
    return of_folders(yes, no, unsure)


def _find(faces: str) -> Find | None:
    if faces == "aligned":
        return None
    from lineament.detection.retinaface import RetinaFace

    return RetinaFace(threads=1).detect


def write_sheet(taught: Taught, path: Path) -> None:
    """Write the contact sheet of the photos whose label looks wrong."""
    from lineament.visual.contact_sheet import Tile, contact_sheet

    tiles = [
        Tile(Path(source), f"{side}, {chance:.0%} likely\n{Path(source).name[:18]}")
        for source, side, chance in taught.suspects
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = taught.report["counts"]["used"]
    contact_sheet(
        tiles,
        title=f"{taught.own.name}: labels that look wrong",
        facts=[f"of {counts['yes']} yes and {counts['no']} no"],
    ).save(path, "PNG")


def lines(taught: Taught) -> list[str]:
    """Return what there is to say, in words."""
    report = taught.report
    used, counts, scores, curve = report["counts"]["used"], report["counts"], report["scores"], report["learning_curve"]
    said = [
        f"{taught.own.name}: {used['yes']} yes, {used['no']} no, {used['unsure']} unsure; {counts['different']} "
        "different people or moments."
        + (
            f" {counts['without_face']} photos show no face, {counts['unreadable']} give no picture."
            if _left_out(counts)
            else ""
        ),
        "On photos it was not fitted on: "
        + ", ".join(f"{title} {_between(scores[key])}" for key, title in _TITLES.items())
        + ".",
    ]
    if not taught.learnable:
        reach = scores["auc"]["shuffled_labels_reach"]
        said.append(
            f"Not learnable from these: shuffled labels are ranked up to {100 * reach:.0f} %. More photos, or clearer "
            "ones, may help."
        )
    elif curve["more_would_help"]:
        said.append(
            f"Twice as many photos may bring about {100 * curve['gain_from_twice_as_many']:.0f} points of accuracy."
        )
    else:
        said.append("More photos of this kind would hardly help.")
    for warning in report["warnings"]:
        said.append(
            f"Warning: yes and no differ by {warning['what']} too (that alone ranks "
            f"{_between(warning | {'value': warning['auc']})})."
        )
    for one, other in report["contradictory"][:5]:
        said.append(f"Warning: nearly the same face is on both sides: {one} and {other}.")
    said += [
        f"Looks mislabelled: {source} ({side}, {chance:.0%} likely)" for source, side, chance in taught.suspects[:5]
    ]
    needed = taught.own.card.get("needs")
    if needed:
        said.append(f"Labels change with the arithmetic: this file is for {', '.join(needed)} only.")
    return said + ([f"Note: {report['note']}"] if "note" in report else [])


_TITLES = {
    "accuracy": "accuracy",
    "ap": "average precision",
    "auc": "ranking",
    "calibration_error": "calibration error",
}


def _left_out(counts: dict[str, Any]) -> bool:
    return bool(counts["without_face"] or counts["unreadable"])


def _between(score: dict[str, float]) -> str:
    return f"{100 * score['value']:.0f} % [{100 * score['low']:.0f}, {100 * score['high']:.0f}]"
