"""Every command with an empty home, which stays empty; and under strace, which sees no look-up and no connection but
those asked for."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from needed import needed
from PIL import Image
from toy_model import write_toy_model

ROOT = Path(__file__).resolve().parents[2]
SWITCHES = (
    "ORT_DISABLE_TELEMETRY",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_AUTH_TOKEN",
    "NNCF_CI",
    "MPLCONFIGDIR",
    "XDG_CACHE_HOME",
    "CI",
)
TOY = ("--model", "toy.onnx")
LABELS = ("Smiling", "Eyeglasses")
FAST: dict[str, tuple[str, ...]] = {
    "version": ("--version",),
    "models": ("models",),
    "schema": ("schema",),
    "analyze": ("analyze", "in", *TOY, "--jsonl", "o.jsonl", "--csv", "o.csv", "--draw", "drawn", "--crops", "crops"),
    "index": ("index", "in", "--db", "made.duckdb", *TOY),
    "report": ("report", "p.csv", "--html", "r.html"),
}
SLOW: dict[str, tuple[str, ...]] = {
    "default": ("analyze", "in", "--jsonl", "d.jsonl"),
    "doctor": ("doctor",),
    "processes": ("analyze", "in", "in", *TOY, "--processes", "2", "--jsonl", "q.jsonl"),
    "timeout": ("analyze", "in", *TOY, "--timeout", "60", "--jsonl", "t.jsonl"),
    "openvino": ("analyze", "in", "--runtime", "openvino", "--jsonl", "v.jsonl"),
    "parquet": ("analyze", "in", *TOY, "--parquet", "o.parquet"),
    "search": ("search", "i.duckdb", "Smiling", "--html", "g.html"),
    "evaluate": ("evaluate", "p.csv", "--layout", "predictions", "--json", "e.json"),
    "calibrate": ("calibrate", "--predictions", "p.csv", *TOY, "--out", "fitted.onnx"),
    "compare": ("compare", "p.csv", "p.csv", "--json", "c.json"),
    "audit": ("audit", "p.csv", "--by", "Eyeglasses", "--json", "a.json"),
    "audit-labels": ("audit-labels", "p.csv", "--out", "suspects"),
}
RAY = ("analyze", "in", *TOY, "--engine", "ray", "--jsonl", "y.jsonl")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, astronaut: object) -> Path:
    """A folder with what the commands work on: a photo, a toy model, predictions, an index."""
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "in").mkdir()
    Image.fromarray(astronaut).resize((256, 256)).save(folder / "in" / "portrait.jpg", quality=95)
    write_toy_model(folder / "toy.onnx", LABELS)
    with (folder / "p.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "identity", *(f"{kind}_{name}" for name in LABELS for kind in ("raw", "target"))])
        for row in range(60):
            writer.writerow(
                [
                    f"{row}.jpg",
                    row // 2,
                    *((row * step % 17) / 17 if place == 0 else row * step % 2 for step in (3, 5) for place in (0, 1)),
                ]
            )
    run(folder, "index", "in", "--db", "i.duckdb", *TOY)
    return folder


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LINEAMENT_API_KEY": ""}


def run(folder: Path, *arguments: str, under: tuple[str, ...] = ()) -> list[str]:
    """Run a command; return what it left in its home, which was empty."""
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    command = [*under, sys.executable, "-m", "lineament", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(home), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return left_in(home)


def left_in(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def needs(name: str) -> None:
    for module in {"openvino": ("openvino",), "index": ("duckdb",), "search": ("duckdb", "lark"),
    "report": ("matplotlib",), "parquet": ("pyarrow",),
                   "audit-labels": ("sklearn",)}.get(name, ()):  # fmt: skip
        pytest.importorskip(module)


@pytest.mark.parametrize("name", FAST)
def test_home_stays_empty(name: str, place: Path) -> None:
    needs(name)
    assert run(place, *FAST[name]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_home_stays_empty_after_the_others_too(name: str, place: Path) -> None:
    needs(name)
    assert run(place, *SLOW[name]) == []


@pytest.mark.slow
def test_home_stays_empty_beside_a_cluster(place: Path) -> None:
    pytest.importorskip("ray.data")
    assert run(place, *RAY) == []


def asked(trace: Path) -> list[str]:
    """Return the lines of a trace that speak to another host, or ask for a name (port 53, systemd's resolver); nscd is
    asked about accounts."""
    lines = trace.read_text("utf-8", "replace").splitlines()
    out = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(.*(AF_INET6?|resolve)")
    loopback = re.compile(r'inet_addr\("127\.|"::1"|::ffff:127\.')
    return [line for line in lines if out.search(line) and not loopback.search(line)]


def traced(place: Path) -> tuple[str, ...]:
    return (needed("strace"), "-f", "--seccomp-bpf", "-qq", "-o", str(place / "trace.txt"), "-e", "trace=network")


def test_the_trace_would_show_a_look_up(place: Path) -> None:
    """The measure itself: a program that does look up a name is seen."""
    code = "import socket\ntry: socket.create_connection(('lineament.invalid', 80), 1)\nexcept OSError: pass"
    subprocess.run([*traced(place), sys.executable, "-c", code], check=True, timeout=60)
    assert asked(place / "trace.txt")


def test_an_analysis_asks_nobody(place: Path) -> None:
    assert run(place, "analyze", "in", *TOY, "--jsonl", "traced.jsonl", under=traced(place)) == []
    assert asked(place / "trace.txt") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*FAST, *SLOW) if name != "analyze"])
def test_the_others_ask_nobody(name: str, place: Path) -> None:
    needs(name)
    assert run(place, *(FAST | SLOW)[name], under=traced(place)) == []
    assert asked(place / "trace.txt") == []


@pytest.mark.slow
def test_a_cluster_talks_to_itself_alone(place: Path) -> None:
    """Ray's processes speak to each other by this machine's own address; what a name server would be asked is what must
    not be there."""
    pytest.importorskip("ray.data")
    assert run(place, *RAY, under=traced(place)) == []
    # Ray learns this machine's address from a datagram socket that is pointed at a public one: the kernel answers, and
    # no packet leaves.
    pointed = re.compile(r'connect\((\d+), .*htons\(53\), sin_addr=inet_addr\("8\.8\.8\.8"\)')
    lines = (place / "trace.txt").read_text("utf-8", "replace").splitlines()
    for at, line in enumerate(lines):
        if (found := pointed.search(line)) is not None:
            process = line.split()[0]
            after = [other for other in lines[at + 1 :] if other.split()[0] == process][:1]
            assert f"getsockname({found[1]}," in after[0], "asked for its own address and nothing else"
    spoken = [line for line in asked(place / "trace.txt") if pointed.search(line) is None]
    own = {re.search(r'inet_addr\("([0-9.]+)"\)', line)[1] for line in spoken if "inet_addr" in line}  # type: ignore[index]
    assert len(own) <= 1
    assert not [line for line in spoken if "htons(53)" in line or "htons(443)" in line or "htons(80)" in line]


@pytest.mark.slow
def test_a_server_asks_nobody(place: Path) -> None:
    pytest.importorskip("fastapi")
    home = place / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    command = [*traced(place), sys.executable, "-m", "lineament", "serve", *TOY, "--port", "0", "--threads", "1"]
    child = subprocess.Popen(command, cwd=place, env=environment(home), stderr=subprocess.PIPE, text=True)
    try:
        assert child.stderr is not None
        url = next(found[0] for line in child.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        for path in ("", "healthz", "readyz", "metrics", "v1/model"):
            assert urlopen(url + path, timeout=60).status == 200
    finally:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGTERM)
        child.wait(60)
    assert left_in(home) == []
    assert asked(place / "trace.txt") == []


@pytest.mark.slow
def test_training_and_exporting_ask_nobody(place: Path) -> None:
    pytest.importorskip("torch")
    from lineament.data.synthetic import make
    from lineament.data.synthetic_files import write_official
    from tests.e2e.test_journey import config

    release = write_official(place / "release", make(20))
    data = {"layout": "official", "path": str(release), "split": "train", "holdout": 0, "cache": str(place / "cache")}
    made = config(place, "toy", data=data)
    assert run(place, "train", "--config", str(made), "--out", "run", "--quiet", under=traced(place)) == []
    assert asked(place / "trace.txt") == []
    assert run(place, "export", "run", "--out", "trained.onnx", under=traced(place)) == []
    assert asked(place / "trace.txt") == []
