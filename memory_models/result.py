"""What an estimate says: the four quantities, their parts and their assumptions."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An expected value and its 95 % upper bound, in bytes."""

    expected: int
    upper: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One named part of the peak."""

    name: str
    bytes: int
    """Bytes per rank at the instant of the peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """The four quantities, per rank (host bytes: per machine), and what they are made of."""

    peak_allocated_bytes: Interval
    peak_reserved_bytes: Interval
    process_bytes: Interval
    host_bytes: Interval
    parameters_total: int
    parameters_trainable: int
    components: tuple[Component, ...]
    """Parts of process_bytes.expected; they add up to it."""
    peak_instant: str
    """Where the peak is: load, forward, loss, backward or step."""
    assumptions: tuple[str, ...] = field(default=())
