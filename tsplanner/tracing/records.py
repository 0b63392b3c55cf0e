"""Requests and results of a trace. The parent process reads them, so nothing here imports torch."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from memory_models.frozen import frozen
from memory_models.settings import TrainingSettings


@frozen
class Subject:
    """A model: its decoded config.json, and its folder if the code that it ships may run."""

    config: dict[str, object]
    folder: str | None = None
    trust_remote_code: bool = False


class HybridKernels(StrEnum):
    """The kernels that a trace takes for state-space and linear-attention layers."""

    INSTALLED = "installed"
    """Fused ones of the packages that are installed, transformers' reference for the others."""
    FUSED = "fused"
    REFERENCE = "reference"


@frozen
class TraceRequest:
    """One case to trace."""

    subject: Subject
    settings: TrainingSettings
    workspace_bytes: int = 0
    """Bytes of the cuBLAS workspaces, which the allocator holds from the first product on."""
    hybrid_kernels: HybridKernels = HybridKernels.INSTALLED


@frozen
class Alive:
    """A group of tensors of one kind, operator, shape and dtype that are alive at the peak."""

    kind: str
    origin: str
    count: int
    bytes: int
    """Bytes of the whole group."""


@frozen
class Trace:
    """Memory of a training step, as a GPU's allocator would see it, in bytes of one process."""

    parameters_total: int
    """Number of elements of the base model."""
    parameters_trainable: int
    persistent_bytes: int
    """Weights, adapters, optimizer states, buffers and workspaces, from the second step on."""
    peak_allocated_bytes: int
    """Highest sum of the blocks in use, in the steady state."""
    peak_reserved_bytes: int
    """Highest sum of the segments, from a replay of the steps by a simulated caching allocator."""
    peak_instant: str
    """Phase of the peak: forward, backward or step."""
    components: dict[str, int]
    """Bytes at the peak, by kind."""
    alive: tuple[Alive, ...] = field(default=())
    """The largest groups of tensors at the peak."""
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What the trace took for granted, as clauses."""


@frozen
class TraceOutcome:
    """A trace, or one sentence that says why there is no trace."""

    trace: Trace | None = None
    error: str = ""
