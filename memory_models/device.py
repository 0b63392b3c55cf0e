"""A machine: its GPUs, the links between them, and its host."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from functools import cached_property

from memory_models.frozen import frozen


class LinkType(StrEnum):
    """The link between two GPUs of one machine."""

    NVLINK = "nvlink"
    PCIE = "pcie"


@frozen
class DeviceProcess:
    """A process that holds memory on a GPU."""

    pid: int
    name: str
    used_bytes: int | None
    """None: the driver does not report it (containers)."""


@frozen
class HostCopies:
    """Bytes per second of copies between locked host memory and one GPU, as measured."""

    to_device: float
    to_host: float
    shared: float
    """To this GPU while all GPUs of the machine copy at once."""


@frozen
class Device:
    """One GPU, or one MIG slice of a GPU."""

    name: str
    """The driver's name of the GPU, e.g. ``NVIDIA H200``."""
    total_bytes: int
    """Bytes of memory that the driver reports."""
    free_bytes: int
    """Bytes that are free now; for a described GPU, the bytes that are free on an idle one."""
    compute_capability: tuple[int, int]
    matrix_flops_per_second: float | None = None
    """Datasheet rate of dense fp16 and bf16 products in fp32 accumulation; None: unknown."""
    memory_bytes_per_second: float | None = None
    """Datasheet memory bandwidth; None: not known."""
    host_link_bytes_per_second: float | None = None
    """Bandwidth of PCIe (or C2C) to the host in one direction."""
    host_copies: HostCopies | None = None
    """What copies over that link reached; None: not measured."""
    uplink_gpus: int = 1
    """GPUs behind one PCIe switch, this one among them, which share the lanes above it."""
    mig: bool = False
    processes: tuple[DeviceProcess, ...] = field(default=())
    uuid: str | None = None

    @property
    def has_bf16(self) -> bool:
        """Whether bf16 arithmetic is native: compute capability 8.0 (Turing emulates bf16)."""
        return self.compute_capability >= (8, 0)


@frozen
class Host:
    """CPU, RAM and disk of the machine as far as this process may use them (cgroup limits)."""

    total_bytes: int
    """Bytes of RAM, or the cgroup's limit if it is lower."""
    available_bytes: int
    """Bytes of RAM that are available now without swapping, within the cgroup's limit."""
    cpu_count: int
    """Cores that may be used, rounded down from the cgroup's quota, at least 1."""
    disk_free_bytes: int | None = None
    """Free bytes on the disk that runs are saved to; None: not measured."""
    disk_read_bytes_per_second: float | None = None
    """Measured rate of reads from the disk that the model's files are on; None: not measured."""
    memory_limited_by: str = "host"
    """``host``, ``cgroup v1`` or ``cgroup v2``."""
    assumed: bool = False
    """Nobody measured or said how much RAM there is: a rule stands in for it."""


@frozen
class NodeLink:
    """The network between machines."""

    bytes_per_second: float
    """Of one machine with all its adapters, in one direction."""
    assumed: str | None = None
    """Where the figure comes from if nobody stated it; None: somebody did."""

    @property
    def gbit_per_second(self) -> float:
        """The same as networks are sold."""
        return self.bytes_per_second * 8 / 1e9


@frozen
class Machine:
    """The machine that a plan is made for."""

    name: str
    devices: tuple[Device, ...]
    """GPUs; an empty tuple means that training runs on the CPU."""
    host: Host
    link: LinkType | None = None
    """Slowest link among the GPUs; None for fewer than two."""
    link_bytes_per_second: float | None = None
    """Bandwidth of that link in one direction."""
    packages: tuple[str, ...] = field(default=())
    """Optional training packages that are installed (bitsandbytes, deepspeed, flash_attn)."""
    detected: bool = True
    """False: the user described the machine, and nothing was measured."""
    nodes: int = 1
    """Machines like this one that a plan may use together; all else is said of one of them."""
    node_link: NodeLink | None = None
    """What joins the machines; None: there is one."""
    within_bytes_per_second: float | None = None
    """Between GPUs of one machine, where ``link_bytes_per_second`` is the slower network's."""

    @cached_property
    def capability(self) -> tuple[int, int]:
        """The compute capability that all GPUs have."""
        return min(device.compute_capability for device in self.devices)

    @cached_property
    def fullest(self) -> Device:
        """The GPU with the least free memory."""
        return min(self.devices, key=lambda device: device.free_bytes)
