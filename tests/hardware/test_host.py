"""The host as this process may use it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from tsplanner.hardware.cgroup import CgroupLimits
from tsplanner.hardware.host import disk_free_bytes, read_host, system_memory

MIB = 1024**2


def test_host_without_limits_is_the_machine(tmp_path: Path) -> None:
    """With no control group in the way the whole memory and every core count."""
    host = read_host(tmp_path, CgroupLimits())
    assert host.total_bytes == psutil.virtual_memory().total
    assert 0 < host.available_bytes <= host.total_bytes
    assert 1 <= host.cpu_count <= (os.cpu_count() or 1)
    assert host.memory_limited_by == "host"


def test_host_is_as_small_as_its_control_group(tmp_path: Path) -> None:
    """A container's limit is the machine's size, and what its group holds is not available."""
    limits = CgroupLimits(
        memory_bytes=512 * MIB, memory_available_bytes=100 * MIB, memory_version="cgroup v2"
    )
    host = read_host(tmp_path, limits)
    assert host.total_bytes == 512 * MIB
    assert host.available_bytes == 100 * MIB
    assert host.memory_limited_by == "cgroup v2"


def test_a_limit_above_the_machine_limits_nothing(tmp_path: Path) -> None:
    """A group may promise more than there is."""
    limits = CgroupLimits(
        memory_bytes=2**59, memory_available_bytes=2**59, memory_version="cgroup v1"
    )
    host = read_host(tmp_path, limits)
    assert host.total_bytes == psutil.virtual_memory().total
    assert host.memory_limited_by == "host"


def test_cpu_quota_rounds_down_but_leaves_one_core(tmp_path: Path) -> None:
    """Half a core is still one thread."""
    assert read_host(tmp_path, CgroupLimits(cpus=0.5)).cpu_count == 1
    assert read_host(tmp_path, CgroupLimits(cpus=1.9)).cpu_count == 1


def test_disk_of_a_folder_that_is_not_there_yet_is_its_parents(tmp_path: Path) -> None:
    """Runs are saved in folders that do not exist before the first one."""
    free = disk_free_bytes(tmp_path / "saves" / "model")
    assert free is not None
    assert free > 0


def test_memory_is_what_the_system_says(tmp_path: Path) -> None:
    """Kibibytes in Linux's file; where there is no such file, psutil asks the system."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  2048 kB\nMemFree:  1 kB\nMemAvailable:  512 kB\nHugePages: 0\n")
    assert system_memory(meminfo) == (2048 * 1024, 512 * 1024)
    total = psutil.virtual_memory().total
    for text in ("", "MemTotal: 5 kB\n", "MemTotal:\nMemAvailable:\n", "what is this"):
        meminfo.write_text(text)
        assert system_memory(meminfo)[0] == total
    assert system_memory(tmp_path / "absent")[0] == total
