"""The Ray engine on a cluster of two nodes (on one machine): the local engine's records, also where workers are killed,
stopped and resumed."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from analyze_kit import photo, save
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.cli.worker import WorkerSetup
from lineament.inputs.expand import Reading
from lineament.inputs.item import Item
from lineament.outputs.sinks import JsonlSink
from lineament.pipeline.analyze import Settings
from lineament.runs.run import record
from lineament.types import Report

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="kill -9")]
ROOT = Path(__file__).resolve().parents[2]
PHOTOS = 150


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Start a cluster of two nodes with one processor each and join it."""
    pytest.importorskip("ray.data", reason="the Ray engine needs the extra [scale]: pip install 'lineament[scale]'")
    from ray.cluster_utils import Cluster

    from lineament.runs.ray_cluster import connect, ray_data

    module = ray_data()
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: on a busy machine the workers would starve
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "e2e"), before])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    module.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    assert len(module.nodes()) == 2
    connect(1)
    yield module
    module.shutdown()
    cluster.shutdown()
    os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder, a tar shard, a Parquet table, a list, and what fails: every way in, PHOTOS and more in all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("ray")
    write_toy_model(folder / "toy.onnx")
    for number in range(PHOTOS):
        save(folder / "in" / f"{number:03}.png", photo(0, seed=number, size=(218, 178)))
    (folder / "in" / "bad.png").write_bytes(b"no picture")
    encoded = [(folder / "in" / f"{number:03}.png").read_bytes() for number in range(40)]
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for number, data in enumerate(encoded):
            entry = tarfile.TarInfo(f"key{number:03}.png")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    pq.write_table(pa.table({"image": [*encoded[:20], None]}), folder / "table.parquet")
    (folder / "list.txt").write_text("in/001.png\nin/001.png\ngone.png\n")
    return folder


GIVEN = ("in", "shard.tar", "shard.tar", "table.parquet", "@list.txt")
ALL = PHOTOS + 1 + 2 * 40 + 21 + 3


def analyze(out: str, *options: str, given: tuple[str, ...] = GIVEN) -> Any:
    command = [
        "analyze",
        *given,
        "--model",
        "toy.onnx",
        "--faces",
        "aligned",
        "--quiet",
        "--jsonl",
        out,
        "--max-failed",
        "3",
        *options,
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code in (0, 3), done.output
    return sorted(Path(out).read_bytes().splitlines())


def test_the_records_are_the_local_engines(ray: Any, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    local = analyze("local.jsonl")
    assert len(local) == ALL
    assert analyze("ray.jsonl", "--engine", "ray") == local
    parts = [line for part in ("1/2", "2/2") for line in analyze("part.jsonl", "--engine", "ray", "--shard", part)]
    assert sorted(parts) == local


@pytest.mark.parametrize("kept", [0, 7, 130, 250])
def test_it_goes_on_with_what_either_engine_left(
    ray: Any, inputs: Path, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    local = analyze("out.jsonl")
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    Path("out.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:40])
    assert analyze("out.jsonl", "--engine", "ray", "--resume") == local
    Path("out.jsonl").write_bytes(b"".join(lines[kept:]))
    assert analyze("out.jsonl", "--resume") == local
    refused = CliRunner().invoke(
        app, ["analyze", "in", "--model", "toy.onnx", "--jsonl", "out.jsonl", "--resume", "--engine", "ray"]
    )
    assert refused.exit_code == 2
    assert "faces was" in refused.output


def test_an_object_store_is_read_by_address(ray: Any, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """file:// stands in for s3://: the same door (PyArrow's file systems), no network."""
    monkeypatch.chdir(inputs)
    given = tuple(f"file://{inputs}/{name}" for name in ("in", "shard.tar", "table.parquet", "in/003.png", "gone.tar"))
    local = analyze("local.jsonl", given=given)
    assert len(local) == PHOTOS + 1 + 40 + 21 + 1 + 1
    assert analyze("ray.jsonl", "--engine", "ray", given=given) == local
    strip = [
        {**json.loads(line), "source": json.loads(line)["source"].removeprefix(f"file://{inputs}/")} for line in local
    ]
    plain = [
        json.loads(line)
        for line in analyze("plain.jsonl", given=("in", "shard.tar", "table.parquet", "in/003.png", "gone.tar"))
    ]
    assert [(one["source"], one["status"], one["faces"]) for one in strip] == [
        (one["source"], one["status"], one["faces"]) for one in plain
    ]


@dataclass(frozen=True)
class Deadly:
    """Work that ends its own process, without a word, the first time it meets a photo whose name ends in one of
    `last_words`."""

    recipe: WorkerSetup
    graves: Path
    last_words: tuple[str, ...]

    def __call__(self) -> Callable[[Item], Report]:
        work = self.recipe()

        def answer(item: Item) -> Report:
            with (self.graves / "seen.txt").open("a") as file:
                file.write(f"{os.getpid()} {item.source}\n")
            if item.source.endswith(self.last_words):
                try:
                    (self.graves / Path(item.source).name).touch(exist_ok=False)
                except FileExistsError:
                    return work(item)
                os.kill(os.getpid(), signal.SIGKILL)
            return work(item)

        return answer


def recipe(folder: Path) -> WorkerSetup:
    from lineament.api import load

    settings = Settings(faces="aligned")
    return WorkerSetup(
        str(folder / "toy.onnx"), "onnx", None, 1, settings, load(folder / "toy.onnx", threads=1).identity(settings)
    )


def test_a_killed_worker_costs_nothing_but_time(
    ray: Any, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineament.runs.ray_cluster import Cluster

    monkeypatch.chdir(inputs)
    local = analyze("local.jsonl")
    made = recipe(inputs)
    deadly = Deadly(made, tmp_path, ("040.png", "100.png", "key020.png"))
    sink = JsonlSink(str(tmp_path / "out.jsonl"))
    summary = record(Cluster(GIVEN, Reading(), deadly), [sink], made.identity)
    assert sorted((tmp_path / "out.jsonl").read_bytes().splitlines()) == local
    assert summary.inputs == ALL
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "040.png",
        "100.png",
        "shard.tar::key020.png",
    }  # all three did die
    assert len({line.split()[0] for line in (tmp_path / "seen.txt").read_text().splitlines()}) >= 4


def test_a_photo_that_ends_every_worker_ends_the_run_with_a_reason(
    ray: Any, inputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lineament.errors import LineamentError
    from lineament.runs import ray_cluster

    monkeypatch.chdir(inputs)
    monkeypatch.setattr(ray_cluster, "MOST_TRIES", 1)
    made = recipe(inputs)
    with pytest.raises(LineamentError, match="--timeout"):
        list(ray_cluster.Cluster(("in/000.png",), Reading(), Poisoned(made))(ray_cluster.Wanted()))


@dataclass(frozen=True)
class Poisoned:
    """Work that ends every process that tries it."""

    recipe: WorkerSetup

    def __call__(self) -> Callable[[Item], Report]:
        return lambda item: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[return-value]


def test_nothing_is_asked_of_ray_that_its_next_release_removes(
    ray: Any, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.util.annotations import RayDeprecationWarning

    monkeypatch.chdir(inputs)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        analyze("quiet.jsonl", "--engine", "ray", given=("in/000.png", "shard.tar"))
    assert not [str(one.message) for one in told if issubclass(one.category, RayDeprecationWarning)]


def test_stopped_and_resumed(ray: Any, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lineament.runs.ray_cluster import Cluster

    monkeypatch.chdir(inputs)
    local, made, out = analyze("local.jsonl"), recipe(inputs), str(tmp_path / "out.jsonl")
    stop = Event()
    first = record(
        Cluster(GIVEN, Reading(), made, stop=stop),
        [JsonlSink(out)],
        made.identity,
        stop=stop,
        seen=lambda report: stop.set(),
    )
    assert first.interrupted
    assert 0 < first.inputs < ALL
    second = record(Cluster(GIVEN, Reading(), made), [JsonlSink(out)], made.identity, resume=True)
    assert second.skipped >= first.inputs - 2  # what was not found is tried again
    assert sorted(Path(out).read_bytes().splitlines()) == local


def test_a_worker_that_would_answer_otherwise_refuses(ray: Any, inputs: Path) -> None:
    from lineament.errors import ModelFileError
    from lineament.runs.ray_cluster import Cluster, Wanted

    made = recipe(inputs)
    other = WorkerSetup(made.model, "onnx", None, 1, made.settings, made.identity | {"thresholds": "others"})
    with pytest.raises(ModelFileError, match="thresholds"):
        list(Cluster((str(inputs / "in"),), Reading(), other)(Wanted()))


def test_tracks_need_the_local_engine(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    done = CliRunner().invoke(app, ["analyze", "in", "--engine", "ray", "--tracks", "t.json", "--jsonl", "x.jsonl"])
    assert done.exit_code == 2
    assert "--tracks" in done.output
