"""The GPUs of this machine through NVML, which asks the driver without touching CUDA.

A card, a driver or a container may not support a call: a value without an answer is None, and a
machine without a driver has no GPUs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from typing import Any

from memory_models.device import Device, DeviceProcess
from memory_models.frozen import frozen
from tsplanner.hardware.gpus.catalog import Gpu
from tsplanner.hardware.gpus.names import gpu_by_driver_name
from tsplanner.hardware.links import Link, pcie_bytes_per_second, slowest_link
from tsplanner.hardware.peers import links_between, with_uplinks
from tsplanner.hardware.visible import Card, visible_cards, visible_entries

CUDA_LIBRARY = "libcuda.so.1"
NVML_LIBRARY = "libnvidia-ml.so.1"
MIG_COMPUTE_SLICES = 7
"""A GPU that can be sliced has seven compute slices."""


@frozen
class NvmlReading:
    """The answers of the driver."""

    devices: tuple[Device, ...] = field(default=())
    link: Link | None = None
    """Slowest link among the devices; None for fewer than two devices."""
    driver_version: str | None = None
    cuda_version: str | None = None
    """Newest CUDA that the driver runs, such as ``13.0``."""
    reason: str | None = None
    """Why there are no devices, or why one was left out; None where no device is missing."""


class Nvml:
    """NVML, with None for every call that gets no answer."""

    def __init__(self, module: Any) -> None:
        """Wrap ``pynvml``, or another module with its functions and ``NVMLError``."""
        self.module = module

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer of an NVML function; None where card, driver or library lacks the function."""
        try:
            return getattr(self.module, name)(*arguments)
        except (AttributeError, self.module.NVMLError):
            return None

    def text(self, name: str, *arguments: Any) -> str | None:
        """The answer as text; old libraries answer in bytes."""
        answer = self.ask(name, *arguments)
        return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def read_devices(
    nvml: Any = None, environment: Mapping[str, str] | None = None
) -> tuple[Device, ...]:
    """GPUs and MIG slices that CUDA programs started now would see; empty without a driver."""
    return read_nvml(nvml, environment).devices


def read_nvml(nvml: Any = None, environment: Mapping[str, str] | None = None) -> NvmlReading:
    """Everything that the driver says; ``nvml`` replaces ``pynvml``. Raises nothing.

    Ignores: CUDA's own numbering. By default CUDA puts the fastest card first, while NVML goes by
    slot; CUDA_DEVICE_ORDER=PCI_BUS_ID makes both agree on machines with different cards.
    """
    environment = os.environ if environment is None else environment
    if nvml is None:
        # Found out without the slow import of pynvml.
        if not _loads(NVML_LIBRARY):
            return NvmlReading(reason="no NVIDIA driver is installed (libnvidia-ml.so.1 not found)")
        try:
            import pynvml
        except ImportError:
            return NvmlReading(reason="the package nvidia-ml-py is not installed")
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return NvmlReading(reason=f"no NVIDIA driver answers: {error}")
    try:
        return _read(Nvml(nvml), environment)
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def no_gpu_reason(environment: Mapping[str, str] | None = None) -> str | None:
    """Why no program can use a GPU here; None: one may, even where NVML shows none."""
    visible = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible_entries(visible):
        return f'CUDA_VISIBLE_DEVICES="{visible}" hides every GPU'
    return None if _loads(CUDA_LIBRARY) else f"no NVIDIA driver: {CUDA_LIBRARY} is not found"


def _loads(library: str) -> bool:
    """Whether a library of the driver loads; asked on Linux alone, where its name is known."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _read(nvml: Nvml, environment: Mapping[str, str]) -> NvmlReading:
    """The reading of a driver that answers."""
    cards = visible_cards(nvml, environment.get("CUDA_VISIBLE_DEVICES"))
    read = [_device(nvml, card) for card in cards]
    devices = tuple(device for device in read if device is not None)
    if None not in read:
        devices = with_uplinks(nvml, cards, devices)
    return NvmlReading(
        devices=devices,
        # Cards and devices go in pairs, so one card left out would shift the devices behind it.
        link=slowest_link(links_between(nvml, cards, devices)) if None not in read else None,
        driver_version=nvml.text("nvmlSystemGetDriverVersion"),
        cuda_version=_cuda_version(nvml),
        reason=_reason(environment, cards, devices),
    )


def _reason(
    environment: Mapping[str, str], cards: tuple[Card, ...], devices: tuple[Device, ...]
) -> str | None:
    """Why devices are missing; None where none is."""
    if not cards:
        hidden = environment.get("CUDA_VISIBLE_DEVICES")
        if hidden is not None:
            return f'CUDA_VISIBLE_DEVICES="{hidden}" hides every GPU'
        return "the driver shows no GPU"
    if len(devices) < len(cards):
        return "the driver does not say how much memory a GPU has; it was left out"
    return None


def _cuda_version(nvml: Nvml) -> str | None:
    """The CUDA version as people write it; NVML says 1000 x major + 10 x minor."""
    number = nvml.ask("nvmlSystemGetCudaDriverVersion_v2")
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _device(nvml: Nvml, card: Card) -> Device | None:
    """A card or a slice; None where the driver does not say its memory (shared-memory boards)."""
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", card.handle)
    if memory is None:
        return None
    name = nvml.text("nvmlDeviceGetName", card.handle) or "unknown NVIDIA GPU"
    # The catalogue knows whole cards, so a slice is looked up by its parent's name and memory.
    whole = nvml.ask("nvmlDeviceGetMemoryInfo", card.parent) if card.mig else memory
    parent_name = nvml.text("nvmlDeviceGetName", card.parent) or name
    gpu = gpu_by_driver_name(parent_name, int(whole.total)) if whole else None
    compute, share = _shares(nvml, card, memory, whole)
    capability = nvml.ask("nvmlDeviceGetCudaComputeCapability", card.parent)
    if capability is None:
        capability = gpu.compute_capability if gpu else (0, 0)
    return Device(
        name=name,
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        compute_capability=(int(capability[0]), int(capability[1])),
        matrix_flops_per_second=_scaled(gpu.matrix_flops_per_second if gpu else None, compute),
        memory_bytes_per_second=_scaled(gpu.memory_bytes_per_second if gpu else None, share),
        host_link_bytes_per_second=_host_link(nvml, card, gpu),
        mig=card.mig,
        processes=_processes(nvml, card),
        uuid=nvml.text("nvmlDeviceGetUUID", card.handle),
    )


def _scaled(rate: float | None, share: float | None) -> float | None:
    return None if rate is None or share is None else rate * share


def _shares(nvml: Nvml, card: Card, memory: Any, whole: Any) -> tuple[float | None, float | None]:
    """The shares of a card's compute and memory that a slice has; 1 and 1 for a whole card."""
    if not card.mig:
        return 1.0, 1.0
    attributes = nvml.ask("nvmlDeviceGetAttributes", card.handle)
    slices = getattr(attributes, "gpuInstanceSliceCount", None)
    compute = slices / MIG_COMPUTE_SLICES if slices else None
    return compute, int(memory.total) / int(whole.total) if whole else None


def _host_link(nvml: Nvml, card: Card, gpu: Gpu | None) -> float | None:
    """Bandwidth to the host in one direction, bytes per second.

    An idle card falls back to PCIe 1, so the generation is the highest that both card and slot
    support; the number of lanes does not fall back, so the present number counts.
    """
    generation = nvml.ask("nvmlDeviceGetMaxPcieLinkGeneration", card.parent) or nvml.ask(
        "nvmlDeviceGetCurrPcieLinkGeneration", card.parent
    )
    lanes = nvml.ask("nvmlDeviceGetCurrPcieLinkWidth", card.parent) or nvml.ask(
        "nvmlDeviceGetMaxPcieLinkWidth", card.parent
    )
    measured = pcie_bytes_per_second(generation, lanes)
    return measured or (gpu.host_link_bytes_per_second if gpu else None)


def _processes(nvml: Nvml, card: Card) -> tuple[DeviceProcess, ...]:
    """Other processes that hold memory on the card."""
    running = nvml.ask("nvmlDeviceGetComputeRunningProcesses", card.handle) or ()
    return tuple(
        DeviceProcess(
            pid=int(each.pid),
            name=_process_name(int(each.pid)),
            used_bytes=None if each.usedGpuMemory is None else int(each.usedGpuMemory),
        )
        for each in running
        if each.pid != os.getpid()
    )


def _process_name(pid: int) -> str:
    """The name of a process; ``unknown`` for a process outside the container."""
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except (psutil.Error, ValueError, OverflowError):
        return "unknown"
