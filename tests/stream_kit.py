"""What tests of whole runs share: a run over folders into sinks, and what its results say whatever their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lineament.api import Model
from lineament.inputs.expand import items
from lineament.inputs.item import Item
from lineament.outputs.parquet_sink import ParquetSink
from lineament.outputs.sinks import CsvSink, JsonlSink, JsonSink, Sink
from lineament.runs.run import Summary, in_threads, record
from lineament.runs.stream import report_of

ANSWERED: dict[Any, Any] = {}


def go(model: Model, inputs: list[Path], sinks: list[Sink], *, fresh: bool = False, **options: Any) -> Summary:
    """Run over inputs; a photo that was answered before, unchanged, is not computed again unless `fresh`: these tests
    are about the rest."""
    tools = model.tools(model.settings)
    identity = model.identity(model.settings) | options.pop("identity", {})

    def work(item: Item) -> Any:
        key = (model.id, model.settings, item.source, item.fingerprint())
        if fresh or key not in ANSWERED:
            ANSWERED[key] = report_of(item, tools, model.settings)
        return ANSWERED[key]

    workers, stop = options.pop("workers", 1), options.get("stop")
    return record(in_threads(items(map(str, inputs)), work, workers=workers, stop=stop), sinks, identity, **options)


def sink_of(kind: str, folder: Path, model: Model) -> Sink:
    shown = model.settings.visible(model.card.attributes)
    path = str(folder / f"out.{kind}")
    return {
        "jsonl": lambda: JsonlSink(path),
        "json": lambda: JsonSink(path),
        "csv": lambda: CsvSink(path, shown),
        "parquet": lambda: ParquetSink(path, shown),
    }[kind]()


KINDS = ("jsonl", "json", "csv", "parquet")


def content(path: Path) -> Any:
    """What a result says, whatever the order and packing of its rows."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return sorted(json.dumps(row, sort_keys=True) for row in pq.read_table(path).to_pylist())
    if path.suffix == ".json":
        return sorted(json.dumps(record) for record in json.loads(path.read_bytes()))
    return sorted(path.read_bytes().split(b"\n"))
