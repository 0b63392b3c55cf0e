"""Candidates as they look after some probes: measured ones by what they did, others corrected.

Memory: who ran is believed, who ran out of memory refutes all that should take more. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from memory_models.result import Component, Interval
from memory_models.settings import BatchLayout
from tsplanner.planner.evaluate import Evaluated, evaluate, host_budget
from tsplanner.planner.plan import Verdict
from tsplanner.planner.probe_selection.step_corrections import (
    Measured,
    Measurements,
    Outcome,
    StepFactors,
    corrections_of,
    scaled,
    time_ratio,
)
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

MEASURED_MARGIN = 0.03
"""What a full run may hold beyond its probe, as a share: it brings batches of all lengths.

Source: two full runs on an H200 (README.md) held 2.2 and 2.6 % more than their probes had led to
expect."""
FAILURES = 2
"""Failed probes of one recipe after which the recipe itself is taken to be at fault."""


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
    return replace(hardware, batch=BatchLayout())


def _out(found: Evaluated, reason: str) -> Evaluated:
    return replace(found, verdict=Verdict.DOES_NOT_FIT, reason=reason)


def _as_corrected(request: PlanRequest, found: Evaluated, corrections: StepFactors) -> Evaluated:
    """A candidate that was not measured."""
    time = corrections.seconds(found.hardware, found.time)
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
    needs = _within_bound(request, found, measured_interval(seen.process_bytes) or process)
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


def _within_bound(request: PlanRequest, found: Evaluated, needs: Interval) -> Interval:
    """Measured bytes with a bound no wider than the estimate's own, where that holds them.

    The estimate's bound is of the same longest batch, so a measurement can only narrow it.
    """
    if needs.upper <= found.free_bytes:
        return needs
    bound = evaluate(request, found.hardware, replay=True).memory.process_bytes.upper
    return replace(needs, upper=max(needs.expected, min(needs.upper, bound)))


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
