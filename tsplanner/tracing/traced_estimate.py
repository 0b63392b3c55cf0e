"""From a trace to a MemoryEstimate, the same record that the formulas give."""

from __future__ import annotations

from memory_models.bounds.process import by_generation, major_of, process_interval
from memory_models.calibration import DEFAULT, Calibration
from memory_models.device import Device
from memory_models.result import Component, Interval, MemoryEstimate
from memory_models.rounding import LARGE_STEP
from memory_models.units import round_up
from tsplanner.tracing.records import Trace

ALLOCATED_MARGIN = 0.01
RESERVED_MARGIN = 0.05
"""Shares of a trace's peaks by which the upper bounds lie above the peaks.

Provenance: benchmarks/accuracy/traced.py on 40 runs and on 56 held-out ones (allocated worst 0.4
and 0.3 %, reserved 4.5 and 3.7 %), 2026-11-22.
"""


def workspace_bytes(device: Device | None, calibration: Calibration = DEFAULT) -> int:
    """Bytes of the cuBLAS workspaces, by the generation of the device."""
    return by_generation(calibration.device.workspace_bytes, major_of(device))


def traced_estimate(
    trace: Trace,
    device: Device | None = None,
    calibration: Calibration = DEFAULT,
    *,
    paged: int = 0,
) -> MemoryEstimate:
    """The four quantities of one process from a trace.

    Context, libraries and host bytes are added as in the formulas. ``paged``: bytes of optimizer
    states in managed memory, which are no tensor storage and so are not in the trace.
    """
    context = by_generation(calibration.device.context_bytes, major_of(device))
    outside = Interval(expected=context, upper=context + calibration.device.context_spread_bytes)
    allocated = Interval(
        expected=trace.peak_allocated_bytes,
        upper=round(trace.peak_allocated_bytes * (1 + ALLOCATED_MARGIN)),
    )
    reserved = Interval(
        expected=trace.peak_reserved_bytes,
        upper=round_up(round(trace.peak_reserved_bytes * (1 + RESERVED_MARGIN)), LARGE_STEP),
    )
    process = process_interval(reserved, outside, paged, major_of(device), calibration)
    return MemoryEstimate(
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        process_bytes=process,
        host_bytes=Interval(
            expected=calibration.host.host_runtime_bytes,
            upper=calibration.host.host_runtime_bytes + calibration.host.host_runtime_spread_bytes,
        ),
        parameters_total=trace.parameters_total,
        parameters_trainable=trace.parameters_trainable,
        components=_components(trace, process.expected, context),
        peak_instant=trace.peak_instant,
        assumptions=_assumptions(trace, device, calibration),
    )


def _components(trace: Trace, process: int, outside: int) -> tuple[Component, ...]:
    """Parts of the process's bytes at the traced peak, which add up to ``process``."""
    parts = [*trace.components.items(), ("context and libraries", outside)]
    parts.append(("fragmentation", process - sum(size for _, size in parts)))
    return tuple(Component(name=name, bytes=size) for name, size in parts if size)


def _assumptions(trace: Trace, device: Device | None, calibration: Calibration) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in trace.versions.items())
    found = [
        f"traced in {trace.seconds:.0f} s with {versions}; reserved bytes by a simulated allocator",
        *trace.notes,
        "every sequence at full length",
        calibration.provenance,
    ]
    if device is None:
        found.append("no device named: process bytes as on an H200")
    elif device.compute_capability[0] not in calibration.device.measured_generations:
        found.append(f"process overhead not measured on {device.name}")
    return tuple(found)
