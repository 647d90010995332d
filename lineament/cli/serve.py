"""`lineament serve`: the HTTP interface and its page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lineament.cli import options
from lineament.errors import MissingExtraError, UsageError

KEY_VARIABLE = "LINEAMENT_API_KEY"
_WEB = ("fastapi", "starlette", "uvicorn", "h11", "pydantic", "python_multipart", "prometheus_client")


def command(
    model: options.Model = "default",
    runtime: options.Runtime = "onnx",
    precision: options.Precision = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    rates: options.Rates = None,
    with_: options.With = None,
    small_faces: options.SmallFaces = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine reaches the default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one and says which.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"File whose first line is the API key; or set {KEY_VARIABLE}.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Host names to serve; repeat. Default: this machine's on loopback, else any."
        ),
    ] = None,
    db: Annotated[
        Path | None,
        typer.Option("--db", metavar="FILE", help="An index made by `lineament index`, to search under /search."),
    ] = None,
    trusted_proxy: Annotated[
        str | None, typer.Option(metavar="IP", help="Believe X-Forwarded-For from this reverse proxy.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Most pixels in a photo; the same as --limit pixels=N.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of work on one photo; the same as --limit photo_seconds=S.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Set a limit by its name (docs/serve.md); repeat.")
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="json|text", help="One line a request on stderr: time, route, status, ms, faces; no file names."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer /metrics on this port too, without a key.")
    ] = None,
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="/metrics needs no API key.")] = False,
    reload_model: Annotated[
        bool, typer.Option("--reload-model", help="Load the model anew on SIGHUP; no request is dropped.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos handed to a worker at once.")] = 8,
    batch_wait_ms: Annotated[float, typer.Option(min=0, help="Milliseconds to wait for a batch to fill.")] = 0.0,
) -> None:
    """Serve the HTTP interface and its page. --threads is the number of worker processes, one photo each at a time.

    Nothing is stored, no URL is fetched. Ctrl-C answers what was accepted, then stops.
    """
    try:
        from lineament.serve.app import create_app
        from lineament.serve.batching import Batching
        from lineament.serve.limits import Limits
        from lineament.serve.photo_answer import ModelSource
        from lineament.serve.request_log import request_log
        from lineament.serve.run import LOOPBACK_NAMES, Operation, is_loopback, run
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _WEB:
            raise MissingExtraError(error.name or "fastapi", "serve") from error
        raise
    limits = Limits(**read_limits([*(limit or ()), *_named(pixels=max_pixels, photo_seconds=timeout)], Limits()))
    key = read_key(api_key_file)
    local = is_loopback(host)
    if not local and key is None and not quiet:
        typer.echo(
            f"lineament: anyone who can reach {host} can use this service; give it an API key with {KEY_VARIABLE}.",
            err=True,
        )
    hosts = (*(allowed_host or ()), *(LOOPBACK_NAMES if local else ())) if local or allowed_host else ()
    app = create_app(
        ModelSource(model, runtime, precision, limits.faces, rates, tuple(with_ or ())), limits=limits, workers=threads,
        api_key=key, hosts=hosts, batching=Batching(batch_size, batch_wait_ms / 1000), db=db,
        log=None if log_format is None else request_log(log_format), open_metrics=open_metrics, small_faces=small_faces,
    )  # fmt: skip
    run(app, host, port, limits, Operation(quiet, trusted_proxy, log_format, metrics_port, reload_model))


def read_limits(settings: list[str], known: Any) -> dict[str, Any]:
    """Return limits by name from NAME=VALUE texts. Raises: UsageError for an unknown name or a value that is no number.

    >>> read_limits(["queue=8"], type("Known", (), {"queue": 64}))
    {'queue': 8}
    """
    found = {}
    for text in settings:
        name, _, value = text.partition("=")
        try:
            found[name] = type(getattr(known, name))(value)
        except (AttributeError, ValueError, TypeError) as error:
            raise UsageError(
                f"--limit wants NAME=VALUE with one of the names in docs/serve.md and a number, not {text!r}."
            ) from error
    return found


def _named(**values: float | None) -> list[str]:
    return [f"{name}={value}" for name, value in values.items() if value is not None]


def read_key(file: Path | None) -> str | None:
    """Return the API key from a file's first line, else from the environment; None where neither gives one.

    Raises: UsageError for a file that cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the API key from {file}: {error}.") from error
    if not key:
        raise UsageError(f"The first line of {file} is empty; put the API key there.")
    return key
