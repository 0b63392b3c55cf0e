"""The machine that a plan is for: this one, or one that the user describes."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from memory_models.device import Machine
from memory_models.units import GIB
from tsplanner.errors import UsageError
from tsplanner.hardware.describe import (
    DESCRIBED_PACKAGES,
    KNOWN_PACKAGES,
    assumed_host,
    described_host,
    described_link,
    machine_name,
    parse_gpus,
    read_machine_file,
)
from tsplanner.hardware.gpus.instances import instance_by_name
from tsplanner.hardware.host import read_host
from tsplanner.hardware.host_copies import with_copies
from tsplanner.install import compiles_triton, installed_version

if TYPE_CHECKING:
    from tsplanner.hardware.nvml import NvmlReading

FLEX_TORCH = (2, 6)
"""From here on flex_attention's masks by blocks know a length that is not one of whole blocks."""


def detect_machine(folder: Path = Path(), reading: NvmlReading | None = None) -> Machine:
    """This machine: the GPUs as the driver reports them now, the host as this process may use it.

    ``folder`` is where runs are saved, so its disk counts; ``reading`` replaces that of the driver.
    Raises nothing and imports no training library.
    """
    if reading is None:
        from tsplanner.hardware.nvml import read_nvml  # a described machine needs no driver

        reading = read_nvml()
    host, devices = read_host(folder), with_copies(reading.devices)
    return Machine(
        name=machine_name(devices, host),
        devices=devices,
        host=host,
        link=reading.link.kind if reading.link else None,
        link_bytes_per_second=reading.link.bytes_per_second if reading.link else None,
        packages=found_packages(),
    )


def machine_for(
    gpus: str | None,
    machine_file: str | None,
    folder: Path = Path(),
    host_memory_bytes: int | None = None,
) -> Machine:
    """The machine to plan for: this one, the one of ``--gpus``, or that of a machine file.

    Of ``gpus`` nothing is taken from this computer: RAM, cores and packages are those that are
    assumed of a described machine. ``host_memory_bytes`` states the RAM of any of them. Raises
    UsageError if both descriptions are given, and for what ``parse_gpus`` and
    ``read_machine_file`` refuse.
    """
    if gpus is not None and machine_file is not None:
        raise UsageError("--gpus and --machine describe the same thing: give one of them")
    if machine_file is not None:
        machine = read_machine_file(Path(machine_file))
    elif gpus is not None:
        machine = _described(gpus)
    else:
        machine = detect_machine(folder)
    return machine if host_memory_bytes is None else with_host_memory(machine, host_memory_bytes)


def _described(gpus: str) -> Machine:
    """The machine of these GPUs, of which nothing else is known, or a machine that clouds rent."""
    devices, rented = parse_gpus(gpus), instance_by_name(gpus)
    if rented is None:
        host = assumed_host(devices)
    else:
        host = described_host(rented.ram_gib * GIB, rented.cpu_count)
    link = described_link(devices)
    return Machine(
        name=machine_name(devices, host) if rented is None else rented.name,
        devices=devices,
        host=host,
        link=link.kind if link else None,
        link_bytes_per_second=link.bytes_per_second if link else None,
        packages=DESCRIBED_PACKAGES,
        detected=False,
    )


def with_host_memory(machine: Machine, memory_bytes: int) -> Machine:
    """The machine with so much RAM, as somebody says; its cores and its disk stay."""
    host = described_host(memory_bytes, machine.host.cpu_count)
    return replace(machine, host=replace(host, disk_free_bytes=machine.host.disk_free_bytes))


def found_packages() -> tuple[str, ...]:
    """Names of the optional packages that are installed; none of them is imported.

    Triton counts where it can compile, and flex_attention with it where torch is new enough.
    """
    here = {name for name in KNOWN_PACKAGES if is_found(name)} - {"triton"}
    if is_found("triton") and compiles_triton():
        here.add("triton")
        if installed_version("torch") >= FLEX_TORCH:
            here.add("flex_attention")
    return tuple(name for name in KNOWN_PACKAGES if name in here)


def is_found(name: str) -> bool:
    """Whether a module could be imported; the module is not imported."""
    if name in sys.modules:
        # ``find_spec`` raises ValueError for a loaded module without a spec; None blocks a module.
        return sys.modules[name] is not None
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
