"""RAM, cores and disk of this machine, as this process may use them."""

from __future__ import annotations

import os
from pathlib import Path

from memory_models.device import Host
from tsplanner.hardware.cgroup import CgroupLimits, read_limits

MEMINFO = Path("/proc/meminfo")
KIB = 1024


def read_host(folder: Path = Path(), limits: CgroupLimits | None = None) -> Host:
    """RAM, cores and the free disk space under ``folder``, within the limits of control groups.

    ``limits`` are read from this system unless given. A folder that does not exist yet has the
    space of the nearest folder above it. Raises nothing.
    """
    limits = read_limits() if limits is None else limits
    total, available = system_memory()
    limited = limits.memory_bytes is not None and limits.memory_bytes < total
    if limited and limits.memory_bytes is not None:
        total = limits.memory_bytes
    if limits.memory_available_bytes is not None:
        available = min(available, limits.memory_available_bytes)
    return Host(
        total_bytes=total,
        available_bytes=min(available, total),
        cpu_count=_cpu_count(limits.cpus),
        disk_free_bytes=disk_free_bytes(folder),
        memory_limited_by=limits.memory_version or "host" if limited else "host",
    )


def system_memory(meminfo: Path = MEMINFO) -> tuple[int, int]:
    """Bytes of RAM of the whole system, and those that programs may still take."""
    try:
        found = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, available = (found[name].split()[0] for name in ("MemTotal", "MemAvailable"))
        return int(total) * KIB, int(available) * KIB
    except (OSError, ValueError, KeyError, IndexError):
        # Where Linux says it, its file is read: importing psutil takes a tenth of a whole `plan`.
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)


def disk_free_bytes(folder: Path) -> int | None:
    """Free bytes on the disk that holds ``folder``; None where the system does not say."""
    absolute = folder.absolute()
    for level in (absolute, *absolute.parents):
        if level.is_dir():
            try:
                return _free_bytes(level)
            except OSError:
                return None
    return None


def _free_bytes(folder: Path) -> int:
    if hasattr(os, "statvfs"):
        found = os.statvfs(folder)
        # ``f_bfree`` would count the blocks that the system keeps for root.
        return found.f_bavail * found.f_frsize
    import shutil  # for Windows; it brings every compression library along

    return shutil.disk_usage(folder).free


def _cpu_count(quota: float | None) -> int:
    """Cores that this process may use, at least 1; affinity is known on Linux only."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, cores if quota is None else min(cores, int(quota)))
