"""Candidates as they look after some probes: measured ones as they ran, the others corrected. Pure.

A candidate that ran is judged by its measurement. One that ran out of memory rules out every
candidate that is predicted to need at least as much.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from memory_models.result import Component, Interval
from memory_models.settings import BatchLayout
from tsplanner.planner.evaluate import Evaluated, evaluate, host_budget
from tsplanner.planner.explain.reasons import Explanation, MemoryKind, Reason
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
"""Bytes that a full run may hold beyond its probe, as a share: it meets batches of all lengths.

Source: two full runs on an H200 (README.md) held 2.2 and 2.6 % more than their probes had led to
expect."""
MOST_FAILURES = 2
"""Failed probes of similar candidates after which the settings they share are taken to be at fault.
"""
PROBE_REASONS = {
    Outcome.OOM: Reason.OUT_OF_MEMORY,
    Outcome.HOST_OOM: Reason.OUT_OF_HOST_MEMORY,
    Outcome.FAILED: Reason.PROBE_FAILED,
}
"""Why a candidate whose probe ended so is not the plan."""


def corrected(
    request: PlanRequest, evaluated: Iterable[Evaluated], measured: Measurements
) -> list[Evaluated]:
    """The candidates as they look after the probes.

    A measured candidate has its own seconds and bytes; the others have their prediction with the
    corrections applied. A candidate does not fit if its probe failed, or if it should take more
    memory than one that ran out of it.
    """
    evaluated = list(evaluated)
    corrections = corrections_of(request, evaluated, measured)
    failures = _Failures(evaluated, measured)
    now = []
    for found in evaluated:
        seen = measured.get(found.hardware)
        if seen is not None and seen.outcome is Outcome.OK:
            now.append(_as_measured(request, found, seen))
        elif seen is not None:
            now.append(_ruled_out(found, Explanation(reason=PROBE_REASONS[seen.outcome])))
        elif explanation := failures.explanation(found):
            now.append(_ruled_out(found, explanation))
        else:
            now.append(_as_corrected(request, found, corrections))
    return now


class _Failures:
    """Probes that did not run, and what they say about other candidates."""

    def __init__(self, evaluated: list[Evaluated], measured: Measurements) -> None:
        seen = [(found, measured.get(found.hardware)) for found in evaluated]
        self.too_large = {
            outcome: [found for found, one in seen if one and one.outcome is outcome]
            for outcome in (Outcome.OOM, Outcome.HOST_OOM)
        }
        self.failed = Counter(
            without_batch(found.hardware)
            for found, one in seen
            if one and one.outcome is Outcome.FAILED
        )

    def explanation(self, found: Evaluated) -> Explanation | None:
        """Why a candidate need not be tried; None: it may be."""
        for outcome, failed in self.too_large.items():
            if any(_takes_more(found, other, outcome) for other in failed):
                return Explanation(reason=Reason.LARGER_THAN_FAILED)
        if self.failed[without_batch(found.hardware)] >= MOST_FAILURES:
            return Explanation(reason=Reason.SIMILAR_FAILED, data={"count": MOST_FAILURES})
        return None


def _takes_more(found: Evaluated, other: Evaluated, outcome: Outcome) -> bool:
    """Whether a candidate should need at least as much of the memory that another ran out of."""
    if without_batch(found.hardware) != without_batch(other.hardware):
        return False
    if outcome is Outcome.HOST_OOM:
        return found.memory.host_bytes.expected >= other.memory.host_bytes.expected
    return found.memory.process_bytes.expected >= other.memory.process_bytes.expected


def without_batch(hardware: HardwareSettings) -> HardwareSettings:
    """The settings that two candidates share if only their batches and checkpoints differ."""
    return replace(hardware, batch=BatchLayout())


def _ruled_out(found: Evaluated, explanation: Explanation) -> Evaluated:
    return replace(found, verdict=Verdict.DOES_NOT_FIT, explanation=explanation)


def _as_corrected(request: PlanRequest, found: Evaluated, corrections: StepFactors) -> Evaluated:
    """A candidate that was not measured."""
    time = corrections.seconds(found.hardware, found.time)
    needs = _times(found.memory.process_bytes, corrections.process_bytes)
    if needs == found.memory.process_bytes:
        return replace(found, time=time)
    verdict, explanation = _judged_again(request, found, needs)
    memory = replace(found.memory, process_bytes=needs)
    return replace(found, memory=memory, time=time, verdict=verdict, explanation=explanation)


def _judged_again(
    request: PlanRequest, found: Evaluated, needs: Interval
) -> tuple[Verdict, Explanation | None]:
    """The verdict on a candidate by corrected bytes; the host is judged as it was predicted."""
    if needs.expected > found.free_bytes:
        return Verdict.DOES_NOT_FIT, Explanation(reason=Reason.OVER_AS_PROBED)
    if found.memory.host_bytes.expected > host_budget(request):
        return found.verdict, found.explanation
    # Probes of other candidates may not narrow a bound, so the wider of the two decides.
    if max(needs.upper, found.memory.process_bytes.upper) > found.free_bytes:
        tight = Explanation(reason=Reason.TIGHT, data={"memory": MemoryKind.DEVICE})
        return Verdict.TIGHT, tight
    return Verdict.FITS, None


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
        explanation=None if fits else Explanation(reason=Reason.TIGHT_AS_MEASURED),
    )


def _within_bound(request: PlanRequest, found: Evaluated, needs: Interval) -> Interval:
    """Measured bytes with a bound no wider than that of the estimate, where the estimate's holds.

    The estimate bounds the same longest batch, so a measurement can only narrow its bound.
    """
    if needs.upper <= found.free_bytes:
        return needs
    bound = evaluate(request, found.hardware, replay=True).memory.process_bytes.upper
    return replace(needs, upper=max(needs.expected, min(needs.upper, bound)))


def measured_interval(size: int | None) -> Interval | None:
    """Bytes that were measured, with the most that a full run may hold; None: not measured."""
    if size is None:
        return None
    return Interval(expected=size, upper=math.ceil(size * (1 + MEASURED_MARGIN)))


def fitted(parts: tuple[Component, ...], total: int) -> tuple[Component, ...]:
    """The parts of an estimate, in their proportions, scaled to ``total`` measured bytes."""
    estimated = sum(part.bytes for part in parts)
    if not parts or not estimated:
        return parts
    sizes = [part.bytes * total // estimated for part in parts]
    # Whole division drops some bytes. The largest part takes them, so that the sum is exact.
    largest = sizes.index(max(sizes))
    sizes[largest] += total - sum(sizes)
    return tuple(replace(part, bytes=size) for part, size in zip(parts, sizes, strict=True))


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(
        expected=round(interval.expected * factor), upper=round(interval.upper * factor)
    )
