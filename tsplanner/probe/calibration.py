"""The point that a finished probe adds to what was measured on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

from tsplanner import runs
from tsplanner.planner.devices import used_machine
from tsplanner.planner.gather.probe_points import (
    ProbeFigures,
    ProbePoint,
    kind_of,
    shapes_digest,
    store,
)
from tsplanner.planner.packing import probed_settings
from tsplanner.planner.plan import Plan
from tsplanner.throughput.own_factor import own_factor
from tsplanner.throughput.rates import MEASURED, Efficiency, rates_of
from tsplanner.throughput.step_parts import StepTime
from tsplanner.throughput.step_time import step_time
from tsplanner.training.record import Record


def step_seconds(record: Record) -> float | None:
    """Median optimizer step after the warm-up; None if there was none."""
    timed = record.timing.step_seconds[record.timing.warmup_steps :]
    return statistics.median(timed) if timed else None


def probe_point(plan: Plan, record: Record, *, now: float | None = None) -> ProbePoint:
    """The point that a finished probe of ``plan`` adds."""
    memory, hardware = plan.memory, plan.hardware
    predicted, seconds = probed_step_time(plan), step_seconds(record)
    return ProbePoint(
        kind=kind_of(shapes_digest(plan.architecture), plan.machine, plan.learning, hardware),
        batch=hardware.batch,
        sequence_length=plan.sequence_length,
        host_name=plan.machine.name,
        model=plan.model.name,
        predicted=ProbeFigures(
            allocated_bytes=memory.peak_allocated_bytes.expected,
            reserved_bytes=memory.peak_reserved_bytes.expected,
            # The point keeps the plain prediction, or the next correction would multiply this one.
            process_bytes=round(memory.process_bytes.expected / plan.corrections.memory_factor),
            step_seconds=predicted.seconds,
        ),
        measured=ProbeFigures(
            allocated_bytes=record.memory.peak_allocated_bytes,
            reserved_bytes=record.memory.peak_reserved_bytes,
            process_bytes=record.memory.process_bytes,
            step_seconds=seconds,
        ),
        bound_by_launch=predicted.bound_by_launch,
        baseline_bytes=record.memory.baseline_bytes,
        # A worker that ended badly left none; it ran in this installation.
        versions=record.versions or runs.versions(),
        unix_time=time.time() if now is None else now,
        own_factor=own_factor(predicted, seconds) if seconds and predicted.exposed else None,
    )


def probed_step_time(plan: Plan, efficiency: Efficiency = MEASURED) -> StepTime:
    """Predicted seconds of the step that a probe of ``plan`` runs: the longest batch."""
    lengths, longest = plan.dataset.lengths, plan.sequence_length
    settings = probed_settings(plan.learning, plan.hardware, lengths, longest)
    machine = used_machine(plan.machine, plan.hardware)
    on_cpu = plan.hardware.accelerator == "cpu"
    return step_time(plan.architecture, settings, rates_of(machine, efficiency, on_cpu=on_cpu))


def note_shortage(plan: Plan, record: Record, path: Path | None = None) -> ProbePoint | None:
    """Keep what a worker held when it ran out of memory, if that is more than was predicted.

    The worker would have needed more still, so the point can only raise a later estimate. A worker
    that held less lost its memory to other processes, and says nothing about the plan. The seconds
    are left out, because the steps of a trial are not the steps of a probe.
    """
    if (record.memory.process_bytes or 0) <= plan.memory.process_bytes.expected:
        return None
    point = probe_point(plan, record)
    point = replace(point, measured=replace(point.measured, step_seconds=None), own_factor=None)
    store(point, path)
    return point
