"""Threads: affinity, cgroup quotas of both versions, schedulers, worker processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_model import write_toy_model

from lineament.runtime.threads import available_cpus, cgroup_quota, default_threads, int8_is_exact, slurm_cpus

V1 = "cpu,cpuacct/docker/abc"
HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup(tmp_path: Path, membership: str, files: dict[str, str]) -> dict[str, Path]:
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return {"proc_cgroup": tmp_path / "membership", "root": tmp_path / "fs"}


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/job/step\n", {"cpu.max": "400000 100000", "job/cpu.max": "50000 100000",
        "job/step/cpu.max": "max 100000"}, 0.5),
        ("0::/job\n", {}, None),
        ("4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n",
        {f"{V1}/cpu.cfs_quota_us": "300000", f"{V1}/cpu.cfs_period_us": "100000"}, 3.0),
        ("4:cpu,cpuacct:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
    ],
)  # fmt: skip
def test_quota_of_both_cgroup_versions(
    tmp_path: Path, membership: str, files: dict[str, str], quota: float | None
) -> None:
    assert cgroup_quota(**cgroup(tmp_path, membership, files)) == quota


def test_the_smallest_limit_wins(tmp_path: Path) -> None:
    group = cgroup(tmp_path, "0::/\n", {"cpu.max": "max 100000"})
    where = {"cgroup_root": group["root"], "proc_cgroup": group["proc_cgroup"]}
    assert available_cpus({}, **where) == HERE
    assert available_cpus({"SLURM_CPUS_PER_TASK": "1"}, **where) == 1
    assert available_cpus({"OMP_NUM_THREADS": "1", "SLURM_CPUS_PER_TASK": "64"}, **where) == 1
    assert available_cpus({"OMP_NUM_THREADS": "4,2", "SLURM_CPUS_PER_TASK": ""}, **where) == HERE
    (group["root"] / "cpu.max").write_text("20000 100000")
    assert available_cpus({}, **where) == 1  # a fifth of a CPU still computes


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity masks are Linux's")
def test_affinity_mask_is_seen() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cpus({}) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("environment", "cpus"),
    [
        ({}, None),
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "16"}, 3),
        ({"SLURM_CPUS_ON_NODE": "16"}, 16),
        ({"SLURM_CPUS_ON_NODE": "16", "SLURM_TASKS_PER_NODE": "4"}, 4),
        ({"SLURM_CPUS_ON_NODE": "16", "SLURM_TASKS_PER_NODE": "2(x3),1"}, 8),
        ({"SLURM_CPUS_ON_NODE": "16", "SLURM_TASKS_PER_NODE": "2(x3),1", "SLURM_NODEID": "3"}, 16),
        ({"SLURM_CPUS_ON_NODE": "2", "SLURM_TASKS_PER_NODE": "4"}, 1),
        ({"SLURM_CPUS_ON_NODE": "", "SLURM_TASKS_PER_NODE": "x", "SLURM_NODEID": "?"}, None),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_TASKS_PER_NODE": "x", "SLURM_NODEID": "?"}, 8),
    ],
)
def test_slurms_share_of_a_task(environment: dict[str, str], cpus: int | None) -> None:
    assert slurm_cpus(environment) == cpus


LOADED = """
import os, sys, numpy as np
from lineament.api import load
from lineament.types import Crops
before = len(os.listdir("/proc/self/task"))
model = load(sys.argv[1], runtime=sys.argv[2])
model.network(Crops(np.zeros((6, 3, 218, 178), np.uint8), np.zeros((6, 2, 3), np.float32)))
print(model.threads, len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize(
    ("how", "threads", "runtime"),
    [
        ("cpuset", 1, "onnx"),
        ("cpuset", 1, "openvino"),
        ("SLURM_CPUS_PER_TASK", 1, "onnx"),
        ("OMP_NUM_THREADS", 1, "onnx"),
        ("nothing", HERE, "onnx"),
    ],
)
def test_a_process_starts_no_more_threads_than_it_may_use(how: str, threads: int, runtime: str, tmp_path: Path) -> None:
    """Loaded and run in a process of its own, under each limit: the threads that are there afterwards are counted by
    the system."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    model = write_toy_model(tmp_path / "toy.onnx")
    clean = {
        key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS" and not key.startswith("SLURM_")
    }
    environment = (
        clean | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])} | ({how: "1"} if how.isupper() else {})
    )
    command = [sys.executable, "-c", LOADED, str(model), runtime]
    if how == "cpuset":
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
        if shutil.which("taskset") is None:
            pytest.skip("taskset is not installed")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    stated, started = (int(word) for word in done.stdout.split())
    assert stated == threads
    assert started <= 2 * threads + 2  # workers of the runtime and ours, and what a runtime keeps for itself


def _report(queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    queue.put(default_threads())


def test_a_worker_process_takes_one_thread() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=_report, args=(queue,))
    worker.start()
    try:
        assert queue.get(timeout=60) == 1
    finally:
        worker.join()


@pytest.mark.parametrize(
    ("machine", "flags", "exact"),
    [
        ("x86_64", "sse2 avx2", False),
        ("x86_64", "avx2 avx512_vnni", True),
        ("x86_64", "avx_vnni", True),
        ("aarch64", "", True),
        ("AMD64", None, False),
    ],
)
def test_int8_is_refused_where_it_saturates(tmp_path: Path, machine: str, flags: str | None, exact: bool) -> None:
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(f"processor\t: 0\nmodel name\t: Some\nflags\t\t: {flags}\n")
    assert int8_is_exact(info, machine) is exact
