"""Rates of a machine: the share of the datasheet that real steps reach, with provenance."""

from __future__ import annotations

from dataclasses import field, replace

from memory_models.device import Device, LinkType, Machine
from memory_models.frozen import frozen

CPU_FLOPS_PER_CORE = 25e9
"""Assumed fp32 operations per second of one core in eager PyTorch; a probe corrects them."""
CPU_BYTES_PER_SECOND = 10e9
CPU_SECONDS_PER_TENSOR = 20e-6
"""Assumed time of Python and dispatch around one operation of a small model."""
DEFAULT_FLOPS = 100e12
DEFAULT_BANDWIDTH = 500e9
LINK_BYTES_PER_SECOND = {LinkType.NVLINK: 200e9, LinkType.PCIE: 12e9}
HOST_LINK_BYTES_PER_SECOND = 12e9
PINNED_LINK_SHARE = 0.87
"""Share of the link to the host that copies of whole layers from locked memory reach: 55 GB/s of 63
over PCIe 5.0 x16, in one prototype on an H200 (2026-11-29)."""
HOST_ADAM_BYTES_PER_SECOND = 10e9
"""Assumed bytes of weights, gradients and states that a host's optimizer handles per second."""


@frozen
class HostSeconds:
    """Host time around the work of a GPU, in seconds."""

    launch_seconds_per_tensor: float = 37e-6
    """To issue the kernels that make one tensor."""
    step_seconds: float = 0.050
    """Per optimizer step: clipping, scheduler, logging."""
    multi_lora_step_seconds: float = 0.011
    """Per step of one multi-LoRA trial, whose loop runs without Trainer: clipping, fused AdamW and
    zeroing of 504 tensors of 64 elements on one CPU core (2026-11-23); not measured with a GPU."""
    gather_seconds: float = 750e-6
    """Of ZeRO-3's hooks per module with weights and per pass: 0.71, 0.77 and 0.86 ms in three runs
    on two H200s (2026-11-23)."""
    new_width_seconds: float = 0.03
    """Until cuBLAS has chosen kernels for the products of a micro-batch of a new width, forward and
    backward: 0.02 to 0.06 s in five runs of 0.5B to 8B on an H200 (2026-11-29)."""
    first_step_seconds: float = 1.3
    """Of the first evaluation and step beyond the usual ones, while CUDA loads its kernels: 0.6 to
    1.6 s in the same runs."""
    reduce_seconds: float = 500e-6
    """Of ZeRO-1 and ZeRO-2 per trained tensor, which overlaps with nothing: from two runs of one
    model under ZeRO-2 on two H200s (2026-11-23)."""

    def times(self, factor: float) -> HostSeconds:
        """The times of a host that takes ``factor`` times as long."""
        return HostSeconds(
            launch_seconds_per_tensor=self.launch_seconds_per_tensor * factor,
            step_seconds=self.step_seconds * factor,
            multi_lora_step_seconds=self.multi_lora_step_seconds * factor,
            gather_seconds=self.gather_seconds * factor,
            new_width_seconds=self.new_width_seconds * factor,
            first_step_seconds=self.first_step_seconds * factor,
            reduce_seconds=self.reduce_seconds * factor,
        )


@frozen
class HostRates:
    """Bytes per second between a GPU and the host, and on the host."""

    offloaded: float
    """In one direction, through DeepSpeed's hooks."""
    streamed: float
    """In one direction, of copies of whole layers from locked memory."""
    adam: float
    """That an offloaded optimizer handles on the host."""


@frozen
class Rates:
    """Work of one process per second, as measured in training steps."""

    matrix_flops: float
    """Operations per second of half-precision (GPU) or fp32 (CPU) matrix products."""
    eight_bit_flops: float
    """Operations per second of 8-bit matrix products, where the base is in such a form."""
    written_bytes: float
    """Bytes of new tensors per second; the time to read them later is included."""
    memory_bytes: float
    """Bytes per second that the optimizer's step reads or writes."""
    link_bytes: float
    """Bytes per second between GPUs, in one direction."""
    host: HostSeconds
    to_host: HostRates
    basis: str
    known_error: float | None = None
    """Half-width of the 95 % interval where it is known, as a share: of a step that was probed, or
    of the plan that this one comes from; None: by what the step waits for."""
    measured: bool = False
    """Whether steps of a GPU of this generation were measured."""
    issue_overlaps: bool = True
    """Whether work overlaps with issuing: a GPU works while the host issues; a CPU does both."""


@frozen
class Efficiency:
    """Shares of datasheet rates that training steps reached.

    Source: ``benchmarks/accuracy/step_times.py --fit`` on benchmarks/data/measurements/.
    """

    matrix: float = 0.56
    """Share of the dense datasheet rate."""
    eight_bit: float = 1.83
    """Rate of 8-bit products over that of half-precision ones: 1,402 over 765 TFLOP/s of large
    row-wise e4m3 and bf16 products on one H200 (2026-11-29), where the datasheet has 2. Other cards
    and int8 were not measured; int8 of GeForce cards is 4 on the datasheet."""
    passes: float = 3.03
    """Number of times that a tensor's bytes cross memory at the datasheet's bandwidth."""
    memory: float = 0.80
    link: float = 0.70
    host_link: float = 0.80
    """Share of the link to the host that copies from pinned memory reach, assumed."""
    host_link_limit: float = 25e9
    """Bytes per second at which a process fetches offloaded weights through DeepSpeed's hooks,
    however fast the link is: 25 GB/s over PCIe 5.0 in one run of two processes (2026-11-23)."""
    host: HostSeconds = field(default_factory=HostSeconds)
    work_factor: float = 1.0
    """Measured / predicted seconds of the GPU's work, from this machine's own probes."""
    launch_factor: float = 1.0
    """Measured / predicted seconds of steps that wait for the host to issue kernels."""
    known_error: float | None = None
    """Half-width of the 95 % interval where it is known, as a share: of a step that was probed, or
    of the plan that this one comes from; None: by what the step waits for."""
    generations: frozenset[int] = frozenset({9})
    """Major compute capabilities whose steps were measured."""
    basis: str = "datasheet rates, efficiencies fitted on steps of one H200 (2026-11-23)"


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
        eight_bit_flops=_flops(device) * efficiency.matrix * efficiency.eight_bit / work,
        written_bytes=bandwidth / efficiency.passes,
        memory_bytes=bandwidth * efficiency.memory,
        link_bytes=link * efficiency.link / work,
        to_host=HostRates(
            offloaded=min(host_link * efficiency.host_link, efficiency.host_link_limit) / work,
            # A probe's factor is that of the arithmetic; the link is as fast as it is.
            streamed=host_link * PINNED_LINK_SHARE,
            adam=HOST_ADAM_BYTES_PER_SECOND / work,
        ),
        host=efficiency.host.times(launch),
        basis=efficiency.basis,
        known_error=efficiency.known_error,
        measured=device.compute_capability[0] in efficiency.generations,
    )


def _cpu_rates(machine: Machine, efficiency: Efficiency) -> Rates:
    """Assumed rates of the host's cores; a probe corrects them."""
    slower = efficiency.work_factor
    probed = slower != 1.0
    return Rates(
        matrix_flops=CPU_FLOPS_PER_CORE * machine.host.cpu_count / slower,
        # On a CPU the same 8-bit values are multiplied in fp32.
        eight_bit_flops=CPU_FLOPS_PER_CORE * machine.host.cpu_count / slower,
        written_bytes=CPU_BYTES_PER_SECOND / slower / efficiency.passes,
        memory_bytes=CPU_BYTES_PER_SECOND / slower,
        link_bytes=CPU_BYTES_PER_SECOND,
        to_host=HostRates(
            offloaded=CPU_BYTES_PER_SECOND,
            streamed=CPU_BYTES_PER_SECOND,
            adam=CPU_BYTES_PER_SECOND / slower,
        ),
        host=replace(efficiency.host, launch_seconds_per_tensor=CPU_SECONDS_PER_TENSOR).times(
            slower
        ),
        issue_overlaps=False,
        basis=efficiency.basis if probed else "assumed CPU rates, not measured here",
        known_error=efficiency.known_error,
    )


def _flops(device: Device) -> float:
    return device.matrix_flops_per_second or DEFAULT_FLOPS
