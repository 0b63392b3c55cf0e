"""Candidates as they look after some probes: measured ones by what they did, others corrected.

The median of measured over predicted corrects steps of one kind (those that wait for the GPU, those
that wait for the host), what it leaves is the error of a corrected prediction. Pure.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from memory_models.records import Component, Interval
from tsplanner.planner.devices import used_machine
from tsplanner.planner.evaluate import Evaluated, host_budget
from tsplanner.planner.plan import HardwareSettings, Verdict, training_settings
from tsplanner.planner.request import PlanRequest
from tsplanner.throughput.rates import Rates, rates_of
from tsplanner.throughput.step_time import StepTime, step_time

MEASURED_MARGIN = 0.02
"""What a full run may hold beyond its probe, assumed: the allocator keeps blocks of all lengths."""
RESIDUAL = 0.05
"""What a corrected step time is off by (one deviation) before the search has residuals of its own.

Source: the ten H200 steps of benchmarks/step_times.py scatter by 8 %, different models mixed."""
RESIDUAL_WEIGHT = 2
"""Residuals that this assumption counts for."""
FAILURES = 2
"""Failed probes of one recipe after which the recipe itself is taken to be at fault."""


class Outcome(StrEnum):
    """How a probe ended."""

    OK = "ok"
    OOM = "out of memory"
    HOST_OOM = "out of host memory"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a probe says of a candidate. Bytes are per rank (host: per machine), None unknown."""

    outcome: Outcome
    step_seconds: float | None = None
    """Of the step that was probed: the longest batch."""
    process_bytes: int | None = None
    host_bytes: int | None = None


Measurements = Mapping[HardwareSettings, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Measured over predicted of steps of one kind, and how far to trust it."""

    factor: float
    margin: float
    """Half-width of the 95 % interval that is left, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Of steps that wait for the GPU, of steps that wait for the host, and of bytes."""

    work: Correction
    launch: Correction
    process_bytes: float

    def of(self, time: StepTime) -> Correction:
        """The correction of a step's kind."""
        return self.launch if time.bound_by_launch else self.work


def corrected(
    request: PlanRequest, evaluated: Iterable[Evaluated], measured: Measurements
) -> list[Evaluated]:
    """The candidates as they look after the probes.

    A measured one has its own seconds and bytes, the others what the corrections make of their
    prediction. Who failed, and whoever should take more than one that ran out of memory, does not
    fit.
    """
    evaluated = list(evaluated)
    corrections = corrections_of(request, evaluated, measured)
    refuted = _Refuted(evaluated, measured)
    now = []
    for found in evaluated:
        seen = measured.get(found.hardware)
        if seen is not None and seen.outcome is Outcome.OK:
            now.append(_as_measured(request, found, seen))
        elif seen is not None:
            now.append(_out(found, f"{seen.outcome} when it was probed"))
        elif reason := refuted.why(found):
            now.append(_out(found, reason))
        else:
            now.append(_as_corrected(request, found, corrections))
    return now


class _Refuted:
    """What the probes that did not run say about others."""

    def __init__(self, evaluated: list[Evaluated], measured: Measurements) -> None:
        seen = [(found, measured.get(found.hardware)) for found in evaluated]
        self.too_large = {
            outcome: [found for found, one in seen if one and one.outcome is outcome]
            for outcome in (Outcome.OOM, Outcome.HOST_OOM)
        }
        self.failed = Counter(
            recipe(found.hardware) for found, one in seen if one and one.outcome is Outcome.FAILED
        )

    def why(self, found: Evaluated) -> str:
        """Why a candidate need not be tried; empty if it may."""
        for outcome, larger in self.too_large.items():
            if any(_takes_more(found, other, outcome) for other in larger):
                return "should take more than one that ran out of memory"
        failed = self.failed[recipe(found.hardware)] >= FAILURES
        return f"{FAILURES} others of its kind failed" if failed else ""


def _takes_more(found: Evaluated, other: Evaluated, outcome: Outcome) -> bool:
    """Whether a candidate should need at least as much of what another ran out of."""
    if recipe(found.hardware) != recipe(other.hardware):
        return False
    if outcome is Outcome.HOST_OOM:
        return found.memory.host_bytes.expected >= other.memory.host_bytes.expected
    return found.memory.process_bytes.expected >= other.memory.process_bytes.expected


def recipe(hardware: HardwareSettings) -> HardwareSettings:
    """What two candidates share that differ in their batches and checkpoints alone."""
    return replace(
        hardware, micro_batch_size=1, gradient_accumulation_steps=1, gradient_checkpointing=True
    )


def _out(found: Evaluated, reason: str) -> Evaluated:
    return replace(found, verdict=Verdict.DOES_NOT_FIT, reason=reason)


def corrections_of(
    request: PlanRequest, evaluated: Iterable[Evaluated], measured: Measurements
) -> Corrections:
    """The factors of this search's own measurements, as medians; without any, no correction.

    A kind of step that was not measured keeps the error of the rates that predicted it.
    """
    over: dict[bool, list[float]] = {False: [], True: []}
    process = []
    error = request.efficiency.relative_error
    for found in evaluated:
        error = max(error, rates_for(request, found.hardware).relative_error)
        seen = measured.get(found.hardware)
        if seen is None or seen.outcome is not Outcome.OK:
            continue
        if (ratio := time_ratio(request, found.hardware, seen)) is not None:
            kind = probed_time(request, found.hardware).bound_by_launch
            over[kind].append(ratio)
        if seen.process_bytes:
            process.append(seen.process_bytes / found.memory.process_bytes.expected)
    return Corrections(
        work=_correction(over[False], error),
        launch=_correction(over[True], error),
        process_bytes=statistics.median(process) if process else 1.0,
    )


def _correction(ratios: list[float], error: float) -> Correction:
    """The median, and twice the deviation of what it leaves, the assumed one mixed in."""
    if not ratios:
        return Correction(factor=1.0, margin=error)
    factor = statistics.median(ratios)
    squares = sum(math.log(ratio / factor) ** 2 for ratio in ratios)
    variance = (RESIDUAL_WEIGHT * RESIDUAL**2 + squares) / (RESIDUAL_WEIGHT + len(ratios))
    return Correction(factor=factor, margin=min(error, 2 * math.sqrt(variance)))


def probed_time(request: PlanRequest, hardware: HardwareSettings) -> StepTime:
    """Predicted seconds of the step that a probe runs: the longest batch."""
    length = request.dataset.sequence_length(hardware.micro_batch_size)
    settings = training_settings(request.learning, hardware, length)
    return step_time(request.architecture, settings, rates_for(request, hardware))


def rates_for(request: PlanRequest, hardware: HardwareSettings) -> Rates:
    """Rates of the slowest of the GPUs used."""
    machine = used_machine(request.machine, hardware)
    return rates_of(machine, request.efficiency, on_cpu=request.on_cpu)


def time_ratio(request: PlanRequest, hardware: HardwareSettings, seen: Measured) -> float | None:
    """Measured over predicted seconds of a candidate's probed step; None if none was timed."""
    if not seen.step_seconds:
        return None
    return seen.step_seconds / probed_time(request, hardware).seconds


def scaled(time: StepTime, work: float, launch: float) -> StepTime:
    """Seconds with the GPU's work and the host's issuing multiplied.

    What overlaps with neither goes with the kind of step; a CPU issues its work itself.
    """
    launch = launch if time.overlaps else work
    rest = launch if time.bound_by_launch else work
    return replace(
        time,
        matrix=time.matrix * work,
        memory=time.memory * work,
        launch=time.launch * launch,
        optimizer=time.optimizer * rest,
        communication=time.communication * rest,
        offload=time.offload * rest,
    )


def _as_corrected(request: PlanRequest, found: Evaluated, corrections: Corrections) -> Evaluated:
    """A candidate that was not measured."""
    time = scaled(found.time, corrections.work.factor, corrections.launch.factor)
    needs = _times(found.memory.process_bytes, corrections.process_bytes)
    if needs == found.memory.process_bytes:
        return replace(found, time=time)
    verdict, reason = Verdict.FITS, ""
    if needs.expected > found.free_bytes:
        verdict, reason = Verdict.DOES_NOT_FIT, "over the free memory, by the probes"
    elif found.memory.host_bytes.expected > host_budget(request):
        verdict, reason = found.verdict, found.reason
    elif max(needs.upper, found.memory.process_bytes.upper) > found.free_bytes:
        verdict, reason = Verdict.TIGHT, "tight: the 95 % bound is over the free memory"
    memory = replace(found.memory, process_bytes=needs)
    return replace(found, memory=memory, time=time, verdict=verdict, reason=reason)


def _as_measured(request: PlanRequest, found: Evaluated, seen: Measured) -> Evaluated:
    """A candidate that ran."""
    ratio = time_ratio(request, found.hardware, seen) or 1.0
    process = found.memory.process_bytes
    needs = measured_interval(seen.process_bytes) or process
    fits = needs.upper <= found.free_bytes
    memory = replace(
        found.memory,
        process_bytes=needs,
        host_bytes=measured_interval(seen.host_bytes) or found.memory.host_bytes,
        components=fitted(found.memory.components, needs.expected),
    )
    return replace(
        found,
        memory=memory,
        time=scaled(found.time, ratio, ratio),
        verdict=Verdict.FITS if fits else Verdict.TIGHT,
        reason="" if fits else "tight: ran, but hardly within the free memory",
    )


def measured_interval(size: int | None) -> Interval | None:
    """Bytes that were measured, and what a full run may make of them."""
    if size is None:
        return None
    return Interval(expected=size, upper=math.ceil(size * (1 + MEASURED_MARGIN)))


def fitted(parts: tuple[Component, ...], total: int) -> tuple[Component, ...]:
    """The parts of an estimate in their proportions, as parts of what was measured."""
    estimated = sum(part.bytes for part in parts)
    if not parts or not estimated:
        return parts
    sizes = [part.bytes * total // estimated for part in parts]
    largest = sizes.index(max(sizes))
    sizes[largest] += total - sum(sizes)
    return tuple(replace(part, bytes=size) for part, size in zip(parts, sizes, strict=True))


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(
        expected=round(interval.expected * factor), upper=round(interval.upper * factor)
    )
