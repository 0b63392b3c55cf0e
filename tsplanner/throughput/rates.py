"""Rates of a machine: what share of the datasheet a real step reaches, with provenance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from memory_models.device import Device, LinkType, Machine

CPU_FLOPS_PER_CORE = 25e9
"""fp32 multiply-adds of one core in eager PyTorch, assumed; a probe replaces it."""
CPU_BYTES_PER_SECOND = 10e9
CPU_SECONDS_PER_TENSOR = 20e-6
"""Python and dispatch around one operation of a small model, assumed."""
DEFAULT_FLOPS = 100e12
DEFAULT_BANDWIDTH = 500e9
LINK_BYTES_PER_SECOND = {LinkType.NVLINK: 200e9, LinkType.PCIE: 12e9}
HOST_LINK_BYTES_PER_SECOND = 12e9
HOST_ADAM_BYTES_PER_SECOND = 10e9
"""Weights, gradients and states that a host steps through in a second, assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSeconds:
    """Host time around the work of a GPU, in seconds."""

    launch_seconds_per_tensor: float = 33e-6
    """Issuing what makes one tensor."""
    step_seconds: float = 0.050
    """Around an optimizer step: clipping, scheduler, logging."""
    packed_step_seconds: float = 0.011
    """Around one multi-LoRA trial's step, whose loop has no Trainer around it: clip, fused AdamW
    and zeroing of 504 tensors of 64 elements on one CPU core (2026-11-23); not measured beside a
    GPU."""
    gather_seconds: float = 750e-6
    """ZeRO-3's hooks around one module with weights in one pass: 0.71, 0.77 and 0.86 ms in three
    runs on two H200s (2026-11-23)."""
    reduce_seconds: float = 500e-6
    """ZeRO-1 and 2 for one trained tensor's gradient, which nothing hides: from two runs of one
    model under ZeRO-2 on two H200s (2026-11-23)."""

    def times(self, factor: float) -> HostSeconds:
        """All of them on a host that takes ``factor`` times as long."""
        return HostSeconds(
            launch_seconds_per_tensor=self.launch_seconds_per_tensor * factor,
            step_seconds=self.step_seconds * factor,
            packed_step_seconds=self.packed_step_seconds * factor,
            gather_seconds=self.gather_seconds * factor,
            reduce_seconds=self.reduce_seconds * factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one rank does in a second, as a step really sees it."""

    matrix_flops: float
    """Half-precision (GPU) or fp32 (CPU) matrix products."""
    written_bytes: float
    """Bytes of tensors made in a second, their being read included."""
    memory_bytes: float
    """Bytes read or written in a second by work that only moves them (the optimizer's step)."""
    link_bytes: float
    """Between GPUs, one direction."""
    host_bytes: float
    """Between GPU and host, one direction."""
    host: HostSeconds
    host_adam_bytes: float
    """Bytes that an offloaded optimizer steps through on the host."""
    basis: str
    relative_error: float
    issue_overlaps: bool = True
    """A GPU works while the host issues the next kernels; a CPU does both itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of datasheet rates that training steps reached.

    Source: ``benchmarks/accuracy/step_times.py --fit`` on benchmarks/data/measurements/.
    """

    matrix: float = 0.56
    """Of the dense datasheet rate."""
    passes: float = 3.03
    """Times that a tensor's bytes cross memory at the datasheet's bandwidth."""
    memory: float = 0.80
    link: float = 0.70
    host_link: float = 0.40
    """Of the link to the host, where two ranks fetch offloaded weights at once: 25 GB/s each."""
    host: HostSeconds = field(default_factory=HostSeconds)
    work_factor: float = 1.0
    """Measured over predicted seconds of the GPU's work, of this machine's own probes."""
    launch_factor: float = 1.0
    """The same of steps that are bound by the host's issuing."""
    relative_error: float = 0.35
    """Half-width of the 95 % interval before any probe."""
    basis: str = "datasheet rates, efficiencies fitted on 36 steps of one H200 (2026-11-23)"


MEASURED = Efficiency()


def rates_of(machine: Machine, efficiency: Efficiency = MEASURED, *, on_cpu: bool = False) -> Rates:
    """Rates of the machine's slowest GPU, or of its CPU if it has none."""
    if on_cpu or not machine.devices:
        return _cpu_rates(machine, efficiency)
    device = min(machine.devices, key=_flops)
    link = machine.link_bytes_per_second or LINK_BYTES_PER_SECOND[machine.link or LinkType.PCIE]
    work, launch = efficiency.work_factor, efficiency.launch_factor
    bandwidth = (device.memory_bytes_per_second or DEFAULT_BANDWIDTH) / work
    host_link = device.host_link_bytes_per_second or HOST_LINK_BYTES_PER_SECOND
    return Rates(
        matrix_flops=_flops(device) * efficiency.matrix / work,
        written_bytes=bandwidth / efficiency.passes,
        memory_bytes=bandwidth * efficiency.memory,
        link_bytes=link * efficiency.link / work,
        host_bytes=host_link * efficiency.host_link / work,
        host=efficiency.host.times(launch),
        host_adam_bytes=HOST_ADAM_BYTES_PER_SECOND / work,
        basis=efficiency.basis,
        relative_error=efficiency.relative_error,
    )


def _cpu_rates(machine: Machine, efficiency: Efficiency) -> Rates:
    """Assumed rates of the host's cores; a probe corrects them."""
    slower = efficiency.work_factor
    probed = slower != 1.0
    return Rates(
        matrix_flops=CPU_FLOPS_PER_CORE * machine.host.cpu_count / slower,
        written_bytes=CPU_BYTES_PER_SECOND / slower / efficiency.passes,
        memory_bytes=CPU_BYTES_PER_SECOND / slower,
        link_bytes=CPU_BYTES_PER_SECOND,
        host_bytes=CPU_BYTES_PER_SECOND,
        host=replace(efficiency.host, launch_seconds_per_tensor=CPU_SECONDS_PER_TENSOR).times(
            slower
        ),
        host_adam_bytes=CPU_BYTES_PER_SECOND / slower,
        issue_overlaps=False,
        basis=efficiency.basis if probed else "assumed CPU rates, not measured here",
        relative_error=efficiency.relative_error if probed else 0.7,
    )


def _flops(device: Device) -> float:
    return device.matrix_flops_per_second or DEFAULT_FLOPS
