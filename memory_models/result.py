"""The result of an estimate: the four quantities, their parts and their assumptions."""

from __future__ import annotations

from dataclasses import field

from memory_models.frozen import frozen


@frozen
class Interval:
    """An expected value and its 95 % upper bound, in bytes."""

    expected: int
    upper: int


@frozen
class Component:
    """One named part of the peak."""

    name: str
    bytes: int
    """Bytes of one process at the peak."""


@frozen
class MemoryEstimate:
    """The four quantities of one process (host bytes: of the machine) and the peak's parts."""

    peak_allocated_bytes: Interval
    peak_reserved_bytes: Interval
    process_bytes: Interval
    host_bytes: Interval
    parameters_total: int
    parameters_trainable: int
    components: tuple[Component, ...]
    """Parts of ``process_bytes.expected``; the sum of the parts is that value."""
    peak_instant: str
    """The phase of the step at which memory peaks, a value of ``StepPhase``."""
    assumptions: tuple[str, ...] = field(default=())
