"""How many layers to checkpoint: as few as fit.

Memory falls and time rises with each layer, so between no checkpoints, which do not fit, and all of
them, which do, the best number is the smallest that fits. Bytes are nearly a straight line over it,
so two estimates say where that is: to an eighth of the layers for every candidate that could still
be the fastest, to the layer for the one that is chosen.
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
STRAIGHT_GUESSES = 2
"""Guesses along the line; if they do not settle it, the line is none and halves are taken."""

Estimate = Callable[[HardwareSettings], Evaluated]


def is_open(request: PlanRequest) -> bool:
    """Whether the number is the planner's to choose."""
    pinned = "gradient_checkpointing" in request.pins or "checkpointed_layers" in request.pins
    return not (pinned or request.on_cpu)


def some_layers(
    request: PlanRequest, evaluated: Iterable[Evaluated], estimate: Estimate
) -> list[Evaluated]:
    """Candidates with checkpoints of some layers that may run and be faster than all that fit."""
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
    """Candidates that do not surely fit without checkpoints and may run with; the fastest first."""
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
    return found.memory.process_bytes.upper <= found.free_bytes


def _eighths(
    request: PlanRequest, none: Evaluated, every: Evaluated, estimate: Estimate
) -> list[Evaluated]:
    """With the fewest eighths of the layers that may fit, and the fewest that surely do."""
    layers, found = request.architecture.num_hidden_layers, []
    wanted = {ceil(PARTS * _share(none, every, which)) for which in ("expected", "upper")}
    for part in sorted(min(max(part, 1), PARTS) for part in wanted):
        number = round(part * layers / PARTS)
        if 0 < number < layers:
            hardware = _with(every.hardware, number)
            if refusal(request, hardware) is None:
                found.append(estimate(hardware))
    return found


def fewest(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The chosen plan, which fits, with as few checkpoints as surely fit."""
    hardware = chosen.hardware
    if not is_open(request) or not hardware.batch.gradient_checkpointing:
        return chosen
    if refusal(request, _with(hardware, 1)) is not None:
        return chosen
    low, over, best = 0, estimate(_with(hardware, 0)), chosen
    if over.verdict is Verdict.FITS:
        return over
    high = hardware.batch.checkpointed_layers or request.architecture.num_hidden_layers
    for guesses in count():
        if high - low == 1:
            return best
        share = _share(over, best) if guesses < STRAIGHT_GUESSES else 0.5
        number = min(low + max(1, ceil((high - low) * share)), high - 1)
        found = estimate(_with(hardware, number))
        if found.verdict is Verdict.FITS:
            best, high = found, number
        else:
            over, low = found, number
    return best


def _with(hardware: HardwareSettings, number: int) -> HardwareSettings:
    """The settings with checkpoints on so many layers."""
    return changed(hardware, gradient_checkpointing=number > 0, checkpointed_layers=number or None)


def _share(over: Evaluated, fitting: Evaluated, which: str = "upper") -> float:
    """Where between two plans the free memory lies; at the second where that takes more, too."""
    most: int = getattr(over.memory.process_bytes, which)
    least: int = getattr(fitting.memory.process_bytes, which)
    if most <= least:
        return 1.0
    return min(1.0, (most - over.free_bytes) / (most - least))
