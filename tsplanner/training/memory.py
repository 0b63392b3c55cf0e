"""Peaks of memory, as reported by the allocator, the driver and the kernel."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import psutil
import torch

from memory_models.frozen import frozen
from tsplanner.training.streaming.regions import bytes_of_others, locked_bytes

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Text that on Linux resets the peak of resident bytes to the current value."""


@frozen
class Peaks:
    """Peak bytes of this process; those of a device are None on the CPU."""

    allocated: int | None
    reserved: int | None
    process: int | None
    host: int | None
    pinned: int | None
    retries: int


def resident_bytes() -> int:
    """Current resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Most resident bytes since the last reset on Linux; elsewhere the current resident bytes."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resident_bytes()


def pinned_bytes() -> int | None:
    """Most bytes of page-locked host memory that PyTorch held; None if PyTorch does not say."""
    try:
        return int(torch.cuda.host_memory_stats()["allocated_bytes.peak"])
    except (AttributeError, KeyError, RuntimeError):
        return None


def _locked_by_all() -> int | None:
    """Most bytes that PyTorch and streamed layers locked; None if neither locked or says any."""
    own, of_torch = locked_bytes() - bytes_of_others(), pinned_bytes()
    return own + of_torch if of_torch is not None else own or None


class MemoryMeter:
    """Follows the peaks of one job, over loading and training.

    The meter must be made before CUDA starts, so that the growth of the device's used memory
    includes the CUDA context.
    """

    def __init__(self, *, cuda: bool) -> None:
        self.cuda = cuda
        self._driver_before = driver_bytes()[0] if cuda else None
        self._load = (0, 0)
        reset_resident_peak()
        self.baseline_bytes = resident_bytes()

    def end_of_load(self, *, from_file: bool = True) -> None:
        """Keep the peaks of loading, and start to count the peaks of training.

        Peaks of building random weights are not kept. Real runs load weights from a file, and
        random weights hold a tied head twice for a moment.
        """
        if self.cuda:
            if from_file:
                self._load = self._allocator()
            # Segments that only loading needed would else stay reserved and count for training.
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> Peaks:
        """The peaks so far, the larger ones of loading and training."""
        # Memory that several processes map counts in each of them, and is one process's own.
        host = max(0, peak_resident_bytes() - bytes_of_others())
        if not self.cuda:
            return Peaks(
                allocated=None, reserved=None, process=host, host=host, pinned=None, retries=0
            )
        if not torch.cuda.is_initialized():
            return Peaks(
                allocated=None, reserved=None, process=None, host=host, pinned=None, retries=0
            )
        allocated, reserved = self._allocator()
        reserved = max(reserved, self._load[1])
        # NVML knows no peak, so what lies outside now is added to the peak of the allocator.
        outside = max(0, self._process_bytes() - torch.cuda.memory_reserved())
        return Peaks(
            allocated=max(allocated, self._load[0]),
            reserved=reserved,
            process=reserved + outside,
            host=host,
            pinned=_locked_by_all(),
            retries=int(torch.cuda.memory_stats().get("num_alloc_retries", 0)),
        )

    def _allocator(self) -> tuple[int, int]:
        return int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved())

    def _process_bytes(self) -> int:
        """Current bytes that the driver charges to this process.

        NVML reports them by process id, except in a container with its own pid namespace. There the
        growth of the device's used memory since the start is used, which also counts changes by
        other processes.
        """
        used, own = driver_bytes()
        if own is not None:
            return own
        if used is None or self._driver_before is None:
            free, total = torch.cuda.mem_get_info()
            return int(total - free)
        return max(0, used - self._driver_before)


class Unmetered(MemoryMeter):
    """The meter of one of several trials in a process, whose share of the peaks is not known."""

    def __init__(self) -> None:
        self.cuda = True  # with False the recorder would report resident bytes

    def peaks(self) -> Peaks:
        """Peaks without any value."""
        return Peaks(allocated=None, reserved=None, process=None, host=None, pinned=None, retries=0)


def driver_bytes() -> tuple[int | None, int | None]:
    """Used bytes of this process's device, and the part of this process; None if not available.

    They are read through NVML, which does not start a CUDA context.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # without a driver or without the library there is no answer
        return None, None
    try:
        handle = _handle(pynvml)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        own = [p.usedGpuMemory for p in processes if p.pid == os.getpid() and p.usedGpuMemory]
        return used, int(own[0]) if own else None
    except pynvml.NVMLError:
        return None, None
    finally:
        pynvml.nvmlShutdown()


def _handle(pynvml: Any) -> Any:
    """NVML's handle of the CUDA device LOCAL_RANK.

    CUDA_VISIBLE_DEVICES may hold indices or UUIDs; NVML ignores it.
    """
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = visible[rank] if rank < len(visible) else str(rank)
    if name.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name.encode())


def reset_resident_peak() -> None:
    """Forget the peak of the imports, if the kernel allows a reset."""
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text(RESET_PEAK)


def limit_allocator(device: torch.device, limit_bytes: int | None) -> None:
    """Make the CUDA allocator refuse more than ``limit_bytes``, as on a smaller card."""
    if limit_bytes is None or device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)
