"""Twenty kills at random moments, one before the first record: nothing lost, nothing twice, the same result as one
quiet run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from analyze_kit import photo, save
from toy_model import write_toy_model

ROOT = Path(__file__).resolve().parents[2]
PHOTOS, KILLS = 400, 20

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="kill -9")]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json", "parquet"])
def test_twenty_kills(kind: str, tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.onnx")
    for number in range(PHOTOS):
        save(tmp_path / "in" / f"{number:03}.png", photo(0, seed=number % 7, size=(218, 178)))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def command(out: str) -> list[str]:
        options = ["--faces", "aligned", "--threads", "2", "--resume", "--quiet", "--crops", str(tmp_path / "crops")]
        return [sys.executable, "-m", "lineament", "analyze", "in", "--model", str(model), f"--{kind}", out, *options]

    chance, kept, kills = random.Random(20), [], 0
    while kills < KILLS:
        child = subprocess.Popen(
            command(f"out.{kind}"), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begun = _progress(tmp_path, kind)
        deadline = time.monotonic() + 120
        while kills and child.poll() is None and _progress(tmp_path, kind) == begun and time.monotonic() < deadline:
            time.sleep(
                0.001
            )  # the first kill may come before any record; later ones wait until the run writes, so that it advances
        time.sleep(chance.random() * 0.05)
        if child.poll() is not None:
            break  # all photos were done before all kills were
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
        kept.append(_progress(tmp_path, kind))
    assert kills >= KILLS // 2
    subprocess.run(command(f"out.{kind}"), cwd=tmp_path, env=environment, check=True)
    subprocess.run(command(f"whole.{kind}"), cwd=tmp_path, env=environment, check=True)
    sources = _sources(tmp_path / f"out.{kind}")
    assert len(sources) == len(set(sources)) == PHOTOS
    if kind == "parquet":
        import pyarrow.parquet as pq

        one, other = (
            sorted(json.dumps(row) for row in pq.read_table(tmp_path / f"{name}.parquet").to_pylist())
            for name in ("out", "whole")
        )
        assert one == other
    else:
        assert sorted((tmp_path / f"out.{kind}").read_bytes().split()) == sorted(
            (tmp_path / f"whole.{kind}").read_bytes().split()
        )
    assert len(list((tmp_path / "crops").glob("*.png"))) == PHOTOS


def _progress(folder: Path, kind: str) -> int:
    file = folder / (f"out.{kind}.journal" if kind == "parquet" else f"out.{kind}")
    return file.stat().st_size if file.exists() else 0


def _sources(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return [str(source) for source in pq.read_table(path, columns=["source"])["source"].to_pylist()]
    if path.suffix == ".csv":
        import csv

        return [row["source"] for row in csv.DictReader(path.open(newline=""))]
    text = path.read_text()
    return [
        record["source"]
        for record in (json.loads(text) if path.suffix == ".json" else map(json.loads, text.splitlines()))
    ]
