"""`lineament bench`: the speed of every stage on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lineament.cli import options


def command(
    json_file: options.JsonFile = None,
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Measurements per figure.")] = 15,
    full: Annotated[
        bool,
        typer.Option("--full/--brief", help="Also photos of 0.3 to 12 megapixels, and every runtime and precision."),
    ] = True,
    cold: Annotated[
        bool, typer.Option("--cold/--no-cold", help="Also start the command line anew on a 12-megapixel photo.")
    ] = True,
    quiet: options.Quiet = False,
) -> None:
    """Measure the speed of every stage on this machine: medians with the 10th and 90th percentile."""
    from lineament.api import load
    from lineament.bench import SCENES, bench
    from lineament.cli.output import show, write_json

    loaded = load(
        model, runtime=runtime, precision=precision, threads=threads, notify=lambda text: typer.echo(text, err=True)
    )
    same = ["--model", model, "--runtime", loaded.network.runtime, "--threads", str(loaded.threads)]
    arguments = (*same, *(["--precision", precision] if precision else []))
    result = bench(loaded, runs=runs, scenes=SCENES if full else (), runtimes=full, cold=cold, cold_arguments=arguments)
    if json_file is not None:
        write_json(result, json_file)
    show(_tables(result), _lines(result), to_stderr=json_file is not None and str(json_file) == "-", quiet=quiet)


def _tables(result: dict[str, Any]) -> Any:
    from rich.console import Group

    tables = [_stages(result)]
    if result["scenes"]:
        tables.append(_scenes(result["scenes"]))
    if result["attributes"]:
        tables.append(_networks(result["attributes"]))
    return Group(*tables)


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _stages(result: dict[str, Any]) -> Any:
    title = "milliseconds per photo, one at a time: median (10th to 90th percentile)"
    table = _table(title, "faces", "photo", "decode", "detect", "align", "attributes", "whole", "stream, photos/s")
    for count, stages in result["stages"].items():
        cells = [
            f"{s['median_ms']:.1f} ({s['p10_ms']:.1f}-{s['p90_ms']:.1f})"
            for s in stages.values()
            if isinstance(s, dict)
        ]
        rate = f"{result['stream'][count]['photos_per_s']:.1f}"
        table.add_row(f"{stages['faces_found']} of {count}", "x".join(map(str, stages["photo"])), *cells, rate)
    return table


def _scenes(scenes: dict[str, Any]) -> Any:
    table = _table(
        "end to end, all threads",
        "photo",
        "found",
        "ms, one at a time",
        "photos/s",
        "faces/s",
        "slowest stage",
        "of its bound",
        "of all stages",
    )
    for name, row in scenes.items():
        stream = row["stream"]
        rate = f"{stream['photos_per_s']:.1f} ({stream['min']:.1f}-{stream['max']:.1f})"
        table.add_row(
            name, str(row["faces_found"]), f"{row['whole']['median_ms']:.1f}", rate,
            f"{stream['faces_per_s']:.1f}", f"{row['slowest']} {row[row['slowest']]['median_ms']:.1f} ms",
            f"{100 * row['share_of_slowest']:.0f} %", f"{100 * row['share_of_all_stages']:.0f} %",
        )  # fmt: skip
    return table


def _networks(rows: list[dict[str, Any]]) -> Any:
    table = _table(
        "attribute network alone", "runtime", "precision", "ms, one face, one thread", "faces/s, batch, all threads"
    )
    for row in rows:
        if "absent" in row:
            table.add_row(row["runtime"], row["precision"], "-", "-")
            continue
        single = row["single"]
        table.add_row(
            row["runtime"], row["precision"], (
                f"{single['median_ms']:.1f} ({single['p10_ms']:.1f}-{single['p90_ms']:.1f})"
            ),
            f"{row['batch_faces_per_s']:.1f} ({row['min']:.1f}-{row['max']:.1f})",
        )  # fmt: skip
    return table


def _lines(result: dict[str, Any]) -> list[str]:
    about, cold = result["environment"], result["cold_start"]
    lines = [
        f"{about['model']}, {about['runtime']} {about['precision']}, {about['threads']} threads; {about['processor']}; "
        f"{about['versions']}"
    ]
    if cold is not None:
        peak = "unknown" if cold["peak_mb"] is None else f"{cold['peak_mb']:.0f} MB"
        lines.append(f"Cold start to the answer on a 12-megapixel photo: {cold['median_s']:.2f} s, peak memory {peak}.")
    return lines
