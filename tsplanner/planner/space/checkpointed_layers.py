"""How many layers to checkpoint: as few as fit.

Memory falls and time rises with each checkpointed layer. Where no checkpoints do not fit and all
of them do, the best number is therefore the smallest that fits. Bytes are nearly a straight line
over that number, so two estimates find it: to an eighth of the layers for every candidate that
could still be the fastest, and to the layer for the chosen candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from math import ceil

from memory_models.settings import changed
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.plan import Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import refusal

PARTS = 8
"""Parts of the layers that are tried for candidates that are not chosen yet."""
STRAIGHT_GUESSES = 2
"""Guesses along the line; if they do not suffice, bytes are not on a line: the range is halved."""
HALF = 0.5


Estimate = Callable[[HardwareSettings], Evaluated]
"""Estimates one candidate."""


def is_open(request: PlanRequest) -> bool:
    """Whether the planner chooses the number of checkpointed layers."""
    pinned = "gradient_checkpointing" in request.pins or "checkpointed_layers" in request.pins
    return not (pinned or request.on_cpu)


def some_layers(
    request: PlanRequest, evaluated: Iterable[Evaluated], estimate: Estimate
) -> list[Evaluated]:
    """Candidates with some layers checkpointed that may run and be faster than all that fit."""
    if not is_open(request):
        return []
    evaluated = list(evaluated)
    sure = [found for found in evaluated if found.verdict is Verdict.FITS]
    best = max((found.samples_per_second for found in sure), default=0.0)
    made: list[Evaluated] = []
    for none, every in _pairs(evaluated):
        # No number of checkpoints is faster than none.
        if none.samples_per_second <= best:
            break
        for found in _eighths(request, none, every, estimate):
            if found.verdict is Verdict.FITS:
                best = max(best, found.samples_per_second)
            if found.verdict is not Verdict.DOES_NOT_FIT:
                made.append(found)
    return made


def _pairs(evaluated: list[Evaluated]) -> list[tuple[Evaluated, Evaluated]]:
    """Pairs of candidates without and with checkpoints, the fastest first.

    The first of a pair does not surely fit, and the second may run.
    """
    without = {
        changed(found.hardware, gradient_checkpointing=True): found
        for found in evaluated
        if not found.hardware.batch.gradient_checkpointing and not _device_holds(found)
    }
    pairs = [
        (without[found.hardware], found)
        for found in evaluated
        if found.hardware in without and found.verdict is not Verdict.DOES_NOT_FIT
    ]
    return sorted(pairs, key=lambda pair: -pair[0].samples_per_second)


def _device_holds(found: Evaluated) -> bool:
    # Checkpoints free memory of the device alone, so they cannot help where the host is short.
    return found.memory.process_bytes.upper <= found.free_bytes


def _eighths(
    request: PlanRequest, none: Evaluated, every: Evaluated, estimate: Estimate
) -> list[Evaluated]:
    """The candidate with the fewest eighths of the layers that may fit, and that surely fit."""
    layers, found = request.architecture.num_hidden_layers, []
    wanted = {ceil(PARTS * share_between(none, every, which)) for which in ("expected", "upper")}
    for part in sorted(min(max(part, 1), PARTS) for part in wanted):
        number = round(part * layers / PARTS)
        if 0 < number < layers:
            hardware = _with(every.hardware, number)
            if refusal(request, hardware) is None:
                found.append(estimate(hardware))
    return found


def fewest(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The chosen candidate, which fits, with the fewest checkpoints that surely fit."""
    hardware = chosen.hardware
    checkpoints = hardware.batch.gradient_checkpointing and not hardware.streaming.streams
    if not is_open(request) or not checkpoints:
        return chosen
    # A model's own remote code may have one flag for all layers: then every number is refused.
    if refusal(request, _with(hardware, 1)) is not None:
        return chosen
    low, over, best = 0, estimate(_with(hardware, 0)), chosen
    # A replay has a narrower bound than the quick estimate, so no checkpoint may be needed at all.
    if over.verdict is Verdict.FITS:
        return over
    high = hardware.batch.checkpointed_layers or request.architecture.num_hidden_layers
    for guesses in count():
        if high - low == 1:
            return best
        share = share_between(over, best) if guesses < STRAIGHT_GUESSES else HALF
        number = min(low + max(1, ceil((high - low) * share)), high - 1)
        found = estimate(_with(hardware, number))
        if found.verdict is Verdict.FITS:
            best, high = found, number
        else:
            over, low = found, number
    return best


def _with(hardware: HardwareSettings, number: int) -> HardwareSettings:
    """The settings with ``number`` layers checkpointed."""
    return changed(hardware, gradient_checkpointing=number > 0, checkpointed_layers=number or None)


def share_between(over: Evaluated, fitting: Evaluated, which: str = "upper") -> float:
    """Where the free memory lies between the bytes of two plans, as a share of the way.

    1 if the plan with checkpoints needs no less.
    """
    most: int = getattr(over.memory.process_bytes, which)
    least: int = getattr(fitting.memory.process_bytes, which)
    if most <= least:
        return 1.0
    return min(1.0, (most - over.free_bytes) / (most - least))
