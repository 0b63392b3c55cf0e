"""What a trace asks for and what it says. No torch in here: the parent process reads these."""

from __future__ import annotations

from dataclasses import dataclass, field

from memory_models.settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Which model: its decoded config.json, and where it lies if its own code is to be run."""

    config: dict[str, object]
    folder: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """One case to trace."""

    subject: Subject
    settings: TrainingSettings
    workspace_bytes: int = 0
    """cuBLAS workspaces, which live in the allocator from the first product on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """Tensors of one kind, operator, shape and dtype that are alive at the peak."""

    kind: str
    origin: str
    count: int
    bytes: int
    """All of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Memory of a training step, as a GPU's allocator would see it. Bytes of one rank."""

    parameters_total: int
    """Elements of the base model."""
    parameters_trainable: int
    persistent_bytes: int
    """Weights, adapters, optimizer states, buffers and workspaces, from the second step on."""
    peak_allocated_bytes: int
    """Blocks in use at their highest, in the steady state."""
    peak_reserved_bytes: int
    """Segments at their highest, by replaying the steps through a simulated caching allocator."""
    peak_instant: str
    """forward, backward or step."""
    components: dict[str, int]
    """Bytes at the peak, by kind."""
    alive: tuple[Alive, ...] = field(default=())
    """The largest groups of tensors at the peak."""
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOutcome:
    """A trace, or one sentence about why there is none."""

    trace: Trace | None = None
    error: str = ""
