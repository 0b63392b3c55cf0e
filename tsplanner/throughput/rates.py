"""Rates of a machine: what share of the datasheet a real step reaches, with provenance."""

from __future__ import annotations

from dataclasses import dataclass

from memory_models.device import Device, LinkType, Machine

CPU_FLOPS_PER_CORE = 25e9
"""fp32 multiply-adds of one core in eager PyTorch, assumed; a probe replaces it."""
CPU_BYTES_PER_SECOND = 10e9
CPU_SECONDS_PER_LINEAR = 400e-6
"""Python and dispatch around one linear of a small model, forward and backward, assumed."""
DEFAULT_FLOPS = 100e12
DEFAULT_BANDWIDTH = 500e9
LINK_BYTES_PER_SECOND = {LinkType.NVLINK: 200e9, LinkType.PCIE: 12e9}
HOST_LINK_BYTES_PER_SECOND = 12e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one rank does in a second, as a step really sees it."""

    matrix_flops: float
    """Half-precision (GPU) or fp32 (CPU) matrix products."""
    memory_bytes: float
    link_bytes: float
    """Between GPUs, one direction."""
    host_bytes: float
    """Between GPU and host, one direction."""
    launch_seconds_per_linear: float
    """Host time to issue a linear's share of kernels, forward and backward."""
    basis: str
    relative_error: float
    issue_overlaps: bool = True
    """A GPU works while the host issues the next kernels; a CPU does both itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of datasheet rates that training steps reached.

    Source: ``benchmarks/step_times.py --fit`` on benchmarks/measurements/.
    """

    matrix: float = 0.42
    memory: float = 0.80
    link: float = 0.70
    launch_seconds_per_linear: float = 650e-6
    time_factor: float = 1.0
    """Measured over predicted step seconds of this machine's own probes."""
    relative_error: float = 0.35
    """Half-width of the 95 % interval before any probe."""
    basis: str = "datasheet rates, efficiencies fitted on 10 steps of one H200 (2026-11-22)"


MEASURED = Efficiency()


def rates_of(machine: Machine, efficiency: Efficiency = MEASURED, *, on_cpu: bool = False) -> Rates:
    """Rates of the machine's slowest GPU, or of its CPU if it has none."""
    if on_cpu or not machine.devices:
        return _cpu_rates(machine, efficiency)
    device = min(machine.devices, key=_flops)
    link = machine.link_bytes_per_second or LINK_BYTES_PER_SECOND[machine.link or LinkType.PCIE]
    slower = efficiency.time_factor
    return Rates(
        matrix_flops=_flops(device) * efficiency.matrix / slower,
        memory_bytes=(device.memory_bytes_per_second or DEFAULT_BANDWIDTH)
        * efficiency.memory
        / slower,
        link_bytes=link * efficiency.link / slower,
        host_bytes=(device.host_link_bytes_per_second or HOST_LINK_BYTES_PER_SECOND)
        * efficiency.link
        / slower,
        launch_seconds_per_linear=efficiency.launch_seconds_per_linear * slower,
        basis=efficiency.basis,
        relative_error=efficiency.relative_error,
    )


def _cpu_rates(machine: Machine, efficiency: Efficiency) -> Rates:
    """Assumed rates of the host's cores; a probe corrects them."""
    slower = efficiency.time_factor
    probed = slower != 1.0
    return Rates(
        matrix_flops=CPU_FLOPS_PER_CORE * machine.host.cpu_count / slower,
        memory_bytes=CPU_BYTES_PER_SECOND / slower,
        link_bytes=CPU_BYTES_PER_SECOND,
        host_bytes=CPU_BYTES_PER_SECOND,
        launch_seconds_per_linear=CPU_SECONDS_PER_LINEAR * slower,
        issue_overlaps=False,
        basis=efficiency.basis if probed else "assumed CPU rates, not measured here",
        relative_error=efficiency.relative_error if probed else 0.7,
    )


def _flops(device: Device) -> float:
    return device.matrix_flops_per_second or DEFAULT_FLOPS
