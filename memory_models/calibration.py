"""Measured constants, in one record with their provenance; no other file holds a measured one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from memory_models.frozen import frozen
from memory_models.units import GIB, MIB


@frozen
class Margin:
    """Bytes beyond an estimate for one recipe class, as a share of ``allocator.margin_scale``."""

    expected: float
    """Median share over measured cases."""
    # Fitted ones are 98th percentiles: formulas look better on the runs that corrected them, and
    # margins of the 97th percentile covered only 95.7 % of the held-out runs.
    upper: float
    """Conformal upper share: 95 % of cases stay under it."""
    floor_bytes: int = 0
    """Bytes that the bound adds at any scale."""


DISTRIBUTED_BYTES: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "alone": MappingProxyType({1: 0}),
        "ddp": MappingProxyType({2: 846 * MIB, 3: 1066 * MIB}),
        "zero": MappingProxyType({1: 948 * MIB, 2: 1334 * MIB, 3: 1554 * MIB}),
        "zero-3": MappingProxyType({1: 558 * MIB, 2: 1044 * MIB, 3: 1264 * MIB}),
    }
)
"""Process bytes minus reserved bytes minus ``context_bytes``, by number of processes. One and two
processes: measured (29 runs, 2 MiB apart). Three and more: NCCL's tree needs a connection to a
second child, assumed as 24 channels of 9.2 MiB (4 MiB, 4.7 and 0.5: ``NCCL_BUFFSIZE``,
``NCCL_LL128_BUFFSIZE``, ``NCCL_LL_BUFFSIZE``)."""
DISTRIBUTED_SPREAD_BYTES: Mapping[int, int] = MappingProxyType({1: 0, 2: 0, 3: 512 * MIB})
"""More than two processes were not measured; NVLink multicast's buffers are some hundred MiB."""
HOST_DISTRIBUTED_BYTES: Mapping[str, int] = MappingProxyType(
    {"alone": 0, "ddp": 180 * MIB, "zero": 380 * MIB, "zero-3": 265 * MIB}
)
"""Beyond one process alone. Measured host bytes per process: 1.83 to 1.98 GiB under DDP, 2.11 to
2.23 under ZeRO-1 and 2, 2.03 under ZeRO-3."""


@frozen
class DeviceConstants:
    """Bytes on a GPU outside the tensors."""

    workspace_bytes: Mapping[int, int]
    """cuBLAS workspaces inside the allocator, by major compute capability."""
    context_bytes: Mapping[int, int]
    """Process bytes minus reserved bytes of one process, by major compute capability."""
    measured_generations: frozenset[int]
    """Major compute capabilities that were measured; the other ones are assumed."""
    flex_spilled_bytes: Mapping[int, int] = field(
        default=MappingProxyType({0: 0, 128: 60 * MIB, 256: 390 * MIB})
    )
    """Memory of registers that flex_attention's kernels spill, which CUDA sets aside for all
    threads of the GPU at once, by head size. 16 runs on one H200 (`flex_h200_2026-12-01.json`,
    `flex_runs_h200_2026-12-01.json`, `flex_families_h200_2026-12-01.json`): 38 to 60 MiB at 128,
    382 to 394 at 256, with a soft cap, none at 64."""
    context_spread_bytes: int = 16 * MIB
    """Half-width of the 95 % interval of ``context_bytes``."""
    distributed_bytes: Mapping[str, Mapping[int, int]] = field(
        default_factory=lambda: DISTRIBUTED_BYTES
    )
    """Bytes of NCCL and DeepSpeed outside the allocator, beyond ``context_bytes``, by
    ``Sharding.kind`` and number of processes (3: three and more)."""
    distributed_spread_bytes: Mapping[int, int] = field(
        default_factory=lambda: DISTRIBUTED_SPREAD_BYTES
    )
    """Half-width of the 95 % interval of ``distributed_bytes``, by number of processes."""
    unmeasured_widening: float = 1.05
    """Factor on upper bounds for a GPU generation that was not measured."""


@frozen
class HostConstants:
    """Resident bytes of a training process on the host besides model data."""

    host_runtime_bytes: int = 1820 * MIB
    """Resident bytes of one process without model data.

    Cold starts on the H200 took 1.6 to 2.0 GiB. 18 streamed runs, whose other bytes are counted,
    took 1.70 to 1.81 (streaming_bytes_1_h200_2026-11-30.json).
    Ignores: pages that reading a checkpoint maps.
    """
    host_distributed_bytes: Mapping[str, int] = field(
        default_factory=lambda: HOST_DISTRIBUTED_BYTES
    )
    """Bytes of one of several processes beyond ``host_runtime_bytes``, by ``Sharding.kind``."""
    host_runtime_spread_bytes: int = GIB
    cpu_runtime_bytes: int = 700 * MIB
    """Training on the CPU: resident bytes before the model is built."""
    cpu_activation_upper: float = 1.6
    """Training on the CPU: upper bound over estimate of the tensors' resident bytes under libc."""


@frozen
class Margins:
    """Margins of three predictions, each by recipe class."""

    allocated: Mapping[str, Margin]
    """Allocated bytes that the formula misses, by recipe class."""
    reserved: Mapping[str, Margin]
    """Fragmentation and rounding beyond allocated bytes, by recipe class."""
    replayed: Mapping[str, Margin]
    """Reserved bytes that the replay (``allocator/replay.py``) misses, by replay class."""
    unplaced_logits: Margin = Margin(expected=0.7, upper=1.1)
    """Reserved bytes beyond the replay of the plain loss on reference kernels and growing segments,
    as a share of one half-precision copy of the logits: 0.41 to 1.0 of it in six runs of 2B to 14B
    on an H200 (2026-11-23 and 2026-11-29)."""


@frozen
class Calibration:
    """Constants that only a measurement gives; ``provenance`` names the measurement."""

    provenance: str
    device: DeviceConstants
    margins: Margins
    host: HostConstants = field(default_factory=HostConstants)
    device_factor: float = 1.0
    """Measured over estimated process bytes in probes on this machine."""
    notes: tuple[str, ...] = field(default=())


DEFAULT = Calibration(
    provenance="constants measured on one H200, torch 2.11, transformers 5.17 (2026-11-22)",
    device=DeviceConstants(
        # 7: 8.1 MiB a handle by cuBLAS's documentation, two handles; 9: seen on the H200.
        workspace_bytes=MappingProxyType({7: 16 * MIB, 8: 17 * MIB, 9: 64 * MIB}),
        # 9: median of 403 cases; the others are assumed and said to be.
        context_bytes=MappingProxyType({7: 400 * MIB, 8: 500 * MIB, 9: 758 * MIB}),
        measured_generations=frozenset({9}),
    ),
    margins=Margins(
        # benchmarks/accuracy/memory.py --fit on benchmarks/data/measurements/memory_*.json
        allocated=MappingProxyType(
            {
                "adapter-plain-checkpointed-fused": Margin(expected=0.0, upper=0.065),
                "adapter-plain-checkpointed-plain": Margin(expected=0.0, upper=0.052),
                "adapter-plain-kept-fused": Margin(expected=0.0, upper=0.030),
                "adapter-plain-kept-plain": Margin(expected=0.0, upper=0.022),
                "adapter-quantized-checkpointed-fused": Margin(expected=0.0, upper=0.008),
                "adapter-quantized-checkpointed-plain": Margin(expected=0.0, upper=0.019),
                "adapter-quantized-kept-plain": Margin(expected=0.0, upper=0.013),
                "default": Margin(expected=0.0, upper=0.052),
                "weights-plain-checkpointed-fused": Margin(expected=0.0, upper=0.048),
                "weights-plain-checkpointed-plain": Margin(expected=0.0, upper=0.062),
                "weights-plain-kept-fused": Margin(expected=0.0, upper=0.058),
                "weights-plain-kept-plain": Margin(expected=0.0, upper=0.004),
            }
        ),
        reserved=MappingProxyType(
            {
                "adapter-plain-checkpointed-fused": Margin(expected=0.137, upper=0.705),
                "adapter-plain-checkpointed-plain": Margin(expected=0.212, upper=0.558),
                "adapter-plain-kept-fused": Margin(expected=0.035, upper=0.135),
                "adapter-plain-kept-plain": Margin(expected=0.085, upper=0.365),
                "adapter-quantized-checkpointed-fused": Margin(expected=0.130, upper=0.190),
                "adapter-quantized-checkpointed-plain": Margin(expected=0.203, upper=0.449),
                "adapter-quantized-kept-plain": Margin(expected=0.081, upper=0.213),
                "default": Margin(expected=0.158, upper=0.486),
                "expandable-adapter-checkpointed": Margin(expected=0.045, upper=0.170),
                "expandable-adapter-kept": Margin(expected=0.005, upper=0.100),
                "expandable-weights-checkpointed": Margin(expected=0.045, upper=0.190),
                "expandable-weights-kept": Margin(expected=0.045, upper=0.100),
                "expandable-packed-checkpointed": Margin(expected=0.045, upper=0.190),
                "expandable-packed-kept": Margin(expected=0.045, upper=0.140),
                "expandable-gathered": Margin(expected=0.188, upper=0.30, floor_bytes=1536 * MIB),
                "expandable-sharded": Margin(expected=0.045, upper=0.190, floor_bytes=GIB),
                "gathered": Margin(expected=0.188, upper=0.30, floor_bytes=512 * MIB),
                "sharded-adapter": Margin(expected=0.153, upper=0.220),
                "sharded-weights": Margin(expected=0.237, upper=0.830),
                "weights-plain-checkpointed-fused": Margin(expected=0.208, upper=0.508),
                "weights-plain-checkpointed-plain": Margin(expected=0.183, upper=0.700),
                "weights-plain-kept-fused": Margin(expected=0.108, upper=0.486),
                "weights-plain-kept-plain": Margin(expected=0.111, upper=0.270),
            }
        ),
        replayed=MappingProxyType(
            {
                "adapter-checkpointed": Margin(expected=0.0, upper=0.162),
                "adapter-kept": Margin(expected=0.0, upper=0.061),
                "default": Margin(expected=0.0, upper=0.153),
                "expandable-adapter-checkpointed": Margin(expected=0.000, upper=0.060),
                "expandable-adapter-kept": Margin(expected=0.000, upper=0.020),
                "expandable-weights-checkpointed": Margin(expected=0.000, upper=0.060),
                "expandable-weights-kept": Margin(expected=0.000, upper=0.020),
                # 22 packed runs of 0.5B to 7B on an H200 (2026-11-29): at most 0.06 of kept ones.
                "expandable-packed-checkpointed": Margin(expected=0.000, upper=0.100),
                "expandable-packed-kept": Margin(expected=0.000, upper=0.080),
                # Not fitted: three runs of two processes with growing segments missed by -0.3, +0.7
                # and, under ZeRO-3, +1.6 GiB (measurements/chatts_h200x2_2026-11-23.json).
                "expandable-gathered": Margin(expected=0.0, upper=0.12, floor_bytes=1536 * MIB),
                "expandable-sharded": Margin(expected=0.0, upper=0.060, floor_bytes=GIB),
                # Gathered parameters leave holes of nearly the same bytes in small and large runs,
                # so most of this margin is a floor.
                "gathered": Margin(expected=0.0, upper=0.12, floor_bytes=384 * MIB),
                "weights-checkpointed": Margin(expected=0.0, upper=0.275),
                "weights-kept": Margin(expected=0.0, upper=0.081),
            }
        ),
    ),
)
