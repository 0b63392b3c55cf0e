"""Cards of described speed, and a rig of any number of them."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import Device, Host, LinkType, Machine

GIB = 1024**3
TURING = Device(
    name="RTX 2080 Ti",
    total_bytes=22 * GIB,
    free_bytes=21 * GIB,
    compute_capability=(7, 5),
    matrix_flops_per_second=54e12,
    memory_bytes_per_second=616e9,
    host_link_bytes_per_second=12e9,
)
AMPERE = replace(TURING, name="A100", compute_capability=(8, 0))
HOPPER = replace(
    TURING, name="H200", matrix_flops_per_second=989e12, memory_bytes_per_second=4.8e12
)


def machine(*devices: Device) -> Machine:
    """A rig of these cards."""
    host = Host(total_bytes=64 * GIB, available_bytes=60 * GIB, cpu_count=8)
    link = LinkType.PCIE if len(devices) > 1 else None
    return Machine(name="rig", devices=devices, host=host, link=link)
