"""The processor: how many threads this process may use, what it is called, whether its 8-bit arithmetic is exact.

Affinity masks, cgroup quotas, batch schedulers and worker processes all have a say in the number of threads.

Convention: a network session runs one face on one thread; parallelism is over faces and photos. So the number found
here is how many threads compute at once, and an answer cannot depend on it.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROC_CGROUP = Path("/proc/self/cgroup")
_REPEATED = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def available_cpus(
    environment: Mapping[str, str] | None = None, *, cgroup_root: Path = CGROUP_ROOT, proc_cgroup: Path = PROC_CGROUP
) -> int:
    """Return the number of CPUs this process may keep busy, at least 1.

    Convention: the smallest of the affinity mask (cpusets, taskset), the cgroup quota (v2 `cpu.max`, v1
    `cpu.cfs_quota_us`; 1.5 CPUs count as 1, because a throttled thread stalls the others), SLURM's share of a task
    (`slurm_cpus`) and `OMP_NUM_THREADS`.

    >>> available_cpus({"OMP_NUM_THREADS": "1"})
    1
    """
    environment = os.environ if environment is None else environment
    limits = [float(_affinity())]
    quota = cgroup_quota(cgroup_root, proc_cgroup)
    if quota is not None:
        limits.append(quota)
    stated = (slurm_cpus(environment), _count(environment.get("OMP_NUM_THREADS")))
    limits += [float(count) for count in stated if count is not None]
    return max(1, int(min(limits)))


def slurm_cpus(environment: Mapping[str, str]) -> int | None:
    """Return the CPUs that SLURM gave to one task of this job on this node; None outside a job.

    Convention: `SLURM_CPUS_PER_TASK` where it was asked for; else the job's CPUs on this node (`SLURM_CPUS_ON_NODE`)
    shared by its tasks here (`SLURM_TASKS_PER_NODE`, written like "2(x3),1", node `SLURM_NODEID`). SLURM does not bind
    tasks to CPUs everywhere.

    >>> slurm_cpus({"SLURM_CPUS_ON_NODE": "16", "SLURM_TASKS_PER_NODE": "4(x2),2", "SLURM_NODEID": "2"})
    8
    """
    asked, here = (_count(environment.get(key)) for key in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"))
    if asked is not None or here is None:
        return asked
    tasks = [
        int(count)
        for count, times in _REPEATED.findall(environment.get("SLURM_TASKS_PER_NODE", ""))
        for _ in range(int(times or 1))
    ]
    node = int(environment.get("SLURM_NODEID", "0")) if environment.get("SLURM_NODEID", "0").isdecimal() else 0
    return max(1, here // max(1, tasks[node] if node < len(tasks) else 1))


def _count(text: str | None) -> int | None:
    """Return a positive number as text, None for anything else."""
    return int(text) if text and text.isdecimal() and int(text) > 0 else None


def default_threads() -> int:
    """Return the threads to use when nobody says: all available CPUs, or 1 inside a worker process, whose siblings want
    the others."""
    import multiprocessing

    return available_cpus() if multiprocessing.parent_process() is None else 1


def cgroup_quota(root: Path = CGROUP_ROOT, proc_cgroup: Path = PROC_CGROUP) -> float | None:
    """Return the tightest CPU quota of this process's cgroup and its parents, in CPUs; None where there is none."""
    quotas = [
        quota
        for folder, version in _cgroup_folders(root, proc_cgroup)
        if (quota := _quota(folder, version)) is not None
    ]
    return min(quotas, default=None)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_folders(root: Path, proc_cgroup: Path) -> list[tuple[Path, int]]:
    """Return (folder, cgroup version) for the own group and each parent up to the mount."""
    try:
        lines = proc_cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    folders: list[tuple[Path, int]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [(root, 2)] if not controllers else [(root / controllers, 1), (root / "cpu", 1)]
        for mount, version in mounts:
            folder = mount / path.lstrip("/")
            folders += [
                (parent, version) for parent in (folder, *folder.parents) if parent == mount or mount in parent.parents
            ]
    return folders


def _quota(folder: Path, version: int) -> float | None:
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


CPUINFO = Path("/proc/cpuinfo")
_EXACT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """Return the processor's name as the system gives it."""
    for line in _lines(cpuinfo):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def int8_is_exact(cpuinfo: Path = CPUINFO, machine: str | None = None) -> bool:
    """Return whether unsigned-by-signed 8-bit products are summed without saturating.

    Convention: x86 without VNNI adds pairs of 16-bit products with saturation, which changes answers; ARM does not.
    Where the processor cannot be asked (x86 without /proc/cpuinfo) the answer is no.
    """
    machine = platform.machine() if machine is None else machine
    if machine.lower() in ("arm64", "aarch64"):
        return True
    flags = next(
        (line.split(":", 1)[1].split() for line in _lines(cpuinfo) if line.startswith(("flags", "Features"))), []
    )
    return bool(_EXACT_FLAGS & set(flags))


def _lines(cpuinfo: Path) -> list[str]:
    try:
        return cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
