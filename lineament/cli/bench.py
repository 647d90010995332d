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
    cold: Annotated[bool, typer.Option("--cold/--no-cold", help="Also start the command line anew on a 12-megapixel photo.")] = True,
    quiet: options.Quiet = False,
) -> None:
    """Measure the speed of every stage on this machine: medians with the 10th and 90th percentile."""
    from lineament.api import load
    from lineament.bench import bench
    from lineament.cli.output import show, write_json

    loaded = load(model, runtime=runtime, precision=precision, threads=threads, notify=lambda text: typer.echo(text, err=True))
    same = ["--model", model, "--runtime", loaded.network.runtime, "--threads", str(loaded.threads)]
    result = bench(loaded, runs=runs, cold=cold, cold_arguments=(*same, *(["--precision", precision] if precision else [])))
    if json_file is not None:
        write_json(result, json_file)
    show(_table(result), _lines(result), to_stderr=json_file is not None and str(json_file) == "-", quiet=quiet)


def _table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="milliseconds per photo, one at a time: median (10th to 90th percentile)", title_justify="left")
    for column in ("faces", "photo", "decode", "detect", "align", "attributes", "whole", "stream, photos/s"):
        table.add_column(column, justify="right", no_wrap=column != "stream, photos/s")
    for count, stages in result["stages"].items():
        cells = [f"{s['median_ms']:.1f} ({s['p10_ms']:.1f}-{s['p90_ms']:.1f})" for s in stages.values() if isinstance(s, dict)]
        rate = f"{result['stream'][count]['photos_per_s']:.1f}"
        table.add_row(f"{stages['faces_found']} of {count}", "x".join(map(str, stages["photo"])), *cells, rate)
    return table


def _lines(result: dict[str, Any]) -> list[str]:
    about, cold = result["environment"], result["cold_start"]
    lines = [f"{about['model']}, {about['runtime']} {about['precision']}, {about['threads']} threads; {about['processor']}; {about['versions']}"]
    if cold is not None:
        peak = "unknown" if cold["peak_mb"] is None else f"{cold['peak_mb']:.0f} MB"
        lines.append(f"Cold start to the answer on a 12-megapixel photo: {cold['median_s']:.2f} s, peak memory {peak}.")
    return lines
