"""What a machine is: its GPUs, the links between them, its host."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class LinkType(StrEnum):
    """How two GPUs of one machine reach each other."""

    NVLINK = "nvlink"
    PCIE = "pcie"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProcess:
    """A process that holds memory on a GPU."""

    pid: int
    name: str
    used_bytes: int | None
    """None where the driver does not say (containers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU (or one MIG slice of it)."""

    name: str
    """As the driver prints it, e.g. ``NVIDIA H200``."""
    total_bytes: int
    """Memory that the driver shows."""
    free_bytes: int
    """Memory that is free now; for a GPU that is not here, what an idle one leaves."""
    compute_capability: tuple[int, int]
    matrix_flops_per_second: float | None = None
    """Dense fp16/bf16 tensor rate with fp32 accumulation, datasheet; None: not known."""
    memory_bytes_per_second: float | None = None
    """Datasheet memory bandwidth; None: not known."""
    host_link_bytes_per_second: float | None = None
    """PCIe (or C2C) bandwidth to the host, one direction."""
    mig: bool = False
    processes: tuple[DeviceProcess, ...] = field(default=())
    uuid: str | None = None

    @property
    def has_bf16(self) -> bool:
        """Native bf16 arithmetic: compute capability 8.0 and later (Turing only emulates it)."""
        return self.compute_capability >= (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine's processor side, as this process may use it (cgroup limits applied)."""

    total_bytes: int
    """RAM, or the cgroup's limit if that is lower."""
    available_bytes: int
    """RAM that can be had now without swapping, within the cgroup's limit."""
    cpu_count: int
    """Cores that may be used, rounded down from the cgroup's quota, at least 1."""
    disk_free_bytes: int | None = None
    """Free space where runs are saved; None: not looked at."""
    memory_limited_by: str = "host"
    """``host``, ``cgroup v1`` or ``cgroup v2``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a plan stands on."""

    name: str
    devices: tuple[Device, ...]
    """GPUs; empty on a machine without one (training runs on the CPU)."""
    host: Host
    link: LinkType | None = None
    """Slowest link among the GPUs; None for fewer than two."""
    link_bytes_per_second: float | None = None
    """Bandwidth of that link, one direction."""
    packages: tuple[str, ...] = field(default=())
    """Optional training packages found here (bitsandbytes, deepspeed, flash_attn)."""
    detected: bool = True
    """False: described by the user, not looked at."""
