"""What the processor is called and whether its 8-bit arithmetic is exact."""

from __future__ import annotations

import platform
from pathlib import Path

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

    Convention: x86 without VNNI adds pairs of 16-bit products with saturation, which changes answers; ARM does not. Where the processor
    cannot be asked (x86 without /proc/cpuinfo) the answer is no.
    """
    machine = platform.machine() if machine is None else machine
    if machine.lower() in ("arm64", "aarch64"):
        return True
    flags = next((line.split(":", 1)[1].split() for line in _lines(cpuinfo) if line.startswith(("flags", "Features"))), [])
    return bool(_EXACT_FLAGS & set(flags))


def _lines(cpuinfo: Path) -> list[str]:
    try:
        return cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
