"""Threads: affinity, cgroup quotas of both versions, schedulers, worker processes."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from lineament.runtime.processor import int8_is_exact
from lineament.runtime.threads import available_cpus, cgroup_quota, default_threads

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
        ("0::/job/step\n", {"cpu.max": "400000 100000", "job/cpu.max": "50000 100000", "job/step/cpu.max": "max 100000"}, 0.5),
        ("0::/job\n", {}, None),
        ("4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n", {f"{V1}/cpu.cfs_quota_us": "300000", f"{V1}/cpu.cfs_period_us": "100000"}, 3.0),
        ("4:cpu,cpuacct:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
    ],
)  # fmt: skip
def test_quota_of_both_cgroup_versions(tmp_path: Path, membership: str, files: dict[str, str], quota: float | None) -> None:
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
