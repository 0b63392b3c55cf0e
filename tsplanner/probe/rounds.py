"""Rounds of probes within a budget of time: candidates of a plan in, what they did out.

The rounds know nothing of processes: a prober runs plans and returns their records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from memory_models.frozen import frozen
from memory_models.settings import BatchLayout
from tsplanner.datasets.records import LengthSummary
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.gather.refine import PROBED_ERROR
from tsplanner.planner.packing import passes_per_step
from tsplanner.planner.plan import Plan
from tsplanner.planner.probe_selection.corrected_candidates import fitted, measured_interval
from tsplanner.planner.probe_selection.optimistic import best_after_probes, next_round
from tsplanner.planner.probe_selection.step_corrections import (
    Measured,
    Outcome,
    StepFactors,
    corrections_of,
    probed_time,
    time_ratio,
)
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import step_seconds
from tsplanner.training.job import FAILURES, Status
from tsplanner.training.record import Record

ROUND = 3
"""Candidates between two looks at what was measured."""
STEPS = 6
"""Optimizer steps of a probe."""
MICRO_BATCHES = 4
"""Micro-batches that a probe runs of each step at most (`Job.probe_micro_batches`)."""
START_SECONDS = 15.0
"""Imports, the GPU's context and the first kernels of a worker, assumed until one has run."""
LOAD_SECONDS_PER_PARAMETER = 2e-9
"""Two bytes a parameter from a disk of 1 GB/s, assumed until one was loaded."""
BASIS = "measured: probe on this machine"

OUTCOMES = {
    Status.OK: Outcome.OK,
    Status.DEVICE_OOM: Outcome.OOM,
    Status.HOST_OOM: Outcome.HOST_OOM,
    **dict.fromkeys(FAILURES, Outcome.FAILED),
}
"""What a probe that came to its own end says; one that was stopped says nothing."""

Prober = Callable[[Sequence[Plan], float], list[Record]]
"""Runs plans within so many seconds; one record a plan, in their order."""


@frozen
class Probed:
    """A candidate that was run."""

    plan: Plan
    """As it was predicted."""
    record: Record


def search(
    request: PlanRequest,
    evaluated: Sequence[Evaluated],
    prober: Prober,
    budget_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[Probed]:
    """Probe candidates until nobody can win any more or the budget is spent.

    A probe is started only if it should end within the budget, except for the very first. All are
    stopped one probe's time after the budget.
    """
    deadline = clock() + budget_seconds
    overhead = START_SECONDS + request.model.parameters_total * LOAD_SECONDS_PER_PARAMETER
    done: list[Probed] = []
    while wanted := next_round(request, evaluated, measurements(done), ROUND):
        began = clock()
        corrections = corrections_of(request, evaluated, measurements(done))
        costs = [overhead + probe_seconds(request, each, corrections) for each in wanted]
        taken = _affordable(costs, deadline - began) or int(not done)
        if not taken:
            break
        plans = [_plan(request, hardware) for hardware in wanted[:taken]]
        records = prober(plans, max(0.0, deadline - began) + max(costs[:taken]))
        found = [
            Probed(plan=plan, record=record) for plan, record in zip(plans, records, strict=True)
        ]
        done += found
        # A probe is stopped only after the budget is spent, so no further round can begin.
        if any(each.record.status not in OUTCOMES for each in found):
            break
        lengths = request.dataset.lengths
        stepped = sum(
            loop_seconds(lengths, each.plan.hardware.batch, step_seconds(each.record))
            for each in found
        )
        overhead = max(0.0, clock() - began - stepped) / len(found)
    return done


def probe_seconds(
    request: PlanRequest, hardware: HardwareSettings, corrections: StepFactors
) -> float:
    """Expected seconds of a probe's steps."""
    step = corrections.seconds(hardware, probed_time(request, hardware))
    return loop_seconds(request.dataset.lengths, hardware.batch, step.seconds)


def loop_seconds(lengths: LengthSummary, layout: BatchLayout, step: float | None) -> float:
    """Seconds of a probe's steps at so many seconds a whole step; 0 if none was run."""
    if step is None:
        return 0.0
    return STEPS * step * min(1.0, MICRO_BATCHES / passes_per_step(lengths, layout))


def _affordable(costs: Sequence[float], left: float) -> int:
    """How many of these, one after the other, should end in the seconds left."""
    spent, count = 0.0, 0
    for cost in costs:
        spent += cost
        if spent > left:
            break
        count += 1
    return count


def _plan(request: PlanRequest, hardware: HardwareSettings) -> Plan:
    """The plan to probe, its memory estimated as closely as that of a chosen one."""
    return finish(request, evaluate(request, hardware, replay=True))


def measurements(done: Sequence[Probed]) -> Mapping[HardwareSettings, Measured]:
    """What the probes say, by candidate."""
    return {
        each.plan.hardware: Measured(
            outcome=OUTCOMES[each.record.status],
            step_seconds=step_seconds(each.record),
            process_bytes=each.record.memory.process_bytes,
            host_bytes=each.record.memory.host_bytes,
        )
        for each in done
        if each.record.status in OUTCOMES
    }


def settled(
    request: PlanRequest, evaluated: Sequence[Evaluated], done: Sequence[Probed]
) -> tuple[Plan, Evaluated]:
    """The plan after the probes, and the candidate it is of.

    Raises:
        NoPlanFits: probes refute every candidate.
    """
    measured = measurements(done)
    found = best_after_probes(request, evaluated, measured)
    for each in done:
        if each.plan.hardware == found.hardware and each.record.status is Status.OK:
            return _proven(request, found, each), found
    ran = sum(seen.outcome is Outcome.OK for seen in measured.values())
    if not ran:
        found = evaluate(request, found.hardware, replay=True)
        return finish(request, found), found
    corrections = corrections_of(request, evaluated, measured)
    asked = _corrected_request(request, corrections, ran, kind=found.time.bound_by_launch)
    found = evaluate(asked, found.hardware, replay=True)
    return finish(asked, found), found


def _corrected_request(
    request: PlanRequest, corrections: StepFactors, probes: int, *, kind: bool
) -> PlanRequest:
    """The request under the factors of the search, for a plan that was not run itself.

    ``kind``: whether its step waits for the host; only a kind that was measured has a narrow error.
    Other plans' bytes may raise this one's bound and may not narrow it.
    """
    efficiency, calibration = request.efficiency, request.calibration
    error = PROBED_ERROR if kind in corrections.kinds else None
    return replace(
        request,
        efficiency=replace(
            efficiency,
            work_factor=efficiency.work_factor * corrections.work,
            launch_factor=efficiency.launch_factor * corrections.launch,
            known_error=error,
            basis=f"corrected by {probes} probe{'s' if probes > 1 else ''} on this machine",
        ),
        calibration=replace(
            calibration,
            device_factor=calibration.device_factor * max(1.0, corrections.process_bytes),
        ),
    )


def _proven(request: PlanRequest, found: Evaluated, probed: Probed) -> Plan:
    """The plan of a candidate that ran: its bytes as measured, its own factors for what follows.

    The factors make the model meet the measurement, so that the same settings under another rank
    or length are estimated from there.
    """
    record, predicted = probed.record, probed.plan.memory
    seen = measurements([probed])[found.hardware]
    ratio = time_ratio(request, found.hardware, seen) or 1.0
    factor = found.memory.process_bytes.expected / predicted.process_bytes.expected
    efficiency, calibration = request.efficiency, request.calibration
    asked = replace(
        request,
        efficiency=replace(
            efficiency,
            work_factor=efficiency.work_factor * ratio,
            launch_factor=efficiency.launch_factor * ratio,
            known_error=PROBED_ERROR,
            basis=BASIS,
        ),
        calibration=replace(calibration, device_factor=calibration.device_factor * factor),
    )
    process = found.memory.process_bytes
    allocated = measured_interval(record.memory.peak_allocated_bytes)
    reserved = measured_interval(record.memory.peak_reserved_bytes)
    memory = replace(
        predicted,
        peak_allocated_bytes=allocated or predicted.peak_allocated_bytes,
        peak_reserved_bytes=reserved or predicted.peak_reserved_bytes,
        process_bytes=process,
        host_bytes=found.memory.host_bytes,
        components=fitted(predicted.components, process.expected),
        assumptions=("memory: measured by a probe; its parts in the estimate's proportions",),
    )
    if found.time.bound_by_launch and not probed_time(request, found.hardware).bound_by_launch:
        # The longest batch keeps the GPU busy, the mean one waits for the host: not measured.
        return finish(replace(asked, efficiency=efficiency), replace(found, memory=memory))
    plan = finish(asked, replace(found, memory=memory))
    # A CPU that is as fast as assumed would pass for one that was never measured.
    time_now = replace(plan.time, relative_error=PROBED_ERROR, basis=BASIS)
    return replace(plan, time=time_now)
