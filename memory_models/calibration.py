"""Measured constants, in one record with their provenance. Nothing measured stands elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from memory_models.units import GIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """Bytes beyond an estimate for one recipe class, as a share of ``allocator.margin_scale``."""

    expected: float
    """Median share over measured cases."""
    upper: float
    """Conformal upper share: 95 % of cases stay under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Constants that only a measurement gives. Defaults: see ``provenance``."""

    provenance: str
    workspace_bytes: Mapping[int, int]
    """cuBLAS workspaces inside the allocator, by major compute capability."""
    context_bytes: Mapping[int, int]
    """Driver's view of a training process minus reserved bytes, by major compute capability."""
    measured_generations: frozenset[int]
    """Major compute capabilities that were measured; others are assumed alike."""
    allocated: Mapping[str, Margin]
    """Tensors that the formula misses, by recipe class."""
    reserved: Mapping[str, Margin]
    """Fragmentation and rounding beyond the formula's tensors, by recipe class."""
    replayed: Mapping[str, Margin]
    """What the replayed allocator (``replay.py``) misses of the real one, by replay class."""
    context_spread_bytes: int = 16 * MIB
    """Half-width of the 95 % interval of ``context_bytes``."""
    nccl_bytes: Mapping[int, int] = field(
        default_factory=lambda: MappingProxyType({1: 800 * MIB, 2: 800 * MIB, 3: 800 * MIB})
    )
    """NCCL's buffers outside the allocator, by ranks (3: and more), one communicator.

    560 and 950 MiB were seen with one rank; more ranks are assumed alike.
    """
    host_runtime_bytes: int = 1700 * MIB
    """Resident bytes of a training process on the host besides model data.

    Cold starts on the H200 took 1.6 to 2.0 GiB. Ignores what reading a checkpoint maps for a while.
    """
    host_runtime_spread_bytes: int = GIB
    unmeasured_widening: float = 1.05
    """Factor on upper bounds for a GPU generation that was not measured."""
    cpu_runtime_bytes: int = 700 * MIB
    """Resident bytes of a training process on the CPU before the model is built."""
    cpu_activation_upper: float = 1.6
    """Upper bound over estimate for training on the CPU (resident bytes, allocator of libc)."""
    device_factor: float = 1.0
    """Measured over estimated process bytes of this machine's own probes."""
    notes: tuple[str, ...] = field(default=())


DEFAULT = Calibration(
    provenance="constants measured on one H200, torch 2.11, transformers 5.17 (2026-11-22)",
    # 7: 8.1 MiB a handle by cuBLAS's documentation, two handles; 9: seen on the H200.
    workspace_bytes=MappingProxyType({7: 16 * MIB, 8: 17 * MIB, 9: 64 * MIB}),
    # 9: median of 403 cases; the others are assumed and said to be.
    context_bytes=MappingProxyType({7: 400 * MIB, 8: 500 * MIB, 9: 758 * MIB}),
    measured_generations=frozenset({9}),
    # benchmarks/accuracy.py --fit on benchmarks/measurements/memory_*.json
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
            "expandable-adapter-checkpointed": Margin(expected=0.02, upper=0.10),
            "expandable-adapter-kept": Margin(expected=0.02, upper=0.10),
            "expandable-weights-checkpointed": Margin(expected=0.02, upper=0.10),
            "expandable-weights-kept": Margin(expected=0.02, upper=0.10),
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
            "expandable-adapter-checkpointed": Margin(expected=0.02, upper=0.10),
            "expandable-adapter-kept": Margin(expected=0.02, upper=0.10),
            "expandable-weights-checkpointed": Margin(expected=0.02, upper=0.10),
            "expandable-weights-kept": Margin(expected=0.02, upper=0.10),
            "weights-checkpointed": Margin(expected=0.0, upper=0.275),
            "weights-kept": Margin(expected=0.0, upper=0.081),
        }
    ),
)
