"""Peaks of memory as the allocator, the driver and the kernel saw them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Linux: writing this sets the peak of resident bytes back to what is resident now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Bytes of this process at their peak; the device's are None on the CPU."""

    allocated: int | None
    reserved: int | None
    process: int | None
    host: int | None
    pinned: int | None
    retries: int


def resident_bytes() -> int:
    """Resident bytes of this process now."""
    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Most resident bytes since the last reset (Linux), or what is resident now elsewhere."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resident_bytes()


def pinned_bytes() -> int | None:
    """Most bytes of page-locked host memory that PyTorch held; None where it does not say."""
    try:
        return int(torch.cuda.host_memory_stats()["allocated_bytes.peak"])
    except (AttributeError, KeyError, RuntimeError):
        return None


class MemoryMeter:
    """Follows the peaks of one job; load and training are both part of it.

    Made before CUDA starts, so that the growth of the device's used memory holds the context.
    """

    def __init__(self, *, cuda: bool) -> None:
        self.cuda = cuda
        self._driver_before = driver_bytes()[0] if cuda else None
        self._load = (0, 0)
        reset_resident_peak()
        self.baseline_bytes = resident_bytes()

    def end_of_load(self, *, from_file: bool = True) -> None:
        """Keep the load's peaks and start counting those of training.

        Random weights are not how anybody trains: for a moment they hold a tied head twice, so
        the peaks of building them are not kept.
        """
        if self.cuda:
            if from_file:
                self._load = self._allocator()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> Peaks:
        """The peaks so far, the larger of load and training."""
        host = peak_resident_bytes()
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
        outside = max(0, self._process_bytes() - torch.cuda.memory_reserved())
        return Peaks(
            allocated=max(allocated, self._load[0]),
            reserved=reserved,
            process=reserved + outside,
            host=host,
            pinned=pinned_bytes(),
            retries=int(torch.cuda.memory_stats().get("num_alloc_retries", 0)),
        )

    def _allocator(self) -> tuple[int, int]:
        return int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved())

    def _process_bytes(self) -> int:
        """Bytes the driver charges to this process now.

        NVML knows them by pid, except in containers with their own pid namespace; there the
        growth of the device's used memory since the start stands in (other processes' changes
        would be counted too).
        """
        used, own = driver_bytes()
        if own is not None:
            return own
        if used is None or self._driver_before is None:
            free, total = torch.cuda.mem_get_info()
            return int(total - free)
        return max(0, used - self._driver_before)


class Unmetered(MemoryMeter):
    """For one of several trials in a process: its share of the peaks cannot be told."""

    def __init__(self) -> None:
        self.cuda = True  # so that no resident bytes are reported either

    def peaks(self) -> Peaks:
        """Nothing is known."""
        return Peaks(allocated=None, reserved=None, process=None, host=None, pinned=None, retries=0)


def driver_bytes() -> tuple[int | None, int | None]:
    """Used bytes of this rank's device, and of this process on it; None where not to be had.

    Read through NVML, which starts no CUDA context.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, no library: the answer is the same
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
    """NVML's handle of CUDA device LOCAL_RANK; CUDA_VISIBLE_DEVICES holds indices or UUIDs."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = visible[rank] if rank < len(visible) else str(rank)
    if name.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name.encode())


def reset_resident_peak() -> None:
    """Forget the imports' peak, where the kernel lets us."""
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text(RESET_PEAK)


def limit_allocator(device: torch.device, limit_bytes: int | None) -> None:
    """Make the CUDA allocator refuse more than ``limit_bytes``, as a smaller card would."""
    if limit_bytes is None or device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)
