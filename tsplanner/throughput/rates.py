"""Rates of a machine: the share of the datasheet that real steps reach, with provenance."""

from __future__ import annotations

from dataclasses import field, replace
from functools import lru_cache

from memory_models.device import Device, LinkType, Machine
from memory_models.frozen import frozen
from memory_models.settings import Quantization

CPU_FLOPS_PER_CORE = 25e9
"""Assumed fp32 operations per second of one core in eager PyTorch; a probe corrects them."""
CPU_BYTES_PER_SECOND = 10e9
CPU_SECONDS_PER_TENSOR = 20e-6
"""Assumed time of Python and dispatch around one operation of a small model."""
DEFAULT_FLOPS = 100e12
DEFAULT_BANDWIDTH = 500e9
LINK_BYTES_PER_SECOND = {LinkType.NVLINK: 200e9, LinkType.PCIE: 12e9}
HOST_LINK_BYTES_PER_SECOND = 12e9
DISK_READ_BYTES_PER_SECOND = 2e9
"""Assumed rate of reads from an NVMe disk through a mapped file."""
HOST_ADAM_BYTES_PER_SECOND = 10e9
"""Assumed bytes of weights, gradients and states that a host's optimizer handles per second."""

DISK_WRITE_BYTES_PER_SECOND = 1e9
"""Assumed rate of writing a checkpoint into the system's cache and on to the disk."""


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
    compile_seconds: float = 0.8
    """Of the first evaluation and step under compiled kernels, while Triton compiles or reads what
    it compiled before. Fitted on every second of 17 packed runs of 0.5B to 7B on an H200; the
    eight others are then off by 6.2 % at the median (2026-11-29)."""
    row_attention_seconds: float = 500e-6
    """Of attention within packed rows per layer, forward or backward, beyond that of padded rows:
    torch's kernel for them is reached through Python. Fitted with ``compile_seconds``."""
    recorded_layer_seconds: float = 270e-6
    """Of a streamed step per layer and pass, before the GPU has anything to do: the model's own
    forward runs through its layers once per pass to find out what they are called with. From a 14B,
    streamed with 48 and with 40 layers, and resident in the same call, on one H200 (2026-11-30):
    0.29 and 0.26 ms. It was 0.78 while Trainer visited every module twice a pass."""
    streamed_layer_seconds: float = 2.1e-3
    """Of issuing per layer and pass of a streamed step, beyond its tensors: the model's forward
    runs on behind the layers, and every layer is called alone, run again and followed by a backward
    of its own, with copies of its input and of a piece of the next layer. Most of that is in
    backward, where all of it is counted. Fitted with ``recorded_layer_seconds`` on two runs of 1.5B
    at 4,096 tokens on one H200 (2026-11-30) that wait for the host and for no link; 50 steps at 512
    tokens, read afterwards, are then off by 5 %. Beside these a resident step took 1.1 ms less, so
    that about 1.8 of all 2.9 ms are what running a layer again costs without streaming as well,
    which resident forecasts do not have (28 % too fast there); on one CPU core 0.9 ms are."""
    gathered_layer_seconds: float = 700e-6
    """Of FSDP2's hooks around a layer whose frozen weights processes share out, per pass through
    it: forward, the forward that runs again, and backward. From 8B and 1.5B at 2,048 tokens, which
    wait for the host, by FSDP2 and by DDP on two H200s (2026-11-30): 0.8 and 0.58 ms, once the rest
    of the step is put at what it took."""
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
            compile_seconds=self.compile_seconds * factor,
            row_attention_seconds=self.row_attention_seconds * factor,
            recorded_layer_seconds=self.recorded_layer_seconds * factor,
            streamed_layer_seconds=self.streamed_layer_seconds * factor,
            gathered_layer_seconds=self.gathered_layer_seconds * factor,
            reduce_seconds=self.reduce_seconds * factor,
        )


@frozen
class Links:
    """Bytes per second in one direction."""

    between_gpus: float
    host: float
    """Between GPU and host, through DeepSpeed's hooks."""
    pinned: float = HOST_LINK_BYTES_PER_SECOND
    """Of a copy from locked host memory."""
    disk: float = DISK_READ_BYTES_PER_SECOND
    """Of reads from the disk of the model's files, by all processes together."""
    gathered: float = float("inf")
    """Of layers that FSDP2 gathers, by which they take from the work beside them."""
    within_machine: float | None = None
    """Between GPUs of one of several machines; None: as ``between_gpus``."""


@frozen
class EightBitFlops:
    """Operations per second of 8-bit matrix products, where the base is in such a form."""

    fp8: float
    int8: float

    def of(self, form: Quantization | None) -> float:
        """Those of a form of the base."""
        return self.int8 if form is Quantization.W8A8 else self.fp8


@frozen
class CompiledShares:
    """Seconds under compiled kernels over those that the other constants give.

    Source: bf16 steps of 8B at 512 and 2,048 tokens and of 14B at 4,096 on one H200
    (``benchmarks/data/measurements/beside_peers_*_h200_2026-11-29.json``): within 5 %.
    """

    matrix: float = 0.90
    """Of matrix products: their adapters add in kernels that read the results anyway."""
    memory: float = 0.50
    """Of memory traffic: a compiled kernel reads each tensor once."""
    launch: float = 1.8
    """Of issuing, per tensor: fewer tensors, each made by more Python. One pass of 64 tokens of 8B
    took 0.178 s under compiled kernels and 0.218 s under fused ones on one host (2026-11-29)."""


@frozen
class LinkShares:
    """Shares of the links' datasheet rates that copies reach."""

    between_gpus: float = 0.70
    host: float = 0.80
    """Of the link to the host, by copies from pinned memory; assumed."""
    pinned: float = 0.87
    """Of the link to the host, by copies of whole layers from locked memory: 55 GB/s of 63 over
    PCIe 5.0 x16, in one prototype on an H200 (2026-11-29)."""
    host_limit: float = 25e9
    """Bytes per second at which a process fetches offloaded weights through DeepSpeed's hooks,
    however fast the link is: 25 GB/s over PCIe 5.0 in one run of two processes (2026-11-23)."""
    gathers: float = 16.0
    """Number of times that FSDP2's gathered bytes cross memory at the datasheet's bandwidth: what
    the gathers take from the work beside them, while the link brings them behind it. From 8B at
    8,192 tokens a pass, with and without checkpoints, by FSDP2 and by DDP on two H200s with NVLink
    (2026-11-30): 13 and 18."""


@frozen
class EightBitShares:
    """Rates of 8-bit products over that of half-precision ones, in whole steps.

    Their rows are rounded and, in backward, their matrix is transposed, which belongs to them.
    """

    fp8: float = 1.60
    """From three steps of 8B and 14B on one H200 (beside_peers_512_2, _2048_2 and _14b_2 of
    2026-12-01): two within 1 %, one of 8,192 tokens 8 % too long, as its bf16 step is; alone, large
    row-wise products reach 1.93."""
    int8_measured: float = 1.0
    """On the generations whose steps were measured: alone, ``torch._int_mm`` reached 1.06 on one
    H200 (2026-11-29), and its sums are scaled afterwards."""
    int8: float = 1.40
    """On other cards; assumed, and never measured. Their datasheets have 2 to 4."""


@frozen
class Rates:
    """Work of one process per second, as measured in training steps."""

    matrix_flops: float
    """Operations per second of half-precision (GPU) or fp32 (CPU) matrix products."""
    eight_bit: EightBitFlops
    written_bytes: float
    """Bytes of new tensors per second; the time to read them later is included."""
    memory_bytes: float
    """Bytes per second that the optimizer's step reads or writes."""
    links: Links
    compiled: CompiledShares = CompiledShares(matrix=1.0, memory=1.0, launch=1.0)
    host: HostSeconds
    host_adam_bytes: float
    """Bytes per second that an offloaded optimizer handles on the host."""
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
    eight_bit: EightBitShares = EightBitShares()
    compiled: CompiledShares = CompiledShares()
    passes: float = 3.03
    """Number of times that a tensor's bytes cross memory at the datasheet's bandwidth."""
    memory: float = 0.80
    links: LinkShares = LinkShares()
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


@lru_cache(maxsize=1024)
def rates_of(machine: Machine, efficiency: Efficiency = MEASURED, *, on_cpu: bool = False) -> Rates:
    """Rates of the machine's slowest GPU, or of its CPU if it has none."""
    if on_cpu or not machine.devices:
        return _cpu_rates(machine, efficiency)
    device = min(machine.devices, key=_flops)
    link = machine.link_bytes_per_second or LINK_BYTES_PER_SECOND[machine.link or LinkType.PCIE]
    within = machine.within_bytes_per_second
    work, launch = efficiency.work_factor, efficiency.launch_factor
    bandwidth = (device.memory_bytes_per_second or DEFAULT_BANDWIDTH) / work
    host_link = device.host_link_bytes_per_second or HOST_LINK_BYTES_PER_SECOND
    flops, shares = _flops(device) * efficiency.matrix / work, efficiency.links
    measured = device.compute_capability[0] in efficiency.generations
    return Rates(
        matrix_flops=flops,
        eight_bit=_eight_bit(flops, efficiency, measured=measured),
        written_bytes=bandwidth / efficiency.passes,
        memory_bytes=bandwidth * efficiency.memory,
        links=Links(
            between_gpus=link * shares.between_gpus / work,
            host=min(host_link * shares.host, shares.host_limit) / work,
            # A probe's factor is that of the arithmetic; the link is as fast as it is.
            pinned=min(_copied(each, machine, shares) for each in machine.devices),
            disk=machine.host.disk_read_bytes_per_second or DISK_READ_BYTES_PER_SECOND,
            gathered=bandwidth / shares.gathers,
            within_machine=within and within * shares.between_gpus / work,
        ),
        compiled=efficiency.compiled,
        host=efficiency.host.times(launch),
        host_adam_bytes=HOST_ADAM_BYTES_PER_SECOND / work,
        basis=efficiency.basis,
        known_error=efficiency.known_error,
        measured=measured,
    )


def _copied(device: Device, machine: Machine, shares: LinkShares) -> float:
    """Bytes per second of copies of whole layers to a GPU, while all GPUs of a machine copy.

    Measured, or the share of the datasheet's rate that copies reach, divided among the GPUs behind
    one PCIe switch. GPUs that reach each other over PCIe use those lanes to the host as well.
    """
    used, copies = len(machine.devices), device.host_copies
    if copies is not None:
        return copies.to_device if used == 1 else copies.shared
    stated = device.host_link_bytes_per_second or HOST_LINK_BYTES_PER_SECOND
    between = machine.within_bytes_per_second or machine.link_bytes_per_second
    if used > 1 and machine.link is LinkType.PCIE and between:
        stated = min(stated, between)
    return stated * shares.pinned / min(used, device.uplink_gpus)


def _eight_bit(flops: float, efficiency: Efficiency, *, measured: bool) -> EightBitFlops:
    shares = efficiency.eight_bit
    int8 = shares.int8_measured if measured else shares.int8
    return EightBitFlops(fp8=flops * shares.fp8, int8=flops * int8)


def _cpu_rates(machine: Machine, efficiency: Efficiency) -> Rates:
    """Assumed rates of the host's cores; a probe corrects them."""
    slower = efficiency.work_factor
    probed = slower != 1.0
    flops = CPU_FLOPS_PER_CORE * machine.host.cpu_count / slower
    return Rates(
        matrix_flops=flops,
        # On a CPU the same 8-bit values are multiplied in fp32.
        eight_bit=EightBitFlops(fp8=flops, int8=flops),
        written_bytes=CPU_BYTES_PER_SECOND / slower / efficiency.passes,
        memory_bytes=CPU_BYTES_PER_SECOND / slower,
        links=Links(
            between_gpus=CPU_BYTES_PER_SECOND,
            host=CPU_BYTES_PER_SECOND,
            pinned=CPU_BYTES_PER_SECOND,
            disk=machine.host.disk_read_bytes_per_second or DISK_READ_BYTES_PER_SECOND,
        ),
        host=replace(efficiency.host, launch_seconds_per_tensor=CPU_SECONDS_PER_TENSOR).times(
            slower
        ),
        host_adam_bytes=CPU_BYTES_PER_SECOND / slower,
        issue_overlaps=False,
        basis=efficiency.basis if probed else "assumed CPU rates, not measured here",
        known_error=efficiency.known_error,
    )


def _flops(device: Device) -> float:
    return device.matrix_flops_per_second or DEFAULT_FLOPS
