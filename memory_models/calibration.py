"""Measured constants, in one record with their provenance. Nothing measured stands elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from memory_models.units import GIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How measured bytes lie about the estimate, for one class of recipes."""

    ratio: float
    """Median of measured over estimated."""
    upper: float
    """95th percentile (conformal) of measured over estimated."""


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
    """Measured over estimated allocated bytes, by recipe class."""
    reserved: Mapping[str, Margin]
    """Measured reserved over estimated allocated bytes, by recipe class."""
    context_spread_bytes: int = 128 * MIB
    """Half-width of the 95 % interval of ``context_bytes``."""
    nccl_bytes: int = 800 * MIB
    """NCCL's buffers outside the allocator, two GPUs, one communicator."""
    host_runtime_bytes: int = 3 * GIB
    """Resident bytes of a training process on the host besides model data (CUDA build)."""
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
    provenance="not yet measured",
    workspace_bytes=MappingProxyType(
        {7: 16 * MIB, 8: 17 * MIB, 9: 64 * MIB, 10: 64 * MIB, 12: 64 * MIB}
    ),
    context_bytes=MappingProxyType(
        {7: 400 * MIB, 8: 500 * MIB, 9: 780 * MIB, 10: 780 * MIB, 12: 600 * MIB}
    ),
    measured_generations=frozenset({9}),
    allocated=MappingProxyType({"default": Margin(ratio=1.0, upper=1.05)}),
    reserved=MappingProxyType({"default": Margin(ratio=1.05, upper=1.20)}),
)
